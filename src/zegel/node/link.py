"""Links: how one zone calls another. `SocketLink` over a Unix socket, `LocalLink` in a process.

Both answer alike (`check_link`). Identity is the socket a call comes in on; rights are the
rows of `zegel.calls.table`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

import zegel
from zegel.calls.base import (
    MAX_MESSAGE,
    PROTOCOL,
    Call,
    End,
    Failure,
    Hello,
    Part,
    Reply,
    Request,
    Result,
    Stream,
)
from zegel.errors import RefusedError, UnreachableError, from_code
from zegel.node.serving import Answerer, Handlers
from zegel.node.wire import Wire, peer_user

__all__ = ["Blocking", "Link", "LocalLink", "SocketLink", "socket_path"]

_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
_ENCODE = msgspec.msgpack.Encoder().encode
_PARTS_AHEAD = 4  # parts of a stream held before reading stops


class Link(Protocol):
    """What a zone sees of another zone."""

    async def call(self, call: Call, *, timeout_s: float = 10.0) -> Any:
        """Make a call and return its answer.

        Raises:
            UnreachableError: no answer in time, or a broken link: the call may be repeated.
            ZegelError: whatever the other side raised.
        """

    def stream(self, call: Stream, *, timeout_s: float = 60.0) -> AsyncIterator[Any]:
        """Make a call whose answer comes in parts; `timeout_s` counts between parts."""

    async def close(self) -> None:
        """Close the link; calls under way fail."""


def request(number: int, call: Call, timeout_s: float) -> bytes:
    """Encode a call for the wire.

    Raises:
        RefusedError: larger than `MAX_MESSAGE`.
    """
    message = _ENCODE(Request(number, int(timeout_s * 1000), msgspec.Raw(_ENCODE(call))))
    if len(message) > MAX_MESSAGE:
        name = type(call).__name__
        raise RefusedError(
            "message too large", where=name, expected=f"<= {MAX_MESSAGE}", found=len(message)
        )
    return message


def failure(reply: Failure) -> Exception:
    """Rebuild the error that the other side raised."""
    return from_code(reply.code, reply.what, reply.where, reply.expected, reply.found)


class SocketLink:
    """A link over a Unix socket: connects at the first call, again after a break.

    Plain calls share one connection; each stream has its own, so that a slow reader of a
    long answer holds nobody else up.
    """

    def __init__(self, path: Path, callee: str, *, callee_user: int = 0) -> None:
        self._path, self._callee, self._user = path, callee, callee_user
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._wire: Wire | None = None
        self._connecting = asyncio.Lock()

    async def call(self, call: Call, *, timeout_s: float = 10.0) -> Any:
        """Make a call; see `Link.call`."""
        try:
            async with asyncio.timeout(timeout_s):
                wire = await self._connected()
                reply = await self._ask(wire, call, timeout_s)
        except TimeoutError as error:
            raise self._silent(f"an answer within {timeout_s:g} s") from error
        if isinstance(reply, Failure):
            raise failure(reply)
        assert isinstance(reply, Result)  # noqa: S101 - a plain call has no parts
        return msgspec.msgpack.decode(reply.result, type=call.answer)

    async def stream(self, call: Stream, *, timeout_s: float = 60.0) -> AsyncIterator[Any]:
        """Make a call answered in parts; see `Link.stream`."""
        replies: asyncio.Queue[Reply | None] = asyncio.Queue()

        def take(wire: Wire, message: memoryview) -> None:
            replies.put_nowait(_REPLIES.decode(message))
            if replies.qsize() > _PARTS_AHEAD and wire.transport is not None:
                wire.transport.pause_reading()

        wire = await self._open(take, lambda _wire: replies.put_nowait(None))
        try:
            wire.send(request(0, Hello(PROTOCOL, zegel.__version__), timeout_s))
            wire.send(request(1, call, 24 * 3600.0))
            await self._next(replies, wire, timeout_s)  # the welcome
            while not isinstance(reply := await self._next(replies, wire, timeout_s), End):
                assert isinstance(reply, Part)  # noqa: S101 - failures were raised
                yield msgspec.msgpack.decode(reply.part, type=call.answer)
        finally:
            wire.abort()

    async def close(self) -> None:
        """Close the link; calls under way fail."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _next(
        self, replies: "asyncio.Queue[Reply | None]", wire: Wire, timeout_s: float
    ) -> Reply:
        try:
            reply = await asyncio.wait_for(replies.get(), timeout_s)
        except TimeoutError as error:
            raise self._silent(f"a part within {timeout_s:g} s") from error
        if reply is None:
            raise self._silent("the rest of a stream")
        if isinstance(reply, Failure):
            raise failure(reply)
        if wire.transport is not None and replies.qsize() <= _PARTS_AHEAD:
            wire.transport.resume_reading()
        return reply

    async def _connected(self) -> Wire:
        async with self._connecting:
            if self._wire is None:
                wire = await self._open(self._take, self._lost)
                try:
                    await self._greet(wire)
                except BaseException:
                    wire.abort()  # nobody would: a callee that stands still keeps it for ever
                    raise
                self._wire = wire
            return self._wire

    async def _greet(self, wire: Wire) -> None:
        reply = await self._ask(wire, Hello(PROTOCOL, zegel.__version__), 10.0)
        if isinstance(reply, Failure):
            raise failure(reply)

    async def _open(self, take: Any, lost: Any) -> Wire:
        loop = asyncio.get_running_loop()
        try:
            transport, wire = await loop.create_unix_connection(
                lambda: Wire(take, lost), str(self._path)
            )
        except OSError as error:
            raise UnreachableError(
                f"{self._callee} does not answer", where=str(self._path), found=error.strerror
            ) from error
        user = peer_user(transport.get_extra_info("socket"))
        if self._user and user != self._user:
            wire.close()
            raise RefusedError("user of the callee", expected=self._user, found=user)
        return wire

    async def _ask(self, wire: Wire, call: Call, timeout_s: float) -> Reply:
        number = next(self._numbers)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            wire.send(request(number, call, timeout_s))
            return await future
        finally:
            self._waiting.pop(number, None)

    def _take(self, _wire: Wire, message: memoryview) -> None:
        reply = _REPLIES.decode(message)
        future = self._waiting.get(reply.id)
        if future is not None and not future.done():  # else: it came after its time-out
            future.set_result(reply)

    def _lost(self, wire: Wire) -> None:
        if self._wire is not None and self._wire is not wire:
            return  # one that was given up before; nobody waits on it
        self._wire = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._silent("an open link"))

    def _silent(self, expected: str) -> UnreachableError:
        return UnreachableError(f"{self._callee} does not answer", expected=expected)


