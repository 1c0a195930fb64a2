"""The engine's tables on the fleet's data: rows a second, bytes per reading, one meter's month.

A month of a fleet is inserted day by day, a segment's worth of meters at a time, as readings
and frames; background merges run meanwhile. The limit of inserting is the same blocks written
to a file and synced.
"""

import os
import resource
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from zegel.calls.store import MeterRow
from zegel.meter.fleet import make_fleet
from zegel.meter.intake import meter_rows
from zegel.meter.world import DayReadings, houses, simulate
from zegel.store.days import LocalDays
from zegel.store.engine import Engine
from zegel.store.exports import Exporter, Wanted
from zegel.store.native import native_block, strings
from zegel.store.registry import Registry
from zegel.store.schema import FRAME_COLUMNS, FRAMES, READING_COLUMNS, READINGS

__all__ = ["main"]

ZONE = "Europe/Amsterdam"
METERS, DAYS = 8700, 31
PER_INSERT = 2900  # frames of a full segment
FRAME_BYTES = 2766
Columns = dict[str, "np.ndarray | bytes"]


@dataclass(frozen=True, slots=True)
class _Segment:
    """The columns of one insert of both tables."""

    readings: Columns
    frames: Columns


def _segments(first_id: int) -> Iterator[_Segment]:
    """Give the fleet's days, a part of the meters at a time, in the order in which they came."""
    zone = ZoneInfo(ZONE)
    start = datetime.now(zone).date() - timedelta(days=DAYS + 1)
    days = simulate(houses(7, 0, METERS), start, DAYS, zone)
    order = np.random.default_rng(7).permutation(METERS)
    frame_id = first_id
    for number, day in enumerate(days):
        for at in range(0, METERS, PER_INSERT):
            places = np.sort(order[at : at + PER_INSERT])
            yield _Segment(_readings(day, places, frame_id), _frames(day, places, frame_id, number))
            frame_id += len(places)


def _readings(day: DayReadings, places: np.ndarray, frame_id: int) -> Columns:
    quarters, n = len(day.day.t), len(places)
    arrived = np.random.default_rng(frame_id).permutation(n).astype("u8") + np.uint64(frame_id)
    return {
        "day": np.full(n * quarters, day.day.ordinal, "u2"),
        "meter_id": np.repeat(places.astype("u8") + np.uint64(1), quarters),
        "t": np.tile(day.day.t.astype("u4"), n),
        "import_wh": day.import_wh[places].ravel(),
        "export_wh": day.export_wh[places].ravel(),
        "status": np.zeros(n * quarters, "u1"),
        "quality": np.zeros(n * quarters, "u1"),
        "frame_id": np.repeat(arrived, quarters),
    }


def _frames(day: DayReadings, places: np.ndarray, frame_id: int, number: int) -> Columns:
    n, quarters = len(places), len(day.day.t)
    arrived = np.random.default_rng(frame_id).permutation(n).astype("u8") + np.uint64(frame_id)
    received = 1000 * (int(day.day.t[-1]) + 600) + (arrived - np.uint64(frame_id)).astype("i8") // 5
    return {
        "meter_id": places.astype("u8") + np.uint64(1),
        "frame_id": arrived,
        "received": received,
        "source": np.zeros(n, "u1"),
        "system_title": (places.astype(">u8") + 1).view("V8"),
        "key_version": np.ones(n, "u2"),
        "invocation_counter": np.full(n, 100 + number, "u4"),
        "sha256": np.frombuffer(secrets.token_bytes(32 * n), "V32"),
        "fate": np.zeros(n, "u1"),
        "reason": np.zeros(n, "u1"),
        "rows": np.full(n, quarters, "u4"),
        "duplicates": np.zeros(n, "u4"),
        "clock_ahead": np.zeros(n, "u4"),
        "implausible": np.zeros(n, "u4"),
        "fast": np.ones(n, "u1"),
        "opened": np.ones(n, "u1"),
        "size": np.full(n, FRAME_BYTES, "u4"),
        "peer": strings([""] * n),
    }


