"""The edge's main: spool, receiver, and the one call that is answered here."""

from zegel.calls.edge import Release
from zegel.edge.receiver import Receiver
from zegel.edge.spool import FileSpool
from zegel.node.zone import ZoneContext

__all__ = ["main"]


async def main(ctx: ZoneContext) -> None:
    """Receive until told to stop.

    Raises:
        StorageError: the spool is held by another edge, or cannot be written.
        ConflictError: the push port is in use.
    """
    spool = FileSpool(ctx.spool_dir)
    receiver = Receiver(ctx.config.edge, ctx.config.spool, spool, ctx.health)
    try:
        port = await receiver.start()
        await ctx.serve({Release: receiver.release})
        ctx.ready(push=port)
        await ctx.stopping.wait()
    finally:
        await receiver.stop()
