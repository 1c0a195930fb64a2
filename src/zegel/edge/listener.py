"""The edge's port: bound once, listened on only while the edge reads.

While the edge has stopped reading, new connections wait in the kernel (its backlog), not in
the process: the bound socket stays, only the server on a copy of it comes and goes.
"""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable

from zegel.errors import ConfigError, ConflictError

__all__ = ["RESERVED_FILES", "Listener", "bind", "room_for_connections"]

BACKLOG = 4096
SEND_BUFFER = 16_384  # bytes; a thousand receipts that a peer did not read yet
RESERVED_FILES = 256  # of the process's open files, for everything but connections
TRIES = 16  # to find a number that is free for TCP and UDP


def room_for_connections(wanted: int) -> int:
    """Raise the soft limit of open files to the hard one; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = wanted if hard == resource.RLIM_INFINITY else hard - RESERVED_FILES
    return max(1, min(wanted, room))


def bind(host: str, port: int, *, udp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Bind the TCP port and, on the same number, the UDP port. Port 0: any free one.

    Raises:
        ConflictError: the port is in use.
        ConfigError: the address is not one of this machine, or may not be bound.
    """
    for remaining in reversed(range(TRIES if port == 0 else 1)):
        stream = _bound(host, port, socket.SOCK_STREAM)
        if not udp:
            return stream, None
        try:
            return stream, _bound(host, stream.getsockname()[1], socket.SOCK_DGRAM)
        except ConflictError:
            stream.close()
            if not remaining:
                raise
        except ConfigError:
            stream.close()
            raise
    raise AssertionError  # the last try returned or raised


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    where = f"{host}:{port}"
    try:
        family, _, proto, _, address = socket.getaddrinfo(host, port, type=kind)[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigError("push port", where=where, found=error.strerror) from error
    try:
        bound.settimeout(0)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # accepted ones too
        bound.bind(address)
        if kind == socket.SOCK_STREAM:
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            name = "TCP" if kind == socket.SOCK_STREAM else "UDP"
            raise ConflictError(
                f"push port in use ({name})", where=where, expected="a free port"
            ) from error
        raise ConfigError("push port", where=where, found=error.strerror) from error
    return bound


class Listener:
    """Accepts connections on a bound socket while it is open."""

    def __init__(self, bound: socket.socket, factory: Callable[[], asyncio.Protocol]) -> None:
        self._bound, self._factory = bound, factory
        self._server: asyncio.Server | None = None
        self._wanted = False
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Accept from now on."""
        self._wanted = True
        await self._settle()

    def set_open(self, *, wanted: bool) -> None:
        """Accept, or leave newcomers in the kernel's backlog."""
        self._wanted = wanted
        task = asyncio.get_running_loop().create_task(self._settle())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Accept no more, and give the port back."""
        self._wanted = False
        await self._settle()
        self._bound.close()

    async def _settle(self) -> None:
        async with self._turn:
            if self._wanted and self._server is None:
                loop = asyncio.get_running_loop()
                copy = self._bound.dup()
                self._server = await loop.create_server(self._factory, sock=copy, backlog=BACKLOG)
            elif not self._wanted and self._server is not None:
                self._server.close()
                self._server = None
