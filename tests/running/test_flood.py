"""A flood of well-formed forged frames of real meters stores nothing and silences nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.attack import flooding, forged, resident
from helpers.nodes import RunningNode, stored, street
from zegel.meter.sender import SendStats

FRAMES = 100_000
SIZE = 300  # bytes of ciphertext: small frames come fastest
MB = 1_000_000


@pytest.fixture(scope="module")
def flooded() -> Iterator[RunningNode]:
    with RunningNode(edge__title_rate=2.0) as running:  # as it is without any setting
        yield running


def received(node: RunningNode) -> int:
    zones: list[dict[str, Any]] = node.api._json("GET", "/v1/zones")["zones"]
    (edge,) = (zone for zone in zones if zone["zone"] == "edge")
    return int(edge["counters"]["received"])


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_a_flood_of_forged_frames_stores_nothing_and_silences_no_meter(
    flooded: RunningNode, record_property: Any
) -> None:
    node = flooded
    made = street(node, meters=30, days=3)
    node.send(made.pushes(0))
    node.settled(30)
    memory = {zone: resident(pid) for zone, pid in node.pids.items()}
    disk = on_disk(node.data / "store")

    sources = ["127.0.0.1"] * 4 + [f"127.0.0.{n}" for n in range(2, 6)]
    during, pushes = SendStats(), iter(made.pushes(1))
    with flooding(node.push_port, forged(made.fleet, FRAMES, SIZE), sources=sources) as (
        flood,
        goes_on,
    ):
        while goes_on() and (push := next(pushes, None)):
            during.add(node.send([push], receipt_s=20.0, tries=1))
    assert flood.receipts == FRAMES
    assert flood.cut == 0
    assert during.failed == 0
    assert during.confirmed >= 2
    assert max(during.latencies) < 5.0

    rest = [*pushes, *made.pushes(2)]
    assert node.send(rest).confirmed == len(rest)
    fates = node.settled(90 + FRAMES)
    assert (fates.received, fates.stored, fates.duplicate) == (90 + FRAMES, 90, 0)
    assert fates.reasons == {"bad_tag": FRAMES}
    assert fates.received == received(node)
    assert dict(stored(node, made)) == made.truth()
    assert len(stored(node, made)) == len(made.truth())

    page = node.api._json("GET", "/v1/quarantine", params={"limit": 1})
    kept = FRAMES - page["sampled_away"]
    assert kept <= 1000 * len(set(sources))
    grown = {zone: resident(pid) - memory[zone] for zone, pid in node.pids.items()}
    disk = on_disk(node.data / "store") - disk
    figures = {zone: f"{more / MB:.0f} MB" for zone, more in grown.items()}
    print(f"flood: {figures}, disk {disk / MB:.1f} MB, {len(during.latencies)} pushes during it,")
    print(f"slowest {max(during.latencies):.2f} s; then fates after the flood")
    assert grown["edge"] < 100 * MB
    assert grown["vault"] < 100 * MB
    assert grown["store"] < 600 * MB
    assert disk < 60 * MB
