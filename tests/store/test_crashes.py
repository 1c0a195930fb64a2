"""Crashes at every step of the store, and inserts that raise: nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from helpers.store_bench import StoreBench, body, frame_of, push
from zegel.errors import StorageError
from zegel.node import switches
from zegel.node.switches import Switches
from zegel.store import pipeline
from zegel.store.queries import opened_frames, rows_minus_distinct

STEPS = ("take", "open", "begin", "insert_readings", "insert_frames", "ledger", "release")
POINTS = [f"{step}.{side}" for step in STEPS for side in ("before", "after")]
MONTH_END = date(2026, 10, 31)


class Crash(BaseException):
    """Stands for the end of the process: nothing may handle it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    def step(name: str) -> None:
        if name == point:
            raise Crash

    monkeypatch.setattr(pipeline, "step", step)


def batch(bench: StoreBench, turn: int) -> list[bytes]:
    """Return frames with every kind of trouble: two months, a repeat, a forgery, a conflict."""
    one, two, three = bench.meters
    first = push(one, day=date(2026, 11, 1 + turn))
    ends = [1_793_487_600 + 900 * k for k in range(-4, 5)]  # 31 October, 24:00 local, and around
    over = push(two, t=[at + 9 * 900 * turn for at in ends])
    forged = frame_of(three.seal(body(three, base=7), counter=three.counter))
    return [first, over, first, push(three, day=MONTH_END, base=turn), forged, b"\x0f\x00"]


def check(bench: StoreBench, segments: int) -> None:
    """Nothing missing, twice or with another fate than without the crash."""
    fates = [fate for fate, _ in bench.fates()]
    assert fates == ["stored", "stored", "duplicate", "stored", "quarantined", "quarantined"] * (
        segments
    )
    rows = bench.number_of("SELECT sum(rows) FROM frames")
    assert bench.number_of("SELECT count() FROM readings_interval") == rows
    assert bench.number_of("SELECT uniqExact(meter_id, t, frame_id) FROM readings_interval") == rows
    with bench.engine.query() as query:
        days = bench.text("SELECT DISTINCT toUInt16(day) FROM readings_interval").split()
        assert [rows_minus_distinct(query, int(day)) for day in days] == [0] * len(days)


def test_crash_at_any_step_loses_nothing_and_doubles_nothing(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn, point in enumerate(POINTS):
        bench.write(batch(bench, turn))
        crash_at(monkeypatch, point)
        with pytest.raises(Crash):
            bench.drain()
        monkeypatch.undo()
        bench.restart()
        bench.drain()
        check(bench, turn + 1)
        assert not list(bench.spool.iterdir())
    # the first frame of meter 3 of each turn conflicts with the one before: 96 rows each
    conflicts = bench.number_of("SELECT count() FROM readings_interval WHERE quality = 3")
    assert conflicts == 96 * (len(POINTS) - 1)


def test_vault_and_store_agree_on_what_was_opened_after_crashes(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn, point in enumerate(("open.after", "insert_frames.after")):
        bench.write(batch(bench, turn))
        crash_at(monkeypatch, point)
        with pytest.raises(Crash):
            bench.drain()
        monkeypatch.undo()
        bench.restart()
        bench.drain()
    report = bench.loop.run(bench.vault.vault.use_summary(type("Call", (), {"last": 0})()))
    with bench.engine.query() as query:
        assert opened_frames(query, bench.pipeline.position) == report.opened - report.reopened


@pytest.mark.parametrize("table", ["readings_interval", "frames"])
@pytest.mark.parametrize("done", [False, True], ids=["nothing was in", "all was in"])
def test_insert_that_raised_is_read_back_before_it_is_repeated(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch, table: str, *, done: bool
) -> None:
    bench.write(batch(bench, 0))
    insert = bench.engine.writer.insert

    def failing(name: str, *values: object) -> None:
        if name == table:
            monkeypatch.undo()
            if done:
                insert(name, *values)  # type: ignore[arg-type]
            raise StorageError("engine: insert")
        insert(name, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.engine.writer, "insert", failing)
    with pytest.raises(StorageError):
        bench.drain()
    bench.drain()
    check(bench, 1)
    bench.take(batch(bench, 1))  # and the arrays in memory are right for what follows
    check(bench, 2)


def test_without_reading_back_rows_are_there_twice(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write([push(bench.meters[0])])
    crash_at(monkeypatch, "insert_readings.after")
    with pytest.raises(Crash):
        bench.drain()
    monkeypatch.undo()
    bench.restart()
    bench.engine.writer.run("SYSTEM STOP MERGES")  # a merge would hide it
    switches.install(Switches(guard_off=("store.readback",)))
    bench.drain()
    assert bench.number_of("SELECT count() FROM readings_interval") == 192
    with bench.engine.query() as query:
        day = bench.number_of("SELECT toUInt16(any(day)) FROM readings_interval")
        assert rows_minus_distinct(query, day) == 96


CHILD = """
import sys
from pathlib import Path
from helpers.store_bench import StoreBench, push
from helpers.vault_meters import Meter
from zegel.node import switches
from zegel.node.switches import Switches
root, point = Path(sys.argv[1]), sys.argv[2]
titles = [b"TST" + n.to_bytes(5, "big") for n in range(40)]
meters = [Meter(title, guek=bytes(16), gak=bytes(16), kek=bytes(16)) for title in titles]
bench = StoreBench(root, meters)
for turn in range(2 if point else 0):
    bench.write([push(meter, base=turn) for meter in meters], per_block=7)
if point:
    switches.install(Switches(die_at=point))
bench.drain()
print(bench.number_of("SELECT count() FROM readings_interval"),
      bench.number_of("SELECT uniqExact(meter_id, t, frame_id) FROM readings_interval"),
      bench.number_of("SELECT count() FROM frames"),
      bench.number_of("SELECT count() FROM readings_interval WHERE bitAnd(quality, 2) = 2"))
bench.end()
"""


@pytest.mark.parametrize(
    "point", ["insert_readings.after:2", "insert_frames.after", "ledger.before:2"]
)
def test_killed_store_ends_as_one_that_was_not(folder: Path, point: str) -> None:
    killed = _child(folder, point)
    assert killed.returncode == -signal.SIGKILL
    # a new process over the same folders: the helper makes what is absent and keeps the rest
    again = _child(folder, "")
    assert again.stdout.split() == ["7680", "7680", "80", "3840"], again.stderr


def _child(root: Path, point: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(root), point],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_points_cover_every_step_of_the_store() -> None:
    named = Path(pipeline.__file__).read_text(encoding="utf-8")
    assert all(f'step("{point}")' in named for point in POINTS)
    assert named.count("step(") == len(POINTS)
