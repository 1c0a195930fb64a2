"""The API put together: gate, routes and the one error shape."""

from typing import Any

import msgspec
from litestar import Litestar, Response, get
from litestar.di import NamedDependency, Provide

from zegel.console.api import health, keys, meters, quarantine, readings
from zegel.console.api.description import describe
from zegel.console.api.errors import handlers
from zegel.console.api.gate import Gate
from zegel.console.api.links import Links
from zegel.console.api.parameters import known_only
from zegel.console.server import Application
from zegel.console.token import Token

__all__ = ["ROUTES", "build", "routes"]

ROUTES = (
    *health.ROUTES,
    *meters.ROUTES,
    *readings.ROUTES,
    *quarantine.ROUTES,
    *keys.ROUTES,
)

# Made here, which also loads what Litestar would load later: once the zone has given its
# rights away it may no longer reach the program's files.
_DESCRIPTION = msgspec.json.encode(describe(ROUTES))


def build(links: Links, token: Token, *, host: str, log: Any) -> Application:
    """Return the ASGI application that serves the API on `host`."""
    inner: Any = routes(links, log)
    return Gate(inner, token, host=host)


@get("/openapi.json", include_in_schema=False)
async def openapi(description: NamedDependency[bytes]) -> Response[bytes]:
    """Show the description of the API."""
    return Response(description, media_type="application/vnd.oai.openapi+json")


def routes(links: Links, log: Any) -> Litestar:
    """Return the routes without the gate before them."""
    return Litestar(
        (*ROUTES, openapi),
        dependencies={
            "links": Provide(lambda: links, sync_to_thread=False),
            "description": Provide(lambda: _DESCRIPTION, sync_to_thread=False),
        },
        before_request=known_only,
        exception_handlers=handlers(log),
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
