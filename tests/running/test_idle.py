"""Connections that say nothing, or one byte a second, cost little and keep nobody out."""

import resource
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest

from helpers.attack import resident, zones
from helpers.nodes import RunningNode, stored, street

MB = 1_000_000
FILES = 6_000  # that this process opens
SMALL, LARGE = 26, 30_000  # bytes of a push that a trickling connection has sent


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def begun(size: int) -> bytes:
    """Return the first bytes of a frame that will never end."""
    return (bytes.fromhex("0001 0001 0001 8000 db08") + b"ZGM\x04\0\0\0\1").ljust(size, b"\x5a")


@contextmanager
def crowd(node: RunningNode, sizes: Sequence[int]) -> Iterator[None]:
    """Hold connections open, a silent one for each 0; the others have sent so many bytes.

    They send on, a byte of their frame each second.
    """
    over = threading.Event()
    with ExitStack() as opened:
        crowded = [
            opened.enter_context(
                socket.create_connection(("127.0.0.1", node.push_port), timeout=20)
            )
            for _ in sizes
        ]
        slow = [sock for sock, size in zip(crowded, sizes, strict=True) if size]
        for sock, size in zip(crowded, sizes, strict=True):
            _send(sock, begun(size)[:size])
        trickle = threading.Thread(target=_trickle, args=(slow, over))
        trickle.start()
        try:
            yield
        finally:
            over.set()
            trickle.join(20)


def _trickle(slow: Sequence[socket.socket], over: threading.Event) -> None:
    while not over.wait(1.0):
        for sock in slow:
            _send(sock, b"\x5a")


def _send(sock: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the edge may have closed it: it needed the seat
        sock.sendall(data)


def counted(node: RunningNode, name: str) -> int:
    return int(zones(node)["edge"]["counters"].get(name, 0))


def test_five_thousand_idle_and_trickling_connections_cost_little_and_keep_nobody_out() -> None:
    sizes = [0] * 1500 + [SMALL] * 1000 + [LARGE] * 2500  # the large ones are 75 MB
    with RunningNode() as node:
        made = street(node, meters=20)
        pushes = made.pushes()
        node.send(pushes[:1])
        node.settled(1)
        edge = node.pids["edge"]
        before = resident(edge)
        with crowd(node, sizes):
            peak = 0
            for part in (pushes[1:10], pushes[10:]):
                stats = node.send(part, receipt_s=10.0, tries=1)
                assert (stats.confirmed, stats.failed) == (len(part), 0)
                assert max(stats.latencies) < 5.0
                peak = max(peak, resident(edge))
                time.sleep(1.1)  # the trickle goes on meanwhile
            held = counted(node, "connections") + counted(node, "refused_connections")
            assert held >= len(sizes)
            peak = max(peak, resident(edge))
        grown = (peak - before) / MB
        print(f"edge grown by {grown:.0f} MB with {len(sizes)} connections")
        assert grown < 200
        assert node.pids["edge"] == edge
        _until_stored(node, 20)
        assert dict(stored(node, made)) == made.truth()


def _until_stored(node: RunningNode, frames: int) -> None:
    end = time.monotonic() + 40
    while node.api.fates().stored < frames:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_new_meter_gets_in_where_idle_connections_hold_every_seat() -> None:
    with RunningNode(edge__max_connections=500) as node:
        made = street(node, meters=20)
        pushes = made.pushes()
        with crowd(node, [0] * 400 + [SMALL] * 300):
            end = time.monotonic() + 10
            while counted(node, "refused_connections") < 200:
                assert time.monotonic() < end
            assert counted(node, "connections") <= 500
            stats = node.send(pushes, receipt_s=5.0, tries=1, in_flight=4)
            assert stats.confirmed == 20
            assert max(stats.latencies) < 5.0
        _until_stored(node, 20)
        assert dict(stored(node, made)) == made.truth()
