"""The suite that every link must pass: `await check_link(make_link)`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

from zegel.calls.base import Call, Empty, Stream
from zegel.errors import NotFoundError, RefusedError, UnreachableError, ZegelError
from zegel.node.link import Link
from zegel.node.serving import Handlers

__all__ = ["Boom", "Count", "Echo", "Echoed", "Missing", "Sleep", "check_link", "handlers"]


class Echoed(Empty, frozen=True, forbid_unknown_fields=True):
    """Answer of `Echo` and part of `Count`."""

    data: bytes = b""


class Echo(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Give the bytes back."""

    answer: ClassVar[type] = Echoed
    data: bytes = b""


class Sleep(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Answer after a while."""

    answer: ClassVar[type] = Empty
    seconds: float


class Missing(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Fail with an error of our tree."""

    answer: ClassVar[type] = Empty


class Boom(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Fail with a bug."""

    answer: ClassVar[type] = Empty


class Unknown(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """A call that no handler knows."""

    answer: ClassVar[type] = Empty


class Count(Stream, frozen=True, tag=True, forbid_unknown_fields=True):
    """Answer in `parts` parts of `size` bytes."""

    answer: ClassVar[type] = Echoed
    parts: int
    size: int = 10


def handlers() -> Handlers:
    """Return the handlers that a link under test must lead to."""

    async def echo(call: Echo) -> Echoed:
        return Echoed(call.data)

    async def sleep(call: Sleep) -> Empty:
        await asyncio.sleep(call.seconds)
        return Empty()

    async def missing(_call: Missing) -> Empty:
        raise NotFoundError("meter", where="here", expected="one", found="none")

    async def boom(_call: Boom) -> Empty:
        raise IndexError("a secret in an internal error")

    async def count(call: Count) -> AsyncIterator[Echoed]:
        for _ in range(call.parts):
            yield Echoed(bytes(call.size))

    return {Echo: echo, Sleep: sleep, Missing: missing, Boom: boom, Count: count}


async def check_link(make_link: Callable[[Handlers], Awaitable[Link]]) -> None:
    """Hold a link against what its users rely on; raises AssertionError where it fails."""
    link = await make_link(handlers())
    try:
        await _check_answers(link)
        await _check_errors(link)
        await _check_streams(link)
    finally:
        await link.close()


async def _check_answers(link: Link) -> None:
    for size in (0, 1, 65_536, 9_000_000):
        answer = await link.call(Echo(bytes(size)))
        _require(len(answer.data) == size, f"an echo of {size} bytes")
    many = await asyncio.gather(*(link.call(Echo(bytes([n]))) for n in range(50)))
    _require([a.data[0] for a in many] == list(range(50)), "answers in the order of the calls")


async def _check_errors(link: Link) -> None:
    error = await _raised(link, Missing())
    _require(isinstance(error, NotFoundError), "an error of the tree comes back as itself")
    _require((error.where, error.found) == ("here", "none"), "an error keeps its fields")
    bug = await _raised(link, Boom())
    _require("secret" not in str(bug), "a bug's text stays inside the zone")
    _require(isinstance(await _raised(link, Unknown()), RefusedError), "an unknown call is refused")
    slow = await _raised(link, Sleep(5.0), timeout_s=0.05)
    _require(isinstance(slow, UnreachableError), "no answer in time is `unreachable`")
    _require((await link.call(Echo(b"x"))).data == b"x", "a link lives on after errors")


async def _check_streams(link: Link) -> None:
    sizes = [len(part.data) async for part in link.stream(Count(100, 100_000))]
    _require(sizes == [100_000] * 100, "all parts of a stream, in order")
    async for _ in link.stream(Count(1_000, 100_000)):
        break  # a reader that walks away
    _require((await link.call(Echo(b"y"))).data == b"y", "a link lives on after a broken stream")


async def _raised(link: Link, call: Call, timeout_s: float = 10.0) -> ZegelError:
    try:
        await link.call(call, timeout_s=timeout_s)
    except ZegelError as error:
        return error
    raise AssertionError(f"{type(call).__name__} did not fail")


def _require(truth: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not truth:
        raise AssertionError(f"link: {what}")
