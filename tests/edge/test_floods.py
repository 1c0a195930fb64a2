import asyncio
import resource
import socket
from itertools import count
from pathlib import Path

import pytest

from helpers.edges import Edge, answers, confirm, on_uvloop, running, sealed, spooled, wrapped
from zegel.edge.listener import RESERVED_FILES, room_for_connections
from zegel.node.config import SpoolConfig

TITLES = [b"ZGL%05d" % number for number in range(100)]
FORGED = [wrapped(sealed(TITLES[n % 100], 1_000_000 + n, 300)) for n in range(400)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def flood_kept(edge: Edge, frames: int, host: str) -> None:
    """Send forged frames as fast as one connection takes them, reading the receipts."""
    reader, writer = await edge.connect(host)

    async def read() -> None:
        while await reader.read(65_536):
            pass

    reading = asyncio.ensure_future(read())
    for _ in range(frames // len(FORGED)):
        writer.write(b"".join(FORGED))
        await writer.drain()
    writer.close()
    reading.cancel()


async def flood_anew(edge: Edge, frames: int, host: str) -> None:
    """Send forged frames, each on its own connection, without waiting for receipts."""
    for number in range(frames // 8):
        _, writer = await edge.connect(host)
        writer.write(FORGED[number % len(FORGED)])
        writer.close()


async def pushes_during(edge: Edge, *floods: asyncio.Future[None]) -> int:
    """Push as real meters, one after the other, until the floods are over; each is receipted."""
    for number in count():
        frame = wrapped(sealed(TITLES[number % 100], number, 2850))
        assert await edge.push(frame) == confirm(number)
        if number >= 3 and all(flood.done() for flood in floods):
            return number + 1
    raise AssertionError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.66"], ids=["same address", "elsewhere"])
@pytest.mark.parametrize(
    "frames", [8_000, pytest.param(100_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_a_real_push_is_receipted_during_a_flood_of_forged_ones(
    folder: Path, host: str, frames: int
) -> None:
    real = 0

    async def test() -> None:
        nonlocal real
        async with running(folder) as edge:
            half = frames // 2
            floods = [
                asyncio.ensure_future(flood(edge, half, host)) for flood in (flood_kept, flood_anew)
            ]
            real = await pushes_during(edge, *floods)
            await asyncio.gather(*floods)
            assert edge.counted("refused_rate") == edge.counted("refused_backlog") == 0

    on_uvloop(test)
    genuine = [record for record in spooled(folder) if len(record.frame) == 2850]
    assert len(genuine) == real


def test_with_the_store_away_a_flood_fills_only_the_unreserved_share(folder: Path) -> None:
    spool = SpoolConfig(segment_bytes=20_000, segment_s=900, max_unread_segments=8)

    async def test() -> None:
        async with running(folder, spool=spool) as edge:
            # The store says that this meter authenticated from its own address.
            here = bytes(10) + b"\xff\xff" + socket.inet_aton("127.0.0.7")
            edge.receiver._limits.authenticated(TITLES[0], here)
            while edge.counted("refused_backlog") == 0:
                await edge.push(*FORGED[:50], host="127.0.0.66")
            assert not edge.receiver.held
            assert 6 <= edge.counted("spool_segments") < 8
            assert await edge.push(wrapped(sealed(TITLES[0], 5)), host="127.0.0.66") == b""
            assert await edge.push(wrapped(sealed(TITLES[0], 6)), host="127.0.0.7") == confirm(6)

    on_uvloop(test)


def _open(port: int, number: int, sent: bytes) -> list[socket.socket]:
    peers = []
    for _ in range(number):
        peers.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        peers[-1].send(sent)
    return peers


async def opened(edge: Edge, number: int, sent: bytes = b"") -> list[socket.socket]:
    """Open connections that do nothing more than send a few bytes."""
    return await asyncio.to_thread(_open, edge.port, number, sent)


def test_five_thousand_idle_and_trickling_connections_are_cheap(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            before = resident()
            peers = await opened(edge, 2500) + await opened(edge, 2500, FORGED[0][:50])
            await edge.until(lambda: len(edge.receiver.seats) == 5000)
            await edge.until(lambda: len(edge.receiver._partial) == 2500)
            assert resident() - before < 100_000_000  # both ends of them
            assert await edge.push(wrapped(sealed())) == confirm(7)
            for peer in peers:
                peer.close()

    on_uvloop(test)


def resident() -> int:
    """Return the resident memory of this process, bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.parametrize("sent", [b"", FORGED[0][:50]], ids=["idle", "trickling"])
def test_a_new_meter_gets_in_where_others_hold_all_seats(folder: Path, sent: bytes) -> None:
    async def test() -> None:
        async with running(folder, max_connections=40) as edge:
            peers = await opened(edge, 60, sent)
            await edge.until(lambda: edge.counted("refused_connections") == 20)
            assert len(edge.receiver.seats) == 40
            for number in range(10):
                assert await edge.push(wrapped(sealed(counter=number))) == confirm(number)
            for peer in peers:
                peer.close()

    on_uvloop(test)
    assert len([record for record in spooled(folder) if not record.mark]) == 10


def test_a_known_meter_keeps_its_connection_where_strangers_crowd(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, max_connections=40) as edge:
            edge.receiver._limits.authenticated(b"ZGL00001")
            reader, writer = await edge.connect()
            writer.write(wrapped(sealed(counter=1)))
            assert await reader.readexactly(14) == confirm(1)
            peers = await opened(edge, 100)
            await edge.until(lambda: edge.counted("refused_connections") >= 61)
            writer.write(wrapped(sealed(counter=2)))
            assert await answers(reader, writer) == confirm(2)
            for peer in peers:
                peer.close()

    on_uvloop(test)


def test_unfinished_frames_are_bounded_over_all_connections(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zegel.edge.receiver.MAX_HELD", 100_000)

    async def test() -> None:
        async with running(folder, max_apdu=65_535) as edge:
            large = wrapped(sealed(size=60_000))[:30_000]
            peers = await opened(edge, 10, large)
            await edge.until(lambda: edge.counted("refused_connections") >= 7)
            assert edge.receiver._partial_bytes <= 100_000
            assert await edge.push(wrapped(sealed())) == confirm(7)
            for peer in peers:
                peer.close()

    on_uvloop(test)


def test_connections_stay_below_the_limit_of_open_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert room_for_connections(10) == 10
    assert room_for_connections(10**9) == hard - RESERVED_FILES
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
