"""Peers that hold connections of the API and never get to a token."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from helpers.api_node import Log
from zegel.console import limits
from zegel.console.server import Server, bind

HALF = b"GET / HTTP/1.1\r\nHost: here\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n"
MUCH = 20_000_000
SHORT_S = 0.2
ANSWER = limits.Wait.ANSWER


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_S", 0.02)


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and answer: soon, late, or with much."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/late":
        await asyncio.sleep(3 * SHORT_S)
    size = MUCH if scope["path"] == "/much" else 4
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(0, size, 100_000):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body", "body": b"here"})


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server(answering, bind("127.0.0.1", 0), Log())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ends(server: Server, sent: bytes, then: bytes = b"") -> bytes:
    """Send, then trickle, and return what came when the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    got = b""
    try:
        async with asyncio.timeout(10):
            while not reader.at_eof():
                with contextlib.suppress(TimeoutError):
                    got += await asyncio.wait_for(reader.read(1000), 0.05)
                writer.write(then)
    except ConnectionError:
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return got


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a condition, no event
            await asyncio.sleep(0.01)


async def status(server: Server, path: str = "/") -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return (await client.get(f"http://127.0.0.1:{server.port}{path}")).status_code


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "then"),
    [(b"", b""), (HALF, b""), (HALF, b"a: b\r\n")],
    ids=["nothing", "half a head", "trickling"],
)
def test_a_head_that_does_not_end_has_its_time(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, then: bytes
) -> None:
    monkeypatch.setattr(limits, "HEAD_S", SHORT_S)

    async def test() -> None:
        async with serving() as server:
            assert await ends(server, sent, then) == b""

    run(test)


def test_a_second_head_that_does_not_end_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_S", SHORT_S)

    async def test() -> None:
        async with serving() as server:
            got = await ends(server, HALF + b"\r\n" + HALF, b"a: b\r\n")
            assert got.count(b"200 OK") == 1

    run(test)


def test_a_body_that_does_not_end_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", SHORT_S)

    async def test() -> None:
        async with serving() as server:
            assert await ends(server, BODY, b"x") == b""

    run(test)


def test_an_answer_that_takes_its_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "BODY_S", "UNREAD_S", "CLOSE_S"):
        monkeypatch.setattr(limits, name, SHORT_S)

    async def test() -> None:
        async with serving() as server:
            assert await status(server, "/late") == 200
            assert await status(server, "/much") == 200

    run(test)


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_a_peer_that_reads_no_answer_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, close: bytes
) -> None:
    for name in ("HEAD_S", "UNREAD_S", "CLOSE_S"):
        monkeypatch.setattr(limits, name, SHORT_S)

    async def test() -> None:
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
            writer.write(HALF.replace(b"/", b"/much", 1) + close + b"\r\n")
            async with asyncio.timeout(10):
                await reader.read(1)
            assert len(server.limits) == 1
            await until(lambda: len(server.limits) == 0)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(test)


@pytest.mark.parametrize("sent", [HALF, BODY], ids=["head", "body"])
def test_a_request_is_answered_where_others_hold_all_seats(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 20)

    async def test() -> None:
        async with serving() as server:
            peers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(60)]
            for _, writer in peers:
                writer.write(sent)
            await until(lambda: len(server.limits) == 20)
            for _ in range(5):
                assert await status(server) == 200
                assert len(server.limits) <= 20
            for _, writer in peers:
                writer.close()

    run(test)


def test_what_is_being_answered_keeps_its_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 4)

    async def test() -> None:
        async with serving() as server:
            late = [asyncio.create_task(status(server, "/late")) for _ in range(4)]
            await until(lambda: sum(at.waits()[0] is ANSWER for at in server.limits) == 4)
            with pytest.raises(httpx.TransportError):
                await status(server)
            assert await asyncio.gather(*late) == [200] * 4
            assert await status(server) == 200

    run(test)


def test_all_files_that_the_system_allows_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [(300, 400)]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: files[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, both: files.append(both))
    assert limits.room_for_connections() == 144
    assert files[-1] == (400, 400)
