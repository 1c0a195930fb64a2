"""The power is cut while meters push: whatever got a receipt is there when it comes back."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from helpers.load import push_each
from helpers.nodes import RunningNode, Street, stored, street
from helpers.power import PowerDisk
from helpers.raw_store import check_raw
from zegel.meter.frames import Push
from zegel.node.switches import Switches

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("mkfs.ext4") is None, reason="needs root and ext4"
    ),
    pytest.mark.timeout(600),
]

SEED = 7
METERS = 40
CUTS = 8  # at random moments of one node's life
STEPS = (  # where a zone has just died when the power goes, and how-manieth time
    ("edge", "append.before:5"),
    ("edge", "append.after:5"),
    ("edge", "sync.before:9"),
    ("edge", "sync.after:5"),
    ("edge", "receipt.before:5"),
    ("edge", "receipt.after:9"),
    ("store", "begin.after:2"),
    ("store", "insert_readings.after:2"),
    ("store", "insert_frames.before:2"),
    ("store", "insert_frames.after:2"),
    ("store", "ledger.after:2"),
    ("store", "release.after:2"),
)

Key = tuple[str, int]  # serial and day


def day_of(made: Street, day: int) -> dict[Key, Push]:
    serials = [bytes(serial).decode() for serial in made.fleet.serials]
    return {(s, day): push for s, push in zip(serials, made.pushes(day), strict=True)}


def truth_of(made: Street, receipted: set[Key]) -> dict[tuple[str, int], tuple[int, int]]:
    """What must be stored if these pushes got a receipt."""
    times = [set(day.day.t.tolist()) for day in made.days]
    return {
        (serial, t): values
        for (serial, t), values in made.truth().items()
        if any((serial, day) in receipted for day, ts in enumerate(times) if t in ts)
    }


def cut_during(
    node: RunningNode, disk: PowerDisk, pushes: dict[Key, Push], moment: Callable[[], object]
) -> set[Key]:
    """Push, cut the power when `moment()` returns, give it back; return what got a receipt."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(
            push_each, node.push_port, pushes, threads=4, pause_s=0.04, receipt_s=1.0, stop=stop
        )
        moment()
        disk.cut(node.pids.values())
        stop.set()
        receipted = pushing.result()
    node.run(node.supervisor.kill_all())
    node.close()
    disk.restore()
    return receipted


def missing_after(
    node: RunningNode, made: Street, receipted: set[Key], within_s: float = 30.0
) -> set[tuple[str, int]]:
    """Wait until the store has worked off the spool; return what is receipted and not there."""
    wanted = truth_of(made, receipted)
    end = time.monotonic() + within_s
    while True:
        node.settled(0)
        found = stored(node, made)
        missing = wanted.keys() - dict(found).keys()
        if not missing or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert len(found) == len(dict(found)), "twice"
    assert dict(found).items() <= made.truth().items(), "wrong"
    return missing


def check_counts(node: RunningNode, pushed: int) -> None:
    fates = node.settled(0)
    assert fates.received == fates.stored + fates.duplicate + fates.quarantined
    assert fates.quarantined <= pushed  # streams that the cut broke off, if any
    assert set(fates.reasons) <= {"framing"}
    end = time.monotonic() + 10
    while (health := node.health())["status"] != "ok":
        assert time.monotonic() < end, health["reasons"]
        time.sleep(0.1)


def small(disk: PowerDisk, switches: dict[str, Switches] | None = None) -> RunningNode:
    return RunningNode(switches, folder=disk.place, spool__segment_s=0.2)


def epoch(node: RunningNode) -> int:
    return int((node.data / "edge" / "spool" / "EDGE.epoch").read_text())


def test_what_was_receipted_survives_cuts_at_random_moments() -> None:
    chance = random.Random(SEED)
    receipted: set[Key] = set()
    epochs: list[int] = []
    with PowerDisk() as disk:
        node = small(disk)
        made = street(node, meters=METERS, days=CUTS)
        for day in range(CUTS):
            epochs.append(epoch(node))
            moment = partial(time.sleep, chance.uniform(0.05, 0.5))
            receipted |= cut_during(node, disk, day_of(made, day), moment)
            node = small(disk)
            assert missing_after(node, made, receipted) == set()
            check_counts(node, METERS)
        epochs.append(epoch(node))
        assert epochs == sorted(set(epochs)), "frame identifiers would repeat"
        assert len(receipted) > CUTS
        node.close()
        check_raw(node.data)


@pytest.mark.parametrize(("zone", "step"), STEPS, ids=[step for _, step in STEPS])
def test_what_was_receipted_survives_a_cut_at_a_step(zone: str, step: str) -> None:
    assert lost_by_cut(zone, Switches(die_at=step)) == set()


def test_a_receipt_before_the_sync_does_not_survive_a_cut() -> None:
    switches = Switches(guard_off=("edge.receipt_after_sync",), die_at="sync.before:9")
    assert lost_by_cut("edge", switches, within_s=3.0), (
        "the guard off, a cut must cost something receipted"
    )


def lost_by_cut(zone: str, switches: Switches, within_s: float = 30.0) -> set[tuple[str, int]]:
    """Cut the power when `zone` has died at its step; return what was receipted and is lost."""
    with PowerDisk() as disk:
        node = small(disk, {zone: switches})
        made = street(node, meters=METERS, days=1)

        def death() -> None:
            end = time.monotonic() + 20
            while not node.supervisor.endings[zone]:
                assert time.monotonic() < end, "the zone did not die"
                time.sleep(0.001)

        receipted = cut_during(node, disk, day_of(made, 0), death)
        with small(disk) as again:
            lost = missing_after(again, made, receipted, within_s)
            check_counts(again, METERS)
            more = street(again, meters=3)
            again.send(more.pushes())
            again.settled(again.api.fates().received)
            assert not missing_after(again, more, set(day_of(more, 0)))
        check_raw(again.data)
    return lost


@pytest.mark.parametrize("after_s", [0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
def test_a_cut_during_or_after_the_first_start_leaves_a_node_that_starts(after_s: float) -> None:
    with PowerDisk() as disk:
        data = disk.place / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "zegel.cli.main", "serve", "--data-dir", data,
             "--push-port", "0", "--api-port", "0"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(after_s)
        zones = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        everyone = [process.pid, *map(int, zones)]
        disk.cut(everyone)
        for pid in everyone:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        disk.restore()
        with small(disk) as again:
            made = street(again, meters=3)
            again.send(made.pushes())
            assert not missing_after(again, made, set(day_of(made, 0)))
            check_counts(again, 3)
