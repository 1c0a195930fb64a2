"""Answering calls: one Unix socket per caller, only the calls that the table allows it."""

import asyncio
import contextlib
import functools
import operator
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

import zegel
from zegel.calls.base import (
    MAX_MESSAGE,
    MAX_OPEN,
    PROTOCOL,
    Call,
    End,
    Failure,
    Hello,
    Part,
    Request,
    Result,
    Stream,
    Welcome,
)
from zegel.calls.table import allowed
from zegel.errors import MalformedError, RefusedError, UnreachableError, ZegelError
from zegel.node.wire import Wire, peer_user

__all__ = ["Answerer", "CallerSocket", "Handler", "Handlers"]

Handler = Callable[[Any], Awaitable[Any]] | Callable[[Any], AsyncIterator[Any]]
Handlers = Mapping[type[Call], Handler]

_REQUESTS = msgspec.msgpack.Decoder(Request)
_ENCODE = msgspec.msgpack.Encoder().encode


class Answerer:
    """Turn request messages into reply messages. Holds rights and handlers, no socket."""

    def __init__(
        self,
        handlers: Handlers,
        *,
        caller: str = "",
        callee: str = "",
        on_fault: Callable[[str, BaseException], None] = lambda _call, _error: None,
    ) -> None:
        self._callee, self._on_fault = callee, on_fault
        row: tuple[type[Call], ...] = allowed(caller, callee) if caller else (*handlers, Hello)
        self._handlers: dict[type[Call], Handler] = {
            kind: handlers[kind] for kind in row if kind is not Hello
        }
        self._handlers[Hello] = self._hello
        union: Any = functools.reduce(operator.or_, row)
        self._calls: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(union)
        self._names = ", ".join(sorted(kind.__name__ for kind in row))

    async def answer(self, message: memoryview) -> AsyncGenerator[bytes, None]:
        """Yield the replies to one request: a result, an error, or parts and an end."""
        try:
            asked = _REQUESTS.decode(message)
        except msgspec.MsgspecError as error:
            raise MalformedError("message on a link", found=error) from error
        name = "call"
        try:
            call = self._decode(asked)
            name = type(call).__name__
            async for reply in self._run(asked, call):
                yield reply
        except ZegelError as error:
            yield _failed(asked.id, error)
        except TimeoutError:
            late = UnreachableError("deadline passed", where=name, found=f"{asked.deadline_ms} ms")
            yield _failed(asked.id, late)
        except Exception as error:  # noqa: BLE001 - a bug in one call must not end the zone
            self._on_fault(name, error)
            yield _failed(asked.id, ZegelError("internal error", where=name))

    def _decode(self, asked: Request) -> Call:
        try:
            return self._calls.decode(asked.call)
        except msgspec.MsgspecError as error:
            raise RefusedError("call", expected=self._names, found=error) from error

    async def _run(self, asked: Request, call: Call) -> AsyncIterator[bytes]:
        handler: Any = self._handlers[type(call)]
        if isinstance(call, Stream):
            async with contextlib.aclosing(handler(call)) as parts:
                async for part in parts:
                    yield _ENCODE(Part(asked.id, msgspec.Raw(_ENCODE(part))))
            yield _ENCODE(End(asked.id))
            return
        async with asyncio.timeout(asked.deadline_ms / 1000):
            result = await handler(call)
        yield _sized(_ENCODE(Result(asked.id, msgspec.Raw(_ENCODE(result)))), type(call).__name__)

    async def _hello(self, call: Hello) -> Welcome:
        if call.protocol != PROTOCOL:
            raise RefusedError("protocol of a link", expected=PROTOCOL, found=call.protocol)
        return Welcome(PROTOCOL, zegel.__version__, self._callee)


def _sized(message: bytes, name: str) -> bytes:
    if len(message) > MAX_MESSAGE:
        raise RefusedError(
            "answer too large", where=name, expected=f"<= {MAX_MESSAGE}", found=len(message)
        )
    return message


def _failed(number: int, error: ZegelError) -> bytes:
    return _ENCODE(
        Failure(number, error.code, error.what, error.where, error.expected, error.found)
    )


class CallerSocket:
    """Answer everything that one caller sends over its own socket."""

    def __init__(self, answerer: Answerer, *, caller_user: int = 0) -> None:
        self._answerer, self._user = answerer, caller_user
        self._tasks: dict[Wire, set[asyncio.Task[None]]] = {}
        self._greeted: set[Wire] = set()
        self._server: asyncio.AbstractServer | None = None

    async def listen(self, bound: socket.socket) -> None:
        """Accept callers on a bound socket; after the drop, as listening fixes what a peer sees."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Wire(self._message, self._lost, self._made), sock=bound
        )

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for wire in list(self._tasks):
            wire.abort()

    def _made(self, wire: Wire) -> None:
        assert wire.transport is not None  # noqa: S101 - just made
        self._tasks[wire] = set()
        user = peer_user(wire.transport.get_extra_info("socket"))
        if self._user and user != self._user:
            wire.close()

    def _lost(self, wire: Wire) -> None:
        self._greeted.discard(wire)
        for task in self._tasks.pop(wire, ()):
            task.cancel()

    def _message(self, wire: Wire, message: memoryview) -> None:
        tasks = self._tasks.get(wire)
        if tasks is None or wire.transport is None or wire.transport.is_closing():
            return
        if len(tasks) >= MAX_OPEN:
            error = RefusedError("open calls on a link", expected=f"<= {MAX_OPEN}")
            with contextlib.suppress(msgspec.MsgspecError):
                wire.send(_failed(_REQUESTS.decode(message).id, error))
            return
        if wire not in self._greeted and not self._greet(wire, message):
            return
        task = asyncio.get_running_loop().create_task(self._answer(wire, message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _greet(self, wire: Wire, message: memoryview) -> bool:
        """Tell whether a link's first message is a hello; close the link if it is not."""
        try:
            asked = _REQUESTS.decode(message)
            msgspec.msgpack.decode(asked.call, type=Hello)
        except msgspec.MsgspecError:
            wire.send(_failed(1, RefusedError("first message on a link", expected="Hello")))
            wire.close()
            return False
        self._greeted.add(wire)
        return True

    async def _answer(self, wire: Wire, message: memoryview) -> None:
        try:
            async with contextlib.aclosing(self._answerer.answer(message)) as replies:
                async for reply in replies:
                    wire.send(reply)
                    await wire.drain()
        except MalformedError:
            wire.close()
