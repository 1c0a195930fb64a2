"""The console's life: token, socket, API; until the node stops."""

from zoneinfo import ZoneInfo

from zegel.console.api.app import build
from zegel.console.api.links import Links
from zegel.console.server import Server, bind
from zegel.console.token import load_or_make
from zegel.node.zone import ZoneContext

__all__ = ["main"]


async def main(ctx: ZoneContext) -> None:
    """Serve the API.

    Raises:
        ConflictError, ConfigError, RefusedError, StorageError: token file or port; before
            the zone says that it is up.
    """
    settings = ctx.config.console
    token = load_or_make(ctx.config.token_file())
    bound = bind(settings.host, settings.port)
    links = Links(
        edge=ctx.link("edge"),
        vault=ctx.link("vault"),
        store=ctx.link("store"),
        own_health=ctx.health.report,
        node=ctx.config.node.name,
        time_zone=ZoneInfo(ctx.config.node.time_zone),
    )
    server = Server(build(links, token, host=settings.host, log=ctx.log), bound, ctx.log)
    await ctx.serve({})
    await server.start()
    ctx.ready(api=server.port)
    await ctx.stopping.wait()
    await server.stop()
