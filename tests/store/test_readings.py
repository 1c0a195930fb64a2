"""Rows: days, quality bits, refusals; duplicates and conflicts against a brute-force oracle."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from helpers.pushes import AMSTERDAM, midnight, quarters
from helpers.store_bench import DAY, DAYS, RECEIVED, StoreBench, frame_of, push, serial
from zegel.cosem.push import build_body
from zegel.store.readings import MOST_WH

LATE, CONFLICT, DOUBTFUL = 1, 2, 8


@pytest.mark.parametrize(
    ("day", "count"),
    [(date(2026, 3, 29), 92), (date(2026, 6, 1), 96), (date(2026, 10, 25), 100)],
    ids=["spring", "summer", "autumn"],
)
def test_a_day_has_all_its_quarters(bench: StoreBench, day: date, count: int) -> None:
    start, end = midnight(day), midnight(day + timedelta(days=1))
    frames = [push(bench.meters[0], day=day + timedelta(days=k)) for k in (-1, 0, 1)]
    bench.take(frames, received=end + 3 * 86_400)
    sql = f"SELECT count() FROM readings_interval WHERE day = '{day}'"
    assert bench.number_of(sql) == count
    assert bench.export(start, end, form="csv").count(b"\n") == count + 1


def test_interval_that_ends_at_midnight_belongs_to_the_day_before() -> None:
    at = midnight(DAY)
    days = DAYS.of_interval_ends(np.array([at, at + 1, at + 900]))
    number = (DAY - date(1970, 1, 1)).days
    assert days.tolist() == [number - 1, number, number]


@pytest.mark.parametrize(
    "day", [DAY, date(2026, 3, 28), date(2026, 10, 24)], ids=["plain", "spring", "autumn"]
)
def test_reading_is_late_from_six_in_the_morning(bench: StoreBench, day: date) -> None:
    after = day + timedelta(days=1)
    hour = {DAY: 5, date(2026, 3, 28): 4, date(2026, 10, 24): 5}[day]  # 06:00 local in UTC
    six = datetime(after.year, after.month, after.day, hour, tzinfo=UTC).timestamp()
    bench.take([push(bench.meters[0], day=day)], received=six - 1)
    bench.take([push(bench.meters[1], day=day)], received=six)
    qualities = {(meter, quality) for meter, _, _, _, quality in bench.values()}
    assert qualities == {(1, 0), (2, LATE)}


def test_doubtful_clock_is_marked(bench: StoreBench) -> None:
    meter = bench.meters[0]
    rows = [(int(t), 0, 5, 6) for t in quarters(DAY)]
    plain = build_body(serial(meter).encode(), 1, rows[-1][0], rows, zone=AMSTERDAM, clock_status=2)
    bench.take([frame_of(meter.seal(plain))])
    assert {quality for *_, quality in bench.values()} == {DOUBTFUL}


def test_rows_ahead_of_the_clock_are_refused_and_counted(bench: StoreBench) -> None:
    now = int(RECEIVED)
    ahead = [now - 900, now + 900, now + 901, now + 86_400 * 400]
    bench.take([push(bench.meters[0], t=ahead), push(bench.meters[1])])
    assert bench.fates() == [("stored", "")] * 2
    assert bench.answers.fates().rows_refused == {"clock_ahead": 2}
    assert [t for meter, t, *_ in bench.values() if meter == 1] == ahead[:2]


def test_rows_that_cannot_be_are_refused_and_counted(bench: StoreBench) -> None:
    now = int(RECEIVED)
    old = [now - 401 * 86_400, now - 399 * 86_400, now - 900]
    bench.take([push(bench.meters[0], t=old)])
    assert bench.answers.fates().rows_refused == {"implausible": 1}
    assert [t for _, t, *_ in bench.values()] == old[1:]
    assert MOST_WH == 2**53 - 1


def test_frame_whose_rows_are_all_refused_is_stored_without_rows(bench: StoreBench) -> None:
    bench.take([push(bench.meters[0], t=[int(RECEIVED) + 86_400])])
    assert bench.fates() == [("stored", "")]
    assert bench.values() == []


def test_stamp_beside_the_quarter_is_stored_as_captured(bench: StoreBench) -> None:
    at = [int(quarters(DAY)[0]) + 7]
    bench.take([push(bench.meters[0], t=at)])
    assert [t for _, t, *_ in bench.values()] == at


class Oracle:
    """First come is effective, equal again is dropped, other values stand beside."""

    def __init__(self) -> None:
        self.values: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        self.duplicates = self.refused = 0

    def push(self, meter: int, rows: list[tuple[int, tuple[int, int]]]) -> None:
        of_frame: dict[int, tuple[int, int]] = {}
        for t, value in rows:
            there = self.values[meter, t]
            if t in of_frame:
                self.duplicates += value == of_frame[t]
                self.refused += value != of_frame[t]
                continue
            of_frame[t] = value
            if value in there:
                self.duplicates += 1
            else:
                there.append(value)


@pytest.mark.parametrize("seed", [1, 2])
def test_duplicates_and_conflicts_equal_a_brute_force_oracle(bench: StoreBench, seed: int) -> None:
    rng, oracle = random.Random(seed), Oracle()
    instants = [int(t) for day in (DAY, DAY - timedelta(days=1)) for t in quarters(day)[:8]]
    for segment in range(14):
        frames = []
        for _ in range(rng.randint(1, 6)):
            number = rng.randrange(3)
            some = [rng.choice(instants) for _ in range(rng.randint(0, 12))]
            rows = [(t, (rng.choice((t, t, t, 7)), rng.choice((1, 1, 2)))) for t in some]
            rows = [(t, (value[0] % 2**32, value[1])) for t, value in rows]
            frames.append(push(bench.meters[number], t=some, values=[v for _, v in rows]))
            oracle.push(number + 1, rows)
        bench.take(frames)
        if segment % 5 == 4:
            bench.restart()
    found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    effective = {}
    for meter, t, imports, exports, quality in bench.values():
        found[meter, t].append((imports, exports))
        if not quality & CONFLICT:
            assert (meter, t) not in effective
            effective[meter, t] = imports, exports
    assert {key: sorted(values) for key, values in found.items()} == {
        key: sorted(values) for key, values in oracle.values.items()
    }
    assert effective == {key: values[0] for key, values in oracle.values.items()}
    report = bench.answers.fates()
    assert report.rows_duplicate == oracle.duplicates > 0
    assert report.rows_refused == {"implausible": oracle.refused}
    assert report.rows_stored == len(bench.values())


def test_export_gives_the_effective_value_and_the_view_the_same(bench: StoreBench) -> None:
    meter = bench.meters[0]
    bench.take([push(meter, base=10)])
    bench.take([push(meter, base=90)])
    bench.engine.writer.run(
        "INSERT INTO readings_interval SELECT day, meter_id, t + 86400, 5, 5, 0, 4, frame_id + 9 "
        "FROM readings_interval WHERE bitAnd(quality, 2) = 0 LIMIT 10"
    )
    bench.engine.writer.run(
        "INSERT INTO readings_interval SELECT day, meter_id, t, 6, 6, 0, 4, frame_id + 1 "
        "FROM readings_interval WHERE bitAnd(quality, 6) != 2"
    )
    start, end = int(quarters(DAY)[0]) - 900, int(quarters(DAY)[-1]) + 86_400
    lines = bench.export(start, end, form="csv").decode().splitlines()[1:]
    exported = sorted((int(line.split(",")[2]), line.split(",")[5]) for line in lines)
    view = bench.text(
        "SELECT import_wh, quality FROM effective_interval(from = '2026-11-23', to = "
        f"'2026-11-26', lo = 0, hi = 9, start = toDateTime({start}, 'UTC'), "
        f"end = toDateTime({end}, 'UTC'))"
    )
    assert exported == sorted(
        (int(line.split(",")[0]), line.split(",")[1]) for line in view.splitlines()
    )
    assert len(exported) == 106
    assert [value for value, quality in exported if quality == "4"] == [6] * 10
