"""The store's pipeline by stages, bytes per reading, and one meter's month.

    python benchmarks/bench_store.py [--meters 2900] [--days 10] [--json]

Frames are made beforehand; vault and edge answer in this process, so the vault's time is told
apart. µs are CPU of all threads (background merges leak into every stage) and wall, per frame.
"""

import argparse
import asyncio
import json
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from zegel.calls.edge import Release, Released
from zegel.calls.shipment import ShipmentRow, seal_shipment
from zegel.calls.store import MeterRow
from zegel.calls.vault import ImportShipment, OpenFrames
from zegel.cosem.batch import BatchDecoder
from zegel.cosem.push import build_bodies, device_name
from zegel.cosem.seal import seal
from zegel.node.config import VaultConfig
from zegel.node.health import HealthState
from zegel.node.link import Blocking, LocalLink
from zegel.node.spool_format import Record, SegmentName, encode_block, frame_id
from zegel.store import judge, opening, pipeline
from zegel.store.days import LocalDays
from zegel.store.engine import Engine, Query
from zegel.store.exports import Exporter, Wanted
from zegel.store.ledger import Ledger
from zegel.store.quarantine import Quarantine
from zegel.store.readings import Highs
from zegel.store.registry import Registry
from zegel.store.window import Windows
from zegel.vault.zone import Vault

ZONE = ZoneInfo("Europe/Amsterdam")


class Clock:
    """CPU and wall seconds by stage, without what is measured inside."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = defaultdict(float)
        self.wall: dict[str, float] = defaultdict(float)
        self._stack: list[list[float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        cpu, wall = time.process_time(), time.perf_counter()
        self._stack.append([0.0, 0.0])
        yield
        inner = self._stack.pop()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.cpu[name] += cpu - inner[0]
        self.wall[name] += wall - inner[1]
        if self._stack:
            self._stack[-1][0] += cpu
            self._stack[-1][1] += wall

    def wrap(self, name: str, owner: Any, attribute: str) -> None:
        """Measure every call of a function as a stage."""
        inner = getattr(owner, attribute)

        def timed(*values: Any, **named: Any) -> Any:
            with self.stage(name):
                return inner(*values, **named)

        setattr(owner, attribute, timed)


class Node:
    """Vault, edge and store in one process, without sockets."""

    def __init__(self, root: Path, count: int) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.spool, self.data = root / "spool", root / "store"
        for folder in (self.spool, self.data, root / "vault"):
            folder.mkdir()
        self.titles = [b"BEN" + n.to_bytes(5, "big") for n in range(count)]
        self.keys = [(secrets.token_bytes(16), secrets.token_bytes(16)) for _ in range(count)]
        self.vault = self.run(self._vault(root / "vault"))
        days = LocalDays("Europe/Amsterdam")
        self.engine = Engine(self.data / "engine", bytes(32))
        self.registry = Registry(Registry.default_url(self.data))
        self.names = np.array([device_name(n) for n in range(count)], "S16")
        self.registry.add(
            [
                MeterRow(serial=name.decode(), system_title=title.hex())
                for name, title in zip(self.names.tolist(), self.titles, strict=True)
            ]
        )
        vault = LocalLink({OpenFrames: self.vault.open_frames})
        edge = LocalLink({Release: self.release})
        self.judge = judge.Judge(
            decoder=BatchDecoder(), windows=Windows(), highs=Highs(), days=days
        )
        self.ledger = Ledger(self.data / "ledger.db")
        self.pipeline = pipeline.Pipeline(
            pipeline.Parts(
                engine=self.engine,
                registry=self.registry,
                ledger=self.ledger,
                quarantine=Quarantine(
                    self.data / "quarantine.db", bytes(32), per_source=10, total_bytes=10**6
                ),
                judge=self.judge,
                vault=Blocking(vault, self.loop),
                edge=Blocking(edge, self.loop),
                spool=self.spool,
                damaged=self.data / "damaged",
                health=HealthState("store"),
                log=None,
            )
        )
        self.exporter = Exporter(self.engine, days)

    async def _vault(self, folder: Path) -> Vault:
        vault = Vault.open(folder, VaultConfig(), HealthState("vault"))
        rows = [
            ShipmentRow(title, 0, 1, *keys, secrets.token_bytes(16))
            for title, keys in zip(self.titles, self.keys, strict=True)
        ]
        public = (await vault.import_key(None)).public  # type: ignore[arg-type]
        await vault.import_shipment(ImportShipment(seal_shipment(rows, public)))
        return vault

    def run(self, work: Any) -> Any:
        """Wait for a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def release(self, call: Release) -> Released:
        """Unlink a segment, as the edge does."""
        (self.spool / str(SegmentName(call.first, call.last - call.first + 1))).unlink()
        return Released(released=True)


def household(meters: int, quarters: int, seed: int) -> np.ndarray:
    """Return cumulative Wh, (meters, quarters): standby, a fridge, evenings, some peaks."""
    rng = np.random.default_rng(seed)
    hour = np.arange(quarters) / 4 % 24
    base = rng.gamma(2.0, 15.0, (meters, 1))
    fridge = 12 * (np.sin(np.arange(quarters) / rng.uniform(1, 3, (meters, 1))) > 0)
    evening = rng.gamma(2.0, 40.0, (meters, 1)) * np.exp(-(((hour - 19) / 3) ** 2))
    peaks = rng.gamma(1.0, 300.0, (meters, quarters)) * (rng.random((meters, quarters)) < 0.06)
    return np.cumsum(np.rint(base + fridge + evening + peaks).astype("i8"), axis=1)