def main() -> dict[str, Any]:
    """Fill the tables, merge, measure."""
    with tempfile.TemporaryDirectory(prefix="zegel-bench-") as folder:
        path = Path(folder)
        engine = Engine(path / "engine", bytes(range(32)))
        registry = Registry(f"sqlite:///{path / 'registry.db'}")
        registry.add(_rows())
        found = _fill(engine, path)
        exporter = Exporter(engine, LocalDays(ZONE))
        end = int(time.time())
        wanted = Wanted(end - DAYS * 86_400, end, meter_id=METERS // 2, form="arrow")
        month = _ms(lambda: list(exporter.pieces(wanted, registry.index)))
        found["month_ms_before_merges"] = month
        found |= _sizes(engine)
        found["month_ms"] = _ms(lambda: list(exporter.pieces(wanted, registry.index)))
        everything = Wanted(end - 2 * 86_400, end, form="arrow")
        began = time.perf_counter()
        size = sum(len(piece) for piece in exporter.pieces(everything, registry.index))
        found["export_mb_per_s"] = size / 1e6 / (time.perf_counter() - began)
        engine.close()
    return found


def _rows() -> list[MeterRow]:
    return meter_rows(make_fleet(7, 0, 0, METERS), 0, METERS)


def _fill(engine: Engine, path: Path) -> dict[str, Any]:
    """Insert everything; making the columns is not counted."""
    rows, wall, bare, largest = 0, 0.0, 0.0, 0.0
    cpu = -_cpu()
    making = 0.0
    for segment in _segments(1 << 40):
        before = _cpu()
        bare += _write(path / "bare", segment)
        making += _cpu() - before
        began = time.perf_counter()
        engine.writer.insert(READINGS, READING_COLUMNS, segment.readings)
        engine.writer.insert(FRAMES, FRAME_COLUMNS, segment.frames)
        took = time.perf_counter() - began
        wall, largest, rows = wall + took, max(largest, took), rows + len(segment.readings["t"])
    cpu += _cpu() - making
    frames = rows // 96
    return {
        "meters": METERS,
        "days": DAYS,
        "rows": rows,
        "frames_per_insert": PER_INSERT,
        "rows_per_s": rows / wall,
        "bare_rows_per_s": rows / bare,
        "cpu_us_per_frame": 1e6 * cpu / frames,
        "slowest_insert_ms": 1000 * largest,
    }


def _write(path: Path, segment: _Segment) -> float:
    """Write both blocks to a file and sync it; return how long that took."""
    blocks = native_block(READING_COLUMNS, segment.readings)
    blocks += native_block(FRAME_COLUMNS, segment.frames)
    began = time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.writev(fd, blocks)
        os.fsync(fd)
    finally:
        os.close(fd)
    return time.perf_counter() - began


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _ms(work: Callable[[], Any], times: int = 11) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def _sizes(engine: Engine) -> dict[str, Any]:
    """Merge, then tell the bytes per reading of what is active."""
    size = {}
    with engine.query() as query:
        for table in (READINGS, FRAMES):
            began = time.perf_counter()
            query.run(f"OPTIMIZE TABLE {table} FINAL")
            size[f"merge_{table}_s"] = time.perf_counter() - began
        text = query.data(
            "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts "
            "WHERE active AND table IN ({readings:String}, {frames:String}) GROUP BY table",
            "CSV",
            {"readings": READINGS, "frames": FRAMES},
        ).decode()
    found = {}
    for line in text.splitlines():
        table, disk, rows = line.split(",")
        found[table.strip('"')] = int(disk), int(rows)
    readings = 2 * found[READINGS][1]
    size["bytes_per_reading"] = found[READINGS][0] / readings
    size["frames_bytes_per_reading"] = found[FRAMES][0] / readings
    return size
