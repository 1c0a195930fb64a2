"""HTTP for the API: uvicorn on a socket that was bound first, inside the zone's loop."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

# Uvicorn finds these by name when it starts; by then the zone has given its rights away and
# may no longer reach the program's files.
import uvicorn.lifespan.off
import uvicorn.loops.auto

from zegel.console.limits import Limits, room_for_connections
from zegel.errors import ConfigError, ConflictError, RefusedError, StorageError, ZegelError

__all__ = ["Application", "Server", "bind"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_BACKLOG = 256
_GRACE_S = 2  # for answers under way when the zone is asked to stop


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening TCP socket; port 0 takes any free one.

    Raises:
        ConflictError: the port is in use.
        ConfigError: the host is no address of this machine.
        RefusedError: the port is one that this user may not have.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError("[console] host", where=host, found=error.strerror) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise _named(error, where) from error
    bound.settimeout(0)
    return bound


def _named(error: OSError, where: str) -> ZegelError:
    if error.errno == errno.EADDRINUSE:
        return ConflictError("port in use", where=where, expected="a free port ([console] port)")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError("[console] host", where=where, expected="an address of this machine")
    if error.errno == errno.EACCES:
        return RefusedError("port", where=where, expected=">= 1024 for this user")
    return StorageError("socket of the API", where=where, found=error.strerror)


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its own signal handlers: the zone has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _ToLog(logging.Handler):
    """Hand uvicorn's warnings to the zone's log, a line each and without a traceback."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().splitlines()[0]
        cause = "" if record.exc_info is None else repr(record.exc_info[0])
        self._log.warning("http server", said=line, cause=cause)


class Server:
    """An HTTP server of one application."""

    def __init__(self, application: Application, bound: socket.socket, log: Any) -> None:
        self._bound = bound
        logger = logging.getLogger("uvicorn.error")
        logger.handlers, logger.propagate = [_ToLog(log)], False
        self.limits = Limits(room_for_connections())
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                application,
                loop="none",
                http=self.limits.protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._bound.getsockname()[1]
        return port

    async def start(self) -> None:
        """Answer requests from now on."""
        self.limits.sweep()
        self._serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._bound]))
        # uvicorn tells by a flag only
        while not self._uvicorn.started and not self._serving.done():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Take no more requests, let those under way end, and close the socket."""
        self._uvicorn.should_exit = True
        if self._serving is not None:
            await self._serving
        self.limits.stop()
        self._bound.close()
