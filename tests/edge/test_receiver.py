import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.edges import (
    Edge,
    answers,
    confirm,
    on_uvloop,
    running,
    sealed,
    spooled,
    udp_peer,
    without_peer,
    wrapped,
)
from zegel.calls.edge import Release, Released
from zegel.edge.spool import FileSpool
from zegel.errors import ConfigError, ConflictError, UsageError
from zegel.node import switches
from zegel.node.config import SpoolConfig
from zegel.node.spool_format import Mark, Record, Source, show_address
from zegel.node.switches import Switches

APDU = sealed(counter=0x01020304)
PLAIN = bytes.fromhex("0f00000007000202")
PATHS = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    yield
    switches.reset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def test_a_push_is_receipted_and_spooled(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            assert await edge.push(wrapped(APDU, 7, 9)) == confirm(0x020304, 7, 9)
            assert edge.counted("received") == edge.counted("receipts") == 1

    on_uvloop(test)
    (record,) = spooled(folder)
    assert (record.frame, record.source, record.mark) == (APDU, Source.PUSH_TCP, Mark.NONE)
    assert show_address(record.address) == "127.0.0.1"
    assert record.port > 0


def test_several_frames_on_one_connection_are_receipted_in_order(folder: Path) -> None:
    frames = [wrapped(sealed(counter=n, size=50 + n)) for n in range(40)]

    async def test() -> None:
        async with running(folder) as edge:
            assert await edge.push(*frames) == b"".join(map(confirm, range(40)))

    on_uvloop(test)
    assert [record.frame for record in spooled(folder)] == [frame[8:] for frame in frames]


def test_a_kept_open_connection_may_push_again(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            for counter in range(5):
                writer.write(wrapped(sealed(counter=counter)))
                assert await reader.readexactly(14) == confirm(counter)
            writer.close()

    on_uvloop(test)
    assert len(spooled(folder)) == 5


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 107])
def test_frames_come_out_whole_wherever_the_stream_is_cut(folder: Path, cut: int) -> None:
    stream = wrapped(APDU) + wrapped(sealed(counter=9))

    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            for at in range(0, len(stream), cut):
                writer.write(stream[at : at + cut])
                await writer.drain()
                await asyncio.sleep(0)
            assert await answers(reader, writer, 2) == confirm(0x020304) + confirm(9)

    on_uvloop(test)
    assert [record.frame for record in spooled(folder)] == [APDU, sealed(counter=9)]


