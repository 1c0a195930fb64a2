import asyncio
import contextlib
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from zegel.calls import TABLE, ZONES, allowed
from zegel.calls.base import MAX_MESSAGE, PROTOCOL, Call, Failure, Health, Hello, Reply, Stream
from zegel.errors import RefusedError, UnreachableError
from zegel.node.check_link import Echo, Sleep, check_link, handlers
from zegel.node.link import Link, LocalLink, SocketLink, request
from zegel.node.serving import Answerer, CallerSocket, Handlers


@contextlib.asynccontextmanager
async def listening(
    answers: Handlers, *, caller: str = "", callee: str = "", user: int = 0
) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zl") as folder:
        path = Path(folder) / "s.sock"
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(path))
        answering = CallerSocket(Answerer(answers, caller=caller, callee=callee), caller_user=user)
        await answering.listen(bound)
        try:
            yield path
        finally:
            await asyncio.sleep(0.01)  # a connection that was just made is accepted first
            answering.close()
            await asyncio.sleep(0.01)  # transports close their sockets on later turns


def test_a_local_link_passes_the_suite() -> None:
    async def make(answers: Handlers) -> Link:
        return LocalLink(answers)

    asyncio.run(check_link(make))


def test_a_socket_link_passes_the_suite() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:

            async def make(_answers: Handlers) -> Link:
                return SocketLink(path, "callee")

            await check_link(make)

    asyncio.run(main())


async def _nothing(_call: Call) -> None:
    raise AssertionError("reached")


async def _no_parts(call: Call) -> AsyncIterator[None]:
    await _nothing(call)
    yield


def everything() -> Handlers:
    return {
        kind: _no_parts if issubclass(kind, Stream) else _nothing
        for row in TABLE.values()
        for kind in row
    }


CALLS = sorted({kind for row in TABLE.values() for kind in row}, key=lambda kind: kind.__name__)


def sample(kind: type[Call]) -> bytes:
    """A call of this kind with every field filled, as it goes over the wire."""
    plain: dict[str, object] = {"type": kind.__name__}
    for field in msgspec.structs.fields(kind):
        if field.default is msgspec.NODEFAULT:
            plain[field.name] = {int: 1, bytes: b"x", str: "x", memoryview: b"x"}.get(
                field.type, []
            )
    return msgspec.msgpack.encode(plain)


@pytest.mark.parametrize("caller", ZONES)
@pytest.mark.parametrize("callee", ZONES)
def test_every_call_over_every_pair_is_allowed_exactly_if_the_table_says_so(
    caller: str, callee: str
) -> None:
    rights = allowed(caller, callee)
    if not rights:
        assert (caller, callee) not in TABLE  # no row: the zone makes no socket for the pair
        return
    answers = everything()
    answerer = Answerer(answers, caller=caller, callee=callee)

    async def ask(kind: type[Call]) -> Reply:
        message = msgspec.msgpack.encode([1, 1000, msgspec.Raw(sample(kind))])
        async for reply in answerer.answer(memoryview(message)):
            answer: Reply = msgspec.msgpack.decode(reply, type=Reply)
            return answer
        raise AssertionError("no reply")

    for kind in CALLS:
        reply = asyncio.run(ask(kind))
        assert isinstance(reply, Failure)
        if kind in rights:
            assert reply.code == "error", (kind, reply)  # it reached the handler
        else:
            assert reply.code == "refused", (kind, reply)


def test_a_link_that_does_not_begin_with_hello_is_closed() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            message = request(1, Echo(b"x"), 1.0)
            writer.write(struct.pack(">I", len(message)) + message)
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            reply = msgspec.msgpack.decode(await reader.readexactly(length), type=Reply)
            assert isinstance(reply, Failure)
            assert reply.code == "refused"
            assert await reader.read() == b""
            writer.close()

    asyncio.run(main())


def test_another_protocol_number_is_refused() -> None:
    async def main() -> None:
        link = LocalLink(handlers())
        with pytest.raises(RefusedError, match="protocol"):
            await link.call(Hello(PROTOCOL + 1, "x"))

    asyncio.run(main())


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_a_message_of_an_impossible_length_closes_the_link(length: int) -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(struct.pack(">I", length))
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(main())


def test_bytes_that_are_no_request_close_the_link() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(struct.pack(">I", 3) + b"\xc1\xc1\xc1")
            await asyncio.wait_for(reader.read(), 5)
            assert reader.at_eof()
            writer.close()

    asyncio.run(main())


def test_an_unknown_field_in_a_call_is_refused() -> None:
    async def main() -> None:
        answerer = Answerer({Echo: _nothing})
        raw = msgspec.msgpack.encode({"type": "Echo", "data": b"", "operator": "noord"})
        message = msgspec.msgpack.encode([7, 1000, msgspec.Raw(raw)])
        async for reply in answerer.answer(memoryview(message)):
            failure = msgspec.msgpack.decode(reply, type=Reply)
            assert isinstance(failure, Failure)
            assert (failure.id, failure.code) == (7, "refused")

    asyncio.run(main())


def test_more_than_the_allowed_open_calls_are_refused() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            link = SocketLink(path, "callee")
            calls = (link.call(Sleep(0.2), timeout_s=5) for _ in range(80))
            done = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(item, RefusedError) for item in done) in (16, 17)
            await link.close()

    asyncio.run(main())


def test_a_link_comes_back_after_its_callee_was_away() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            link = SocketLink(path, "callee")
            await link.call(Echo(b"1"))
        with pytest.raises(UnreachableError, match="does not answer"):
            await link.call(Echo(b"2"))
        await link.close()

    asyncio.run(main())


def test_a_caller_of_another_user_is_cut_off() -> None:
    async def main() -> None:
        async with listening(handlers(), user=os.getuid() + 12_345) as path:
            link = SocketLink(path, "callee")
            with pytest.raises(UnreachableError):
                await link.call(Echo(b"1"), timeout_s=2)
            await link.close()

    asyncio.run(main())


def test_a_callee_of_another_user_is_not_spoken_to() -> None:
    async def main() -> None:
        async with listening(handlers()) as path:
            link = SocketLink(path, "callee", callee_user=os.getuid() + 12_345)
            with pytest.raises(RefusedError, match="user of the callee"):
                await link.call(Echo(b"1"))

    asyncio.run(main())


def test_health_stands_in_the_table_for_the_console_only() -> None:
    assert {pair for pair, row in TABLE.items() if Health in row} == {
        ("console", zone) for zone in ("edge", "vault", "store")
    }
