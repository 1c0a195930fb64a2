"""What a peer of the API may hold, and for how long: no token is needed to open a connection.

A request's head, its body and the reading of its answer each have their time. Where all seats
are taken, the connection goes that has waited longest: first for a head, then for a body, then
for a peer that does not read. One for which the application works is never sent away.
"""

import asyncio
import resource
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Limits", "Protocol", "room_for_connections"]

MAX_CONNECTIONS = 512
RESERVED_FILES = 256  # of the process's open files, for everything but connections
HEAD_S = 10.0  # for a whole request head, from the start or from the last answer on
BODY_S = 60.0  # for the rest of a request, which is bounded
UNREAD_S = 60.0  # for some of the answer to be read, where the peer's buffers are full
CLOSE_S = 10.0  # for the end of an answer to be read
SWEEP_S = 1.0


class Wait(IntEnum):
    """What a connection waits for; the first to go for a newcomer first."""

    HEAD = 0
    BODY = 1
    READER = 2
    CLOSE = 3
    ANSWER = 4  # our own work


class Limits:
    """All connections of a server. One loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._connections: dict[Protocol, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> "Iterator[Protocol]":
        yield from self._connections

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """Return what makes a connection that keeps to these limits."""
        return cast("type[asyncio.Protocol]", partial(Protocol, self))

    def sweep(self) -> None:
        """Send away what has waited too long, now and from now on."""
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_S, self.sweep)
        now = loop.time()
        longest = {Wait.HEAD: HEAD_S, Wait.BODY: BODY_S, Wait.READER: UNREAD_S, Wait.CLOSE: CLOSE_S}
        for connection in list(self._connections):
            wait, since = connection.waits()
            if now - since >= longest.get(wait, float("inf")):
                connection.transport.abort()

    def stop(self) -> None:
        """Look after time no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()

    def arrived(self, newcomer: "Protocol") -> None:
        """Give a newcomer a seat; where none is free, the one goes that has waited longest."""
        if len(self._connections) >= self._most:
            wait, _, _, goes = min(
                (*connection.waits(), number, connection)
                for number, connection in enumerate(self._connections)
            )
            if wait is Wait.ANSWER:
                goes = newcomer
            self._connections.pop(goes, None)
            goes.transport.abort()
            if goes is newcomer:
                return
        self._connections[newcomer] = None

    def left(self, connection: "Protocol") -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)


class Protocol(H11Protocol):
    """A connection of the API that tells what it waits for, and since when."""

    def __init__(self, limits: Limits, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._limits = limits
        self._since = self.loop.time()  # begin of the wait for a head, or of the request
        self._unread: float | None = None  # since when the peer's buffers are full
        self._closing: float | None = None

    def waits(self) -> tuple[Wait, float]:
        """Return what this waits for, and the loop time since when."""
        if self.transport.is_closing():
            if self._closing is None:
                self._closing = self.loop.time()
            return Wait.CLOSE, self._closing
        if self._unread is not None:
            return Wait.READER, self._unread
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return Wait.HEAD, self._since
        return (Wait.BODY if cycle.more_body else Wait.ANSWER), self._since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a seat."""
        super().connection_made(transport)
        self._limits.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the seat back."""
        self._limits.left(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Note when a request begins."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._since = self.loop.time()

    def on_response_complete(self) -> None:
        """Note when an answer ends: from now on a head is waited for."""
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The peer's buffers are full."""
        self._unread = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The peer reads."""
        self._unread = None
        super().resume_writing()


def room_for_connections() -> int:
    """Raise the soft limit of open files to the hard one; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, hard - RESERVED_FILES))
