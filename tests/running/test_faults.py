"""Every fault of the demo ends as it is named, at a node that meanwhile does its work."""

import time
from dataclasses import replace

import pytest

from helpers.nodes import ZONE, RunningNode, stored, street
from zegel.meter.faults import FAULTS, Scene, fault_frames

SENT = sorted(name for name in FAULTS if name != "truth")  # that one falsifies a file, no frame


@pytest.mark.parametrize("name", SENT)
def test_a_fault_ends_as_it_is_named_and_all_other_readings_are_right(
    node: RunningNode, name: str
) -> None:
    made, theirs = street(node, meters=2), street(None, meters=1)
    before = node.api.fates()
    node.send(made.pushes())
    scene = Scene(
        made.fleet, made.block(0), 0, int(time.time()), ZONE, theirs.fleet, theirs.block(0)
    )
    frames = fault_frames(name, scene)
    if name in ("resend", "bitflip"):  # the scene's moment of the push is not ours
        frames = tuple(replace(f, wire=_like(f.wire, made.pushes()[0].wire, name)) for f in frames)
    node.send(list(frames), tries=1, receipt_s=1.0)
    after = node.settled(before.received + 3)
    found = {
        reason: after.reasons.get(reason, 0) - before.reasons.get(reason, 0)
        for reason in {*after.reasons, *before.reasons}
    }
    found["duplicate"] = after.duplicate - before.duplicate
    assert {reason: n for reason, n in found.items() if n} == dict(FAULTS[name].expected)
    assert after.stored - before.stored == 2
    assert dict(stored(node, made)) == made.truth()


def _like(_wire: bytes, pushed: bytes, name: str) -> bytes:
    """The very frame that the meter pushed, or that frame with one bit flipped."""
    if name == "resend":
        return pushed
    flipped = bytearray(pushed)
    flipped[len(flipped) // 2] ^= 0x10
    return bytes(flipped)