def test_a_half_closed_connection_still_gets_its_receipt(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write(wrapped(APDU))
            writer.write_eof()
            assert await answers(reader, writer, 2) == confirm(0x020304)

    on_uvloop(test)


def test_what_shows_no_title_is_spooled_without_a_receipt(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write(wrapped(PLAIN) + wrapped(b"") + wrapped(APDU))
            assert await answers(reader, writer) == confirm(0x020304)
            await edge.until(lambda: edge.counted("received") == 3)

    on_uvloop(test)
    assert [(r.frame, r.mark) for r in spooled(folder)] == [(PLAIN, 0), (b"", 0), (APDU, 0)]


CUTS = {
    "header": wrapped(APDU)[:5],
    "body": wrapped(APDU)[:60],
    "wrong version": b"\x00\x02" + wrapped(APDU)[2:],
    "no wrapper": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("seen", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("before", [b"", wrapped(APDU)], ids=["alone", "after a frame"])
def test_a_cut_or_odd_stream_is_spooled_as_seen_and_not_receipted(
    folder: Path, seen: bytes, before: bytes
) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write(before + seen)
            writer.write_eof()
            assert await answers(reader, writer, 2) == (confirm(0x020304) if before else b"")
            await edge.until(lambda: edge.counted("framing") == 1)

    on_uvloop(test)
    marked = [without_peer(record) for record in spooled(folder) if record.mark]
    assert marked == [Record(seen, mark=Mark.FRAMING)]


def test_a_reset_connection_is_a_cut_stream(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            _, writer = await edge.connect()
            writer.write(wrapped(APDU)[:60])
            await edge.until(lambda: edge.receiver._partial != {})
            peer = writer.get_extra_info("socket")
            linger = b"\x01\0\0\0\0\0\0\0"
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            await edge.until(lambda: edge.counted("framing") == 1)

    on_uvloop(test)
    assert [record.frame for record in spooled(folder)] == [wrapped(APDU)[:60]]


def test_a_frame_over_the_limit_is_marked_and_its_first_64_bytes_kept(folder: Path) -> None:
    large = wrapped(sealed(size=301))

    async def test() -> None:
        async with running(folder, max_apdu=300) as edge:
            assert await edge.push(wrapped(sealed(size=300)), large) == confirm(7)
            await edge.until(lambda: edge.counted("too_large") == 1)

    on_uvloop(test)
    assert [(r.frame, r.mark) for r in spooled(folder)] == [
        (sealed(size=300), Mark.NONE),
        (large[:64], Mark.TOO_LARGE),
    ]


def test_a_cut_stream_is_kept_up_to_64_kilobytes(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write(b"\x00\x02" * 100_000)
            await answers(reader, writer)
            await edge.until(lambda: edge.counted("framing") == 1)

    on_uvloop(test)
    (record,) = spooled(folder)
    assert 8 <= len(record.frame) <= 65_536


def test_an_empty_connection_records_nothing(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write_eof()
            assert await answers(reader, writer) == b""
            await edge.until(lambda: len(edge.receiver.seats) == 0)

    on_uvloop(test)
    assert spooled(folder) == []


@pytest.mark.parametrize(
    ("idle_s", "frame_s", "sent", "marks"),
    [(0.05, 9.0, b"", []), (9.0, 0.05, wrapped(APDU)[:50], [Mark.FRAMING])],
    ids=["silent", "unfinished"],
)
def test_silent_and_slow_connections_are_closed_in_time(
    folder: Path, idle_s: float, frame_s: float, sent: bytes, marks: list[Mark]
) -> None:
    async def test() -> None:
        async with running(folder, idle_s=idle_s, frame_s=frame_s) as edge:
            reader, writer = await edge.connect()
            writer.write(sent)
            assert await answers(reader, writer) == b""
            assert edge.counted("timed_out") == 1

    on_uvloop(test)
    assert [record.mark for record in spooled(folder)] == marks


def test_a_trickling_frame_has_no_longer_than_any_other(folder: Path) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        for byte in wrapped(APDU):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)

    async def test() -> None:
        async with running(folder, frame_s=0.1) as edge:
            reader, writer = await edge.connect()
            task = asyncio.ensure_future(trickle(writer))
            assert await answers(reader, writer) == b""
            task.cancel()
            await edge.until(lambda: edge.counted("framing") == 1)

    on_uvloop(test)


def test_a_datagram_is_receipted_to_its_sender(folder: Path) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            with udp_peer() as peer:
                peer.sendto(wrapped(APDU, 3, 4), ("127.0.0.1", edge.port))
                received = await asyncio.to_thread(peer.recv, 100)
                assert received == confirm(0x020304, 3, 4)

    on_uvloop(test)
    (record,) = spooled(folder)
    assert (record.frame, record.source) == (APDU, Source.PUSH_UDP)


def test_odd_datagrams_are_marked_and_not_receipted(folder: Path) -> None:
    whole = wrapped(APDU)
    odd = [whole[:50], whole + b"\x00", b"\x00\x02" + whole[2:], b"x", wrapped(sealed(size=400))]

    async def test() -> None:
        async with running(folder, max_apdu=300) as edge:
            with udp_peer() as peer:
                for datagram in (*odd, b"", whole):
                    peer.sendto(datagram, ("127.0.0.1", edge.port))
                assert await asyncio.to_thread(peer.recv, 100) == confirm(0x020304)

    on_uvloop(test)
    marks = [Mark.FRAMING] * 4 + [Mark.TOO_LARGE, Mark.NONE]
    frames = [*odd[:4], odd[4][:64], APDU]
    assert [(r.mark, r.frame) for r in spooled(folder)] == list(zip(marks, frames, strict=True))


def test_udp_can_be_off(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, udp=False) as edge:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", edge.port))

    on_uvloop(test)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_in_use_is_named(folder: Path, kind: socket.SocketKind) -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, kind) as taken:
            taken.bind(("127.0.0.1", 0))
            if kind == socket.SOCK_STREAM:
                taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConflictError, match=f"in use .*; 127.0.0.1:{port}"):
                async with running(folder, port=port):
                    pass

    on_uvloop(test)


def test_an_address_that_is_not_ours_is_named(folder: Path) -> None:
    async def test() -> None:
        with pytest.raises(ConfigError, match=r"192\.0\.2\.1:0"):
            async with running(folder, host="192.0.2.1"):
                pass

    on_uvloop(test)


async def segments(edge: Edge, count: int) -> None:
    """Wait until so many segments are sealed."""
    await edge.until(lambda: edge.counted("spool_segments") >= count)


def test_segments_are_sealed_by_age_and_by_size(folder: Path) -> None:
    async def by(spool: SpoolConfig, size: int) -> None:
        async with running(folder, spool=spool) as edge:
            await edge.push(wrapped(sealed(size=size)))
            await edge.until(lambda: edge.health.counters["spool_segments"] > 0)

    on_uvloop(lambda: by(SpoolConfig(segment_s=0.05), 100))
    on_uvloop(lambda: by(SpoolConfig(segment_s=900, segment_bytes=5000), 6000))
    assert len(list(folder.glob("*.seg"))) == 2


def test_while_the_store_is_behind_segments_are_sealed_by_size_only(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, spool=SpoolConfig(segment_s=0.02)) as edge:
            for counter in range(2):
                await edge.push(wrapped(sealed(counter=counter)))
                await segments(edge, counter + 1)
            await edge.push(wrapped(sealed(counter=2)))
            await asyncio.sleep(0.1)
            assert edge.counted("spool_segments") == 2
            first = edge.spool.unread()[0]
            await edge.receiver.release(Release(first.first, first.last))
            await edge.until(lambda: len(edge.spool.unread()) == 2)

    on_uvloop(test)


def test_release_unlinks_and_may_be_repeated(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, spool=SpoolConfig(segment_s=0.02)) as edge:
            await edge.push(wrapped(APDU))
            await edge.until(lambda: edge.counted("spool_segments") == 1)
            (name,) = edge.spool.unread()
            call = Release(name.first, name.last, b"ZGL00001", bytes(16))
            assert await edge.receiver.release(call) == Released(released=True)
            assert await edge.receiver.release(call) == Released(released=False)
            assert edge.counted("spool_segments") == 0

    on_uvloop(test)
    assert not list(folder.glob("*.seg"))


@pytest.mark.parametrize(
    "call", [Release(5, 4), Release(1, 2, b"short"), Release(1, 2, bytes(16), bytes(16))]
)
def test_an_odd_release_is_refused(folder: Path, call: Release) -> None:
    async def test() -> None:
        async with running(folder) as edge:
            with pytest.raises(UsageError):
                await edge.receiver.release(call)

    on_uvloop(test)


async def fill(edge: Edge, count: int) -> None:
    """Push until so many segments wait for a store that is away."""
    for number in range(count):
        await edge.push(wrapped(sealed(counter=number, size=300)))
        await segments(edge, number + 1)


BEHIND = SpoolConfig(segment_bytes=200, segment_s=900, max_unread_segments=4)


def test_above_its_bound_the_edge_stops_reading_and_goes_on_below(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, spool=BEHIND, reserved=0.0) as edge:
            held_reader, held_writer = await edge.connect()
            await fill(edge, 4)
            assert edge.receiver.held
            assert edge.health.reasons == ["edge: 4 unread segments of at most 4: reading stopped"]
            listener = edge.receiver._listener
            assert listener is not None
            await edge.until(lambda: listener._server is None)
            seats = len(edge.receiver.seats)
            held_writer.write(wrapped(sealed(counter=70)))
            new_reader, new_writer = await edge.connect()
            new_writer.write(wrapped(sealed(counter=71)))
            with udp_peer() as peer:
                peer.sendto(wrapped(APDU), ("127.0.0.1", edge.port))
                await edge.until(lambda: edge.counted("refused_backlog") == 1)
            assert edge.counted("received") == 4
            assert len(edge.receiver.seats) <= seats
            name = edge.spool.unread()[0]
            await edge.receiver.release(Release(name.first, name.last))
            assert edge.health.reasons == []
            assert await answers(held_reader, held_writer) == confirm(70)
            name = edge.spool.unread()[0]
            await edge.receiver.release(Release(name.first, name.last))
            assert await answers(new_reader, new_writer) == confirm(71)

    on_uvloop(test)


def test_in_scarcity_only_the_reserved_lane_is_served(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, spool=BEHIND) as edge:
            await fill(edge, 1)
            (name,) = edge.spool.unread()
            here = b"\0" * 10 + b"\xff\xff\x7f\0\0\x05"
            await edge.receiver.release(Release(name.first, name.last, b"ZGL00001", here))
            await fill(edge, 3)
            assert "only titles known lately" in edge.health.reasons[0]
            assert await edge.push(wrapped(APDU)) == b""
            assert await edge.push(wrapped(sealed(b"ZGL00002")), host="127.0.0.5") == b""
            assert edge.counted("refused_backlog") == 2
            assert await edge.push(wrapped(APDU), host="127.0.0.5") == confirm(0x020304)
        assert b"ZGL00002" not in {record.frame[2:10] for record in spooled(folder)}

    on_uvloop(test)


def test_a_refused_frame_is_not_spooled_nor_receipted(folder: Path) -> None:
    frames = [wrapped(sealed(counter=n)) for n in range(5)]

    async def test() -> None:
        async with running(folder, peer_rate=1.0) as edge:
            assert await edge.push(*frames) == confirm(0) + confirm(1)
            assert edge.counted("refused_rate") == 1
            assert await edge.push(frames[4], host="127.0.0.2") == confirm(4)

    on_uvloop(test)
    assert len(spooled(folder)) == 3


def test_connections_of_one_peer_can_be_limited(folder: Path) -> None:
    async def test() -> None:
        async with running(folder, max_per_peer=2) as edge:
            kept = [await edge.connect() for _ in range(2)]
            await edge.until(lambda: len(edge.receiver.seats) == 2)
            assert await edge.push(wrapped(APDU)) == b""
            assert edge.counted("refused_connections") == 1
            assert await edge.push(wrapped(APDU), host="127.0.0.2") == confirm(0x020304)
            kept[0][1].close()
            await edge.until(lambda: len(edge.receiver.seats) == 1)
            assert await edge.push(wrapped(APDU)) == confirm(0x020304)
            kept[1][1].close()

    on_uvloop(test)


def test_a_peer_that_reads_no_receipts_is_read_no_more_and_then_dropped(folder: Path) -> None:
    frames = b"".join(wrapped(sealed(counter=n, size=18)) for n in range(2000))

    async def test() -> None:
        async with running(folder, idle_s=0.2) as edge:
            _, writer = await edge.connect()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await edge.until(lambda: len(edge.receiver.seats) == 1)
            (seat,) = edge.receiver.seats
            with contextlib.suppress(ConnectionError, TimeoutError):
                while not edge.counted("timed_out"):
                    writer.write(frames)
                    await asyncio.wait_for(writer.drain(), 5)
                    assert not seat.blocked or not seat._transport.is_reading()  # type: ignore[union-attr]
            writer.transport.abort()
            await edge.until(lambda: len(edge.receiver.seats) == 0)
            assert edge.counted("timed_out") == 1

    on_uvloop(test)


async def deaf(edge: Edge, number: int, after: bytes = b"") -> list[socket.socket]:
    """Open connections that send until receipts lie unread at the edge, and stay open."""
    peers = []
    frames = b"".join(wrapped(sealed(counter=n, size=18)) for n in range(3000)) + after
    loop = asyncio.get_running_loop()
    for _ in range(number):
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", edge.port))
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(loop.sock_sendall(peer, frames), 1)
        peers.append(peer)
    return peers


def open_sockets() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the folder itself
            count += str(link.readlink()).startswith("socket:")
    return count


@pytest.mark.parametrize("limit", [3, 100], ids=["evicted", "timed out"])
def test_peers_that_read_no_receipts_hold_no_file(folder: Path, limit: int) -> None:
    async def test() -> None:
        async with running(folder, max_connections=limit, idle_s=0.3) as edge:
            before = open_sockets()
            peers = await deaf(edge, 9)
            await edge.until(lambda: len(edge.receiver.seats) == 0)
            assert open_sockets() <= before + len(peers)
            for peer in peers:
                peer.close()

    on_uvloop(test)


@pytest.mark.parametrize("after", [b"\x00\x02\x00\x01\x00\x01\x00\x00", b""], ids=["odd", "eof"])
def test_a_closing_peer_that_reads_no_receipts_holds_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    monkeypatch.setattr("zegel.edge.receiver.LINGER_S", 0.1)

    async def test() -> None:
        async with running(folder) as edge:
            before = open_sockets()
            peers = await deaf(edge, 2, after)
            for peer in peers:
                if not after:
                    peer.shutdown(socket.SHUT_WR)
            await edge.until(lambda: len(edge.receiver.seats) == 0)
            assert open_sockets() <= before + len(peers)
            for peer in peers:
                peer.close()

    on_uvloop(test)


def test_a_peer_that_reads_its_receipts_late_gets_them_all(folder: Path) -> None:
    frames = b"".join(wrapped(sealed(counter=n, size=18)) for n in range(50_000))

    async def test() -> None:
        async with running(folder) as edge:
            reader, writer = await edge.connect()
            writer.write(frames)
            assert await answers(reader, writer, 50_000) == b"".join(map(confirm, range(50_000)))

    on_uvloop(test)


def test_a_full_disk_confirms_nothing_stops_reading_and_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zegel.edge.commit.PROBE_S", 0.05)
    full = [False]
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def test() -> None:
        async with running(folder) as edge:
            assert await edge.push(wrapped(sealed(counter=1))) == confirm(1)
            full[0] = True
            assert await edge.push(wrapped(sealed(counter=2))) == b""
            assert edge.receiver.held
            (reason,) = edge.health.reasons
            assert str(folder) in reason
            assert "ENOSPC" in reason
            waiting = asyncio.ensure_future(edge.push(wrapped(sealed(counter=3))))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            full[0] = False
            assert await waiting == confirm(3)
            assert edge.health.reasons == []
            assert edge.counted("not_durable") == 1

    on_uvloop(test)
    assert [record.frame for record in spooled(folder)] == [sealed(counter=1), sealed(counter=3)]


def test_stopping_receipts_what_was_taken_and_marks_nothing(folder: Path) -> None:
    async def test() -> None:
        slow = SpoolConfig(commit_ms=200)
        async with running(folder, spool=slow) as edge:
            await edge.push(wrapped(sealed(counter=1)))
            reader, writer = await edge.connect()
            writer.write(wrapped(sealed(counter=2)) + wrapped(APDU)[:20])
            await edge.until(lambda: edge.receiver._partial != {})
        assert await answers(reader, writer, 2) == confirm(2)

    on_uvloop(test)
    assert [record.frame for record in spooled(folder)] == [sealed(counter=1), sealed(counter=2)]


DYING = """
import asyncio, sys, uvloop
from pathlib import Path
from helpers.edges import running
from zegel.node.switches import Switches, install

install(Switches(die_at=sys.argv[2], guard_off=tuple(sys.argv[3:])))

async def main():
    async with running(Path(sys.argv[1])) as edge:
        print(edge.port, flush=True)
        await asyncio.sleep(20)

asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


def push_until_it_dies(folder: Path, die_at: str, *guards_off: str) -> set[bytes]:
    """Push to an edge that dies at a step; return the frames that it receipted."""
    command = [sys.executable, "-c", DYING, str(folder), die_at, *guards_off]
    receipted: set[bytes] = set()
    with subprocess.Popen(command, env=PATHS, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            for counter in range(10):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
                    peer.sendall(wrapped(sealed(counter=counter)))
                    if peer.recv(14) == confirm(counter):
                        receipted.add(sealed(counter=counter))
        except ConnectionError:
            pass
        finally:
            process.kill()
    FileSpool(folder).close()
    return receipted


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("step", ["append", "sync", "receipt"])
def test_whatever_was_receipted_is_there_after_a_kill(folder: Path, step: str, side: str) -> None:
    receipted = push_until_it_dies(folder, f"{step}.{side}:4")
    assert 3 <= len(receipted) <= 4
    assert receipted <= {record.frame for record in spooled(folder)}


def test_without_the_guard_a_receipted_frame_is_lost(folder: Path) -> None:
    receipted = push_until_it_dies(folder, "append.before", "edge.receipt_after_sync")
    assert receipted - {record.frame for record in spooled(folder)} != set()


def test_the_guard_off_is_said(folder: Path) -> None:
    switches.install(Switches(guard_off=("edge.receipt_after_sync",)))

    async def test() -> None:
        async with running(folder) as edge:
            assert edge.health.report().test
            assert await edge.push(wrapped(APDU)) == confirm(0x020304)

    on_uvloop(test)