def day_ends(day: date) -> np.ndarray:
    """Return the ends of a local day's quarters, UTC seconds."""
    start = datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=ZONE).timestamp()
    return np.arange(int(start) + 900, int(end) + 1, 900)


def write_days(node: Node, days: list[date], per_segment: int) -> int:
    """Write the days' segments, meters in random order; return the number of frames."""
    rng = np.random.default_rng(7)
    meters, number = len(node.titles), 0
    values = household(meters, 100 * len(days), 1)
    sun = household(meters, 100 * len(days), 2) * (rng.random((meters, 1)) < 0.2)
    at = 0
    for k, day in enumerate(days):
        t = day_ends(day)
        span = slice(at, at + len(t))
        at += len(t)
        bodies = build_bodies(
            node.names, np.full(meters, k + 1), int(t[-1]), t, values[:, span], sun[:, span],
            zone=ZONE,
        )  # fmt: skip
        received = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC).timestamp()
        order = rng.permutation(meters).tolist()
        for first in range(0, meters, per_segment):
            some = order[first : first + per_segment]
            records = []
            for m in some:
                key, auth_key = node.keys[m]
                records.append(Record(seal(bodies[m].data, key, auth_key, node.titles[m], k + 1)))
            name = SegmentName(frame_id(1, number), len(records))
            data = b"".join(
                encode_block(records[b : b + 64], received + b / 1000)
                for b in range(0, len(records), 64)
            )
            (node.spool / str(name)).write_bytes(data)
            number += len(records)
    return number


def instrument(node: Node, clock: Clock) -> None:
    """Put the clock around the stages."""
    clock.wrap("read segment", pipeline, "take")
    clock.wrap("headers, hashes", pipeline, "read_headers")
    clock.wrap("headers, hashes", pipeline, "arrange")
    clock.wrap("ask vault (vault included)", node.pipeline, "_ask_vault")
    clock.wrap("build call", opening, "OpenFrames")
    clock.wrap("decode", judge, "decode_all")
    clock.wrap("check, classify", node.judge, "_rows")
    clock.wrap("fates, windows", node.judge, "decide")
    clock.wrap("blocks, insert", Query, "insert")
    clock.wrap("ledger, release", node.ledger, "begin")
    clock.wrap("ledger, release", node.ledger, "commit")
    clock.wrap("ledger, release", node.pipeline, "_release")
    clock.wrap("rest", node.pipeline, "work")


def milliseconds(work: Callable[[], Any], times: int = 9) -> float:
    """Return the median wall time."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - start))
    return median(took)


def bytes_per_reading(node: Node) -> dict[str, float]:
    """Return bytes on disk after all merges, per reading (two in a row)."""
    with node.engine.query() as query:
        for table in ("readings_interval", "frames"):
            query.run(f"OPTIMIZE TABLE {table} FINAL")
        text = query.data(
            "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts "
            "WHERE active AND table IN ('readings_interval', 'frames') GROUP BY table",
            "CSV",
        ).decode()
    size = {}
    for line in text.splitlines():
        table, disk, rows = line.split(",")
        size[table.strip('"')] = int(disk), int(rows)
    readings = 2 * size["readings_interval"][1]
    return {
        "readings": size["readings_interval"][0] / readings,
        "frames": size["frames"][0] / readings,
        "total": sum(disk for disk, _ in size.values()) / readings,
    }


def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--meters", type=int, default=2900)
    options.add_argument("--days", type=int, default=10)
    options.add_argument("--per-segment", type=int, default=2900)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = [last - timedelta(days=k) for k in range(asked.days)][::-1]
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), asked.meters)
        frames = write_days(node, days, asked.per_segment)
        clock = Clock()
        instrument(node, clock)
        node.pipeline.work()  # learns the layout, compiles nothing later
        clock.cpu.clear()
        clock.wall.clear()
        frames -= min(asked.per_segment, asked.meters)
        wall, cpu = time.perf_counter(), time.process_time()
        while node.pipeline.work():
            pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        result: dict[str, Any] = {
            "frames": frames,
            "wall_us": 1e6 * wall / frames,
            "cpu_us": 1e6 * cpu / frames,
            "stages_cpu_us": {k: 1e6 * v / frames for k, v in clock.cpu.items()},
            "stages_wall_us": {k: 1e6 * v / frames for k, v in clock.wall.items()},
        }
        start, end = int(day_ends(days[0])[0]) - 900, int(day_ends(days[-1])[-1])
        wanted = Wanted(start, end, meter_id=asked.meters // 2, form="arrow")
        index = node.registry.index
        month = lambda: list(node.exporter.pieces(wanted, index))  # noqa: E731 - measured twice
        result["month_ms_unmerged"] = milliseconds(month)
        result["bytes_per_reading"] = bytes_per_reading(node)
        result["month_ms"] = milliseconds(month)
        everything = Wanted(start, end, form="arrow")
        began = time.perf_counter()
        size = sum(len(piece) for piece in node.exporter.pieces(everything, index))
        result["export_all"] = {"seconds": time.perf_counter() - began, "bytes": size}
    if asked.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        if isinstance(value, dict):
            print(name)
            for stage, number in value.items():
                print(f"  {stage:28} {number:10.2f}")
        else:
            print(f"{name:30} {value:10.2f}")


if __name__ == "__main__":
    main()
