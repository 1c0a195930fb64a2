"""Zones go away, by a stop or by a kill: meters keep their receipts and nothing is lost."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from helpers.nodes import RunningNode, stored, street

STOPPED_S = 5.0


@pytest.fixture
def other() -> Iterator[RunningNode]:
    """A node of its own: what happens to it must not slow the others' tests down."""
    with RunningNode(spool__segment_s=0.2) as running:
        yield running


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait until `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not come about in time"
        time.sleep(0.05)


def asked_health(node: RunningNode) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10) as http:
        return http.get(f"{node.url}/healthz")


def well(node: RunningNode) -> bool:
    return bool(node.health()["status"] == "ok")


def test_a_vault_that_stands_still_costs_no_receipt_and_health_says_so(
    other: RunningNode,
) -> None:
    made = street(other, meters=20, days=3)
    other.send(made.pushes(0))
    before = other.settled(20)
    pid = other.pids["vault"]
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        sent = other.send(made.pushes(1) + made.pushes(2), rate=20.0, receipt_s=2.0, tries=1)
        assert (sent.confirmed, sent.failed, sent.resent) == (40, 0, 0)
        told: list[str] = []
        while time.monotonic() < stopped + STOPPED_S:
            answer = asked_health(other)
            assert answer.status_code == 503
            told += answer.json()["reasons"]
            time.sleep(0.2)
        assert any("vault does not answer" in reason for reason in told)
        assert any(
            reason.startswith("store: vault does not answer for") and "segments wait" in reason
            for reason in told
        )
        during = other.api.fates()
        assert during.received == before.received, "nobody can open frames while the vault stands"
    finally:
        os.kill(pid, signal.SIGCONT)
    after = other.settled(before.received + 40)
    assert (after.stored, after.duplicate, after.quarantined) == (60, 0, 0)
    assert dict(stored(other, made)) == made.truth()
    within(10, lambda: well(other))
    assert asked_health(other).status_code == 200
    assert other.supervisor.restarts["vault"] == 0, "a stop is no reason to start another vault"


@pytest.mark.parametrize("zone", ["edge", "vault", "store", "console"])
def test_a_zone_killed_under_load_comes_back_and_nothing_is_lost(
    node: RunningNode, zone: str
) -> None:
    made = street(node, meters=30, days=2)
    before = node.settled(0)
    restarts = node.supervisor.restarts[zone]
    killer = threading.Timer(0.3, node.kill, (zone,))
    killer.start()
    pushes = made.pushes(0) + made.pushes(1)
    sent = node.send(pushes, in_flight=8, rate=60.0, receipt_s=5.0, tries=12)
    killer.join()
    assert (sent.confirmed, sent.failed) == (60, 0)
    node.wait_up(zone)
    after = node.settled(before.received + 60)
    assert node.supervisor.restarts[zone] == restarts + 1
    assert after.stored - before.stored == 60
    assert after.quarantined == before.quarantined
    assert after.duplicate - before.duplicate <= sent.resent
    found = stored(node, made)
    assert len(found) == len(made.truth())
    assert dict(found) == made.truth()
    within(10, lambda: well(node))


def test_a_store_that_starts_while_the_vault_stands_still_waits_for_it(
    other: RunningNode,
) -> None:
    made = street(other, meters=20, days=1)
    vault = other.pids["vault"]
    os.kill(vault, signal.SIGSTOP)
    try:
        other.kill("store")
        sent = other.send(made.pushes(), receipt_s=2.0, tries=1)
        assert sent.confirmed == 20
        within(10, lambda: "store does not answer" in other.health()["reasons"])
    finally:
        os.kill(vault, signal.SIGCONT)
    other.wait_up("store")
    assert other.settled(20).stored == 20
    assert dict(stored(other, made)) == made.truth()
    within(10, lambda: well(other))


def test_a_zone_that_stands_still_does_not_keep_the_node_from_stopping() -> None:
    with RunningNode() as running:
        pids = dict(running.pids)
        for zone in ("vault", "store"):
            os.kill(pids[zone], signal.SIGSTOP)
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 12
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids.values())