class LocalLink:
    """The same sentences inside one process: every message is encoded and decoded as on a socket.

    With `caller` and `callee` the table's rights apply; without, every handler may be called.
    """

    def __init__(self, handlers: Handlers, *, caller: str = "", callee: str = "") -> None:
        self._answerer = Answerer(handlers, caller=caller, callee=callee)

    async def call(self, call: Call, *, timeout_s: float = 10.0) -> Any:
        """Make a call; see `Link.call`."""
        async for reply in self._replies(call, timeout_s):
            if isinstance(reply, Failure):
                raise failure(reply)
            if isinstance(reply, Result):
                return msgspec.msgpack.decode(reply.result, type=call.answer)
        raise UnreachableError("no answer", where=type(call).__name__)

    async def stream(self, call: Stream, *, timeout_s: float = 60.0) -> AsyncIterator[Any]:
        """Make a call answered in parts; see `Link.stream`."""
        async for reply in self._replies(call, timeout_s):
            if isinstance(reply, Failure):
                raise failure(reply)
            if isinstance(reply, Part):
                yield msgspec.msgpack.decode(reply.part, type=call.answer)

    async def close(self) -> None:
        """Nothing to close."""

    async def _replies(self, call: Call, timeout_s: float) -> AsyncIterator[Reply]:
        async for message in self._answerer.answer(memoryview(request(1, call, timeout_s))):
            yield _REPLIES.decode(message)


class Blocking:
    """A link for a worker thread: each call runs on the link's loop and is waited for."""

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self._link, self._loop = link, loop

    def call(self, call: Call, *, timeout_s: float = 10.0) -> Any:
        """Make a call; see `Link.call`."""
        return self.begin(call, timeout_s=timeout_s).result()

    def begin(self, call: Call, *, timeout_s: float = 10.0) -> Any:
        """Start a call and return its `concurrent.futures.Future`."""
        return asyncio.run_coroutine_threadsafe(
            self._link.call(call, timeout_s=timeout_s), self._loop
        )


def socket_path(run: Path, callee: str, caller: str) -> Path:
    """Return where `callee` listens for `caller`."""
    return run / callee / f"{caller}.sock"
