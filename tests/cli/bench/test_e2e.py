"""A run end to end is told honestly: what was due, what was stored by when, and what limits."""

import asyncio

import msgspec
import pytest

from zegel.cli.bench.bed import Look
from zegel.cli.bench.e2e import Case, Sums, measure, one_node, queryable
from zegel.cli.bench.generator import Sent
from zegel.cli.bench.verdict import Cpu, Run, figures, limit


def look(at: float, received: int, stored: int) -> Look:
    return Look(at, received, stored, stored, 96 * stored, 0, 1)


def sent(began: float, confirmed: int) -> Sent:
    return Sent(began, 1.0, confirmed, confirmed, confirmed, 0, 0, {}, 0.0, 0.0)


def test_a_push_is_queryable_at_the_first_look_that_saw_it_stored() -> None:
    looks = [look(10.0, 0, 100), look(10.5, 3, 102), look(11.0, 4, 104)]
    times = queryable(looks, sent(10.0, 4), rate=10.0)
    assert times.round(6).tolist() == [500, 400, 800, 700]


def test_a_store_that_falls_behind_shows_as_growth() -> None:
    looks = [look(t / 10, 1000 * t, 900 * t) for t in range(101)]
    sums = Sums.over([looks], 0.0, Case(10_000, 10))
    assert sums.growth == pytest.approx(1000)
    assert sums.stored == 90_000
    assert sums.backlog_most == 10_000


def test_a_store_that_keeps_up_in_steps_does_not_grow() -> None:
    looks = [look(t / 10, 100 * t, 100 * (t // 10) * 10) for t in range(301)]
    assert abs(Sums.over([looks], 0.0, Case(1000, 30)).growth) < 10


def test_a_node_that_takes_less_than_it_is_offered_shows_as_growth() -> None:
    looks = [look(t / 10, 90 * t, 90 * t) for t in range(101)]
    assert Sums.over([looks], 0.0, Case(1000, 10)).growth == pytest.approx(100)


def test_several_nodes_are_added_up() -> None:
    looks = [look(t / 10, 10 * t, 10 * t) for t in range(51)]
    assert Sums.over([looks, looks], 0.0, Case(200, 5)).stored == 1000


@pytest.fixture(scope="module")
def measured() -> Run:
    async def work() -> Run:
        async with one_node() as under_test:
            await under_test.take_in(100, operator=41)
            return await measure([under_test], Case(100, 2), lambda _line: None)

    return asyncio.run(work())


def test_every_push_of_a_real_node_is_stored_and_accounted_for(measured: Run) -> None:
    assert (measured.sent, measured.confirmed, measured.stored, measured.failed) == (
        200,
        200,
        200,
        0,
    )
    assert 0 < measured.receipt_ms.p50 <= measured.queryable_ms.p50
    zones = {"edge", "vault", "store", "console", "generator", "bench and supervisor"}
    assert set(measured.cpu) == zones
    assert set(measured.memory_mb) == zones - {"bench and supervisor"}
    assert measured.disk_bytes_per_reading > 0


def test_figures_of_a_run_ask_of_the_case_that_must_be_kept_only(measured: Run) -> None:
    at = {line.name: line for line in figures("e2e", measured)}
    name = "100/s, one connection per push: receipted in the window"
    assert (at[name].must, at[name].limit) == (None, 100)
    asked = msgspec.structs.replace(measured, rate=5000.0, name="5000/s", confirmed_in_window=1)
    at = {line.name: line for line in figures("e2e", asked)}
    found = at["5000/s: receipted in the window"]
    assert (found.must, found.met) == ("value >= 4950", False)


def test_what_limits_names_whoever_uses_most(measured: Run) -> None:
    cpu = {"store": Cpu(1, 1, 0.6), "edge": Cpu(1, 1, 0.3), "vault": Cpu(1, 1, 0.05)}
    slow = msgspec.structs.replace(
        measured, growing=True, machine_busy=0.97, others_busy=0.0, cpu=cpu
    )
    assert limit(slow) == "all cores are busy (store 60%, edge 30%, vault 5%)"
    disturbed = msgspec.structs.replace(slow, others_busy=0.4)
    assert limit(disturbed).endswith("others on the machine 40%)")
