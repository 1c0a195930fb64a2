"""A zone dies before and after each named step of the path: nothing is missing, twice or wrong.

The zone dies once, with frames in flight; meters repeat what was not receipted, as they do.
Each twin takes one guard away: then the same death must cost something, and be seen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import zegel
from helpers.nodes import RunningNode, Street, stored, street
from helpers.raw_store import check_raw
from zegel.calls.store import FatesReport
from zegel.meter.sender import SendStats
from zegel.node.switches import Switches

METERS, DAYS = 20, 2
PUSHES = METERS * DAYS
EDGE = ("append", "sync", "receipt")
STORE = (
    "take", "begin", "open", "insert_readings", "insert_frames", "ledger", "release",
)  # fmt: skip
# The how-manieth time it dies: the edge meets its steps at every group commit, the store at
# every segment. Both have done some work by then, and more is on its way.
CASES = [(f"{step}.{when}", "edge", 5) for step in EDGE for when in ("before", "after")]
CASES += [(f"{step}.{when}", "store", 2) for step in STORE for when in ("before", "after")]
TEST = Switches(die_at="nowhere")  # makes a test node, whose zones may get switches later


@pytest.fixture(scope="module")
def mortal() -> Iterator[RunningNode]:
    """A node that takes all the deaths, one after the other, and is counted at its end."""
    with RunningNode({"edge": TEST}, spool__segment_s=0.2) as running:
        yield running
        running.stop()
        check_raw(running.data)


@pytest.fixture(scope="module")
def unguarded() -> Iterator[RunningNode]:
    with RunningNode({"edge": TEST}, spool__segment_s=0.2) as running:
        yield running


@dataclass(frozen=True)
class Outcome:
    """What a death left behind: fates that came since, what the meters know, and the readings."""

    sent: SendStats
    fates: FatesReport
    new: dict[str, int]
    readings: list[tuple[tuple[str, int], tuple[int, int]]]


def push_while_dying(node: RunningNode, zone: str, switches: Switches, made: Street) -> Outcome:
    """Arm `zone`, push two days of all meters, wait for the death, the restart and the rest."""
    node.run(node.supervisor.restart(zone, switches))
    before = node.settled(0)
    restarts, deaths = node.supervisor.restarts[zone], node.supervisor.endings[zone].count(-9)
    pushes = [push for day in range(DAYS) for push in made.pushes(day)]
    sent = node.send(pushes, in_flight=4, rate=60.0, receipt_s=5.0, tries=12)
    after = node.settled(before.received + min(PUSHES, sent.confirmed))
    assert node.supervisor.endings[zone].count(-9) == deaths + 1, "the zone did not die once"
    assert node.supervisor.restarts[zone] == restarts + 1
    names = ("received", "stored", "duplicate", "quarantined", "rows_stored", "rows_duplicate")
    new = {name: getattr(after, name) - getattr(before, name) for name in names}
    return Outcome(sent, after, new, stored(node, made))


@pytest.mark.parametrize(("step", "zone", "nth"), CASES, ids=[case[0] for case in CASES])
def test_a_death_at_a_step_costs_nothing_and_doubles_nothing(
    mortal: RunningNode, step: str, zone: str, nth: int
) -> None:
    made = street(mortal, meters=METERS, days=DAYS)
    found = push_while_dying(mortal, zone, Switches(die_at=f"{step}:{nth}"), made)
    truth = made.truth()
    assert (found.sent.confirmed, found.sent.failed) == (PUSHES, 0)
    assert found.new["stored"] == PUSHES
    assert found.new["quarantined"] == 0
    assert found.new["duplicate"] <= found.sent.resent
    assert found.fates.received == (
        found.fates.stored + found.fates.duplicate + found.fates.quarantined
    )
    assert (found.new["rows_stored"], found.new["rows_duplicate"]) == (len(truth), 0)
    assert len(found.readings) == len(truth)
    assert dict(found.readings) == truth


def test_a_receipt_before_the_frame_is_durable_loses_it(unguarded: RunningNode) -> None:
    made = street(unguarded, meters=METERS, days=DAYS)
    switches = Switches(guard_off=("edge.receipt_after_sync",), die_at="append.before:5")
    before = unguarded.settled(0)
    unguarded.run(unguarded.supervisor.restart("edge", switches))
    pushes = [push for day in range(DAYS) for push in made.pushes(day)]
    sent = unguarded.send(pushes, in_flight=4, rate=60.0, receipt_s=5.0, tries=12)
    assert sent.confirmed == PUSHES
    unguarded.settled(before.received + PUSHES - 8)
    missing = made.truth().keys() - dict(stored(unguarded, made)).keys()
    assert missing, "what was receipted and never written must be missing"


def test_a_cut_that_is_repeated_without_reading_back_is_counted_wrong(
    unguarded: RunningNode,
) -> None:
    made = street(unguarded, meters=METERS, days=DAYS)
    switches = Switches(guard_off=("store.readback",), die_at="insert_frames.after:2")
    found = push_while_dying(unguarded, "store", switches, made)
    assert found.sent.failed == 0
    repeats = found.new["received"] - PUSHES + found.new["duplicate"]  # merges may hide the first
    assert repeats > found.sent.resent, "repeats must be counted that nobody sent"


def test_every_step_of_the_path_has_its_deaths() -> None:
    source = Path(zegel.__file__).parent
    marked = {
        (step, zone)
        for zone in ("edge", "vault", "store", "console")
        for file in (source / zone).rglob("*.py")
        for step in re.findall(r'\bstep\("([a-z_.]+)"\)', file.read_text())
    }
    assert marked == {(step, zone) for step, zone, _ in CASES}
