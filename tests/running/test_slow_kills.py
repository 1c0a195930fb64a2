"""A hundred random kill -9 over all zones while meters push without a pause, counted at the end."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.nodes import RunningNode, Street, street
from helpers.raw_store import check_raw
from zegel.cli.demo.check import Counts, compare
from zegel.meter.sender import Sender, SendStats
from zegel.node.switches import Switches

KILLS, SEED = 100, 20_261_125
ZONES = ("edge", "vault", "store", "console")
FLEETS, METERS, DAYS = 3, 200, 30
RATE = 25.0  # pushes a second of each fleet
LONGEST_S = 460.0


def push_on(node: RunningNode, made: Street, done: threading.Event) -> tuple[int, SendStats]:
    """Push day after day until all kills are done; return how many days, and the statistics.

    Every third day is pushed twice, as meters do that lost a receipt.
    """
    stats = SendStats()
    sender = Sender("127.0.0.1", node.push_port, 32, RATE, receipt_s=5.0, tries=10_000)
    for day in range(DAYS):
        for _ in range(2 if day % 3 == 0 else 1):
            stats.add(sender.run(made.pushes(day)))
        if done.is_set():
            return day + 1, stats
    return DAYS, stats


def kill_at_random(node: RunningNode, chance: random.Random) -> dict[str, int]:
    """Kill zones that run, some of them while they start; return how often each was killed."""
    killed = dict.fromkeys(ZONES, 0)
    end = time.monotonic() + LONGEST_S
    while sum(killed.values()) < KILLS and time.monotonic() < end:
        running = [zone for zone in ZONES if zone in node.pids]
        zone = chance.choice(running or ["edge"])
        if chance.random() < 0.8:
            node.wait_up(zone)
        time.sleep(chance.uniform(0.0, 2.0))
        if zone in node.pids:
            node.kill(zone)
            killed[zone] += 1
    return killed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_random_kills_under_load_lose_and_double_nothing() -> None:
    # The switch names a step that does not exist: it makes a test node, which says so.
    with RunningNode({"edge": Switches(die_at="nowhere")}, spool__segment_s=0.2) as node:
        fleets = [street(node, meters=METERS, days=DAYS) for _ in range(FLEETS)]
        done = threading.Event()
        with ThreadPoolExecutor(FLEETS) as pool:
            pushing = [pool.submit(push_on, node, made, done) for made in fleets]
            try:
                killed = kill_at_random(node, random.Random(SEED))
            finally:
                done.set()
            results = [future.result() for future in pushing]
        assert sum(killed.values()) == KILLS
        assert min(killed.values()) >= KILLS // 10
        for zone in ZONES:
            node.wait_up(zone)
        check_all_is_there(node, fleets, [days for days, _ in results], [s for _, s in results])
        for zone in ZONES:
            assert node.supervisor.endings[zone].count(-9) == killed[zone]
            assert set(node.supervisor.endings[zone]) <= {-9}, "a zone ended by itself"
        node.stop()
        check_raw(node.data)


def check_all_is_there(
    node: RunningNode, fleets: list[Street], days: list[int], stats: list[SendStats]
) -> None:
    """Everything that was receipted is stored, once and right, and the fates add up."""
    assert not any(each.failed for each in stats)
    pushed = sum(METERS * each for each in days)
    twice = sum(METERS * len(range(0, each, 3)) for each in days)
    assert sum(each.confirmed for each in stats) == pushed + twice
    try:
        fates = node.settled(pushed + twice, within_s=120)
    except AssertionError as error:
        raise AssertionError(f"{error}; health: {node.health()}") from error
    assert fates.stored == pushed
    assert fates.quarantined == 0, fates.reasons
    assert twice <= fates.duplicate <= twice + sum(each.resent for each in stats)
    assert fates.received == fates.stored + fates.duplicate
    total = Counts()
    for day in range(max(days)):
        blocks = [
            made.block(day) for made, pushed_ in zip(fleets, days, strict=True) if day < pushed_
        ]
        start, end = int(blocks[0].t[0]) - 1, int(blocks[0].t[-1])
        total.add(compare(blocks, node.api.readings(start, end)))
    assert (total.missing, total.twice, total.wrong) == (0, 0, 0)
    assert total.stored == total.expected == 2 * fates.rows_stored
    until = time.monotonic() + 15
    while node.health()["status"] != "ok":
        assert time.monotonic() < until, node.health()["reasons"]
        time.sleep(0.1)
