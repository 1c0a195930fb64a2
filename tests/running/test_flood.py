"""A flood of well-formed forged frames of real meters stores nothing and silences nobody."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.attack import ask, flooding, forged, resident, zones
from helpers.nodes import RunningNode, Street, stored, street
from zegel.meter.sender import SendStats

FRAMES = 100_000
SIZE = 300  # bytes of ciphertext: small frames come fastest
SOURCES = ["127.0.0.1"] * 16 + [f"127.0.0.{n}" for n in range(2, 18)]
MB = 1_000_000


def counted(node: RunningNode, name: str) -> int:
    """Return a counter of the edge."""
    return int(zones(node)["edge"]["counters"].get(name, 0))


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_a_flood_of_forged_frames_stores_nothing_and_silences_no_meter() -> None:
    with RunningNode(edge__title_rate=2.0) as node:  # as it is without any setting
        made = street(node, meters=30, days=3)
        node.send(made.pushes(0))
        node.settled(30)
        memory = {zone: resident(pid) for zone, pid in node.pids.items()}
        disk = on_disk(node.data / "store")

        during, pushes = SendStats(), iter(made.pushes(1))
        frames = forged(made.fleet, FRAMES, SIZE)
        with flooding(node.push_port, frames, sources=SOURCES) as (flood, goes_on):
            while goes_on() and (push := next(pushes, None)):
                during.add(node.send([push], receipt_s=20.0, tries=1))
        assert (flood.receipts, flood.cut) == (FRAMES, 0)  # the edge cannot tell, and says so
        assert during.failed == 0
        assert during.confirmed >= 2
        assert max(during.latencies) < 5.0

        rest = [*pushes, *made.pushes(2)]
        assert node.send(rest).confirmed == len(rest)
        fates = node.settled(90 + FRAMES)
        assert (fates.received, fates.stored, fates.duplicate) == (90 + FRAMES, 90, 0)
        assert fates.reasons == {"bad_tag": FRAMES}
        assert fates.received == counted(node, "received")
        found = stored(node, made)
        assert len(found) == len(made.truth())
        assert dict(found) == made.truth()

        away = ask(node, "/v1/quarantine", limit=1)["sampled_away"]
        assert FRAMES - away == 1000 * len(set(SOURCES))  # the quota of each source, no more
        grown = {zone: (resident(pid) - memory[zone]) / MB for zone, pid in node.pids.items()}
        disk = on_disk(node.data / "store") - disk
    print(
        f"grown, MB: {grown}, disk {disk / MB:.1f}; receipts within {max(during.latencies):.2f} s"
    )
    assert grown["edge"] < 60
    assert grown["vault"] < 60
    assert grown["store"] < 300
    assert disk < 60 * MB


def test_a_flood_of_the_smallest_frames_fills_no_memory_and_silences_no_meter(
    node: RunningNode,
) -> None:
    made = street(node, meters=2)
    before, memory = node.api.fates(), {z: resident(p) for z, p in node.pids.items()}
    smallest = bytes.fromhex("0001 0001 0001 0001 ff") * FRAMES  # a wrapper and one byte
    with socket.create_connection(("127.0.0.1", node.push_port), timeout=30) as flood:
        flood.sendall(smallest)
        stats = node.send(made.pushes(), receipt_s=20.0, tries=1)
        peak = resident(node.pids["edge"])
    assert stats.confirmed == 2
    assert max(stats.latencies) < 5.0
    after = node.settled(before.received + FRAMES + 2)
    assert after.quarantined - before.quarantined == FRAMES
    assert dict(stored(node, made)) == made.truth()
    assert peak - memory["edge"] < 60 * MB
    assert resident(node.pids["store"]) - memory["store"] < 300 * MB


@contextmanager
def behind(reserved: float) -> Iterator[tuple[RunningNode, Street]]:
    """A node whose vault stands still, while a forger elsewhere fills the spool to its limits."""
    with RunningNode(
        spool__segment_bytes=50_000, spool__max_unread_segments=8, edge__reserved=reserved
    ) as node:
        made = street(node, meters=5, days=2)
        node.send(made.pushes(0))
        node.settled(5)
        _until(lambda: counted(node, "spool_segments") == 0)
        os.kill(node.pids["vault"], signal.SIGSTOP)
        try:
            _fill(node.push_port, forged(made.fleet, 2000, SIZE))
            yield node, made
        finally:
            os.kill(node.pids["vault"], signal.SIGCONT)
        node.settled(counted(node, "received"))


def _fill(port: int, frames: NDArray[np.uint8]) -> None:
    """Send frames by the hundred until the edge takes no more, or would take more for ever."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=2, source_address=("127.0.0.66", 0)
    ) as forger:
        try:
            for at in range(0, len(frames), 100):
                forger.sendall(frames[at : at + 100].tobytes())
                for _ in range(100):
                    if not forger.recv(14, socket.MSG_WAITALL):
                        return
        except OSError:  # cut off, or read no more
            return
    raise AssertionError("the edge took every frame")


def _until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_while_the_vault_stands_still_a_forger_cannot_take_the_room_of_known_meters() -> None:
    with behind(0.25) as (node, made):
        assert node.send(made.pushes(1), receipt_s=5.0, tries=1).confirmed == 5
    with behind(0.0) as (node, made):  # the same without a reserved share
        assert node.send(made.pushes(1), receipt_s=1.0, tries=1).confirmed == 0
