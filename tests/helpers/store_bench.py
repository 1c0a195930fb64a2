"""A store without its process: real engine and vault, a spool folder, an edge that unlinks."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from helpers.pushes import AMSTERDAM, quarters
from helpers.vault_meters import Bench as VaultBench
from helpers.vault_meters import Meter, Sealed
from zegel.calls.edge import Release, Released
from zegel.calls.store import MeterRow
from zegel.calls.vault import DiskKey, OpenFrames, UseSummary
from zegel.cosem.batch import BatchDecoder
from zegel.cosem.length import encode_length
from zegel.cosem.push import build_body, device_name
from zegel.node.health import HealthState
from zegel.node.link import Blocking, LocalLink
from zegel.node.spool_format import Record, SegmentName, encode_block, frame_id
from zegel.store.days import LocalDays
from zegel.store.engine import Engine
from zegel.store.exports import Exporter, Wanted
from zegel.store.judge import Judge
from zegel.store.ledger import Ledger
from zegel.store.pipeline import Parts, Pipeline
from zegel.store.quarantine import Quarantine
from zegel.store.queries import Answers
from zegel.store.readings import Highs
from zegel.store.registry import Registry
from zegel.store.window import Windows

DAY = date(2026, 11, 24)
RECEIVED = datetime(2026, 11, 25, 0, 30, tzinfo=UTC).timestamp()  # before 06:00 local
DISK_KEY = bytes(range(32))
DAYS = LocalDays("Europe/Amsterdam")


class Loop:
    """An event loop in a thread of its own, for links that a worker waits for."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, function: Callable[..., Any], *values: Any) -> Any:
        async def inside() -> Any:
            return function(*values)

        return self.run(inside())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


def frame_of(sealed: Sealed) -> bytes:
    inner = bytes((sealed.control,)) + sealed.counter.to_bytes(4, "big") + sealed.sealed
    return b"\xdb\x08" + sealed.title + encode_length(len(inner)) + inner


def serial(meter: Meter) -> str:
    return device_name(int.from_bytes(meter.title[3:], "big")).decode()


def body(
    meter: Meter,
    *,
    day: date = DAY,
    base: int = 1000,
    t: Sequence[int] | None = None,
    name: bytes | None = None,
    values: Sequence[tuple[int, int]] | None = None,
) -> bytes:
    """Return a plaintext push of a meter; values are `base + k` and `k // 2`."""
    ends = quarters(day).tolist() if t is None else list(t)
    pairs = [(base + k, k // 2) for k in range(len(ends))] if values is None else values
    rows = [(at, 0, imports, exports) for at, (imports, exports) in zip(ends, pairs, strict=True)]
    return build_body(
        serial(meter).encode() if name is None else name,
        meter.counter + 1,
        ends[-1] if ends else 0,
        rows,
        zone=AMSTERDAM,
    )


def push(meter: Meter, *, seal: dict[str, int] | None = None, **how: Any) -> bytes:
    """Return a sealed push of a meter, its counter one up."""
    return frame_of(meter.seal(body(meter, **how), **(seal or {})))


@dataclass
class StoreBench:
    """Everything of a store in a folder; `restart` is what a crash leaves behind."""

    root: Path
    meters: list[Meter]
    per_source: int = 1000
    total_bytes: int = 200_000_000
    compile_after: int = 2
    loop: Loop = field(default_factory=Loop)
    epoch: int = 1
    number: int = 0
    released: list[Release] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spool = self.root / "spool"
        self.data = self.root / "store"
        for folder in (self.root / "vault", self.spool, self.data):
            folder.mkdir(exist_ok=True)
        self.vault = self.loop.call(VaultBench, self.root / "vault")
        if self.meters:
            self.loop.run(self.vault.bring_in(*self.meters))
        self.open()
        self.registry.add([self.row(meter) for meter in self.meters])

    def row(self, meter: Meter, **how: Any) -> MeterRow:
        return MeterRow(serial=serial(meter), system_title=meter.title.hex(), **how)

    def open(self) -> None:
        self.health = HealthState("store")
        self.engine = Engine(self.data / "engine", DISK_KEY)
        self.registry = Registry(Registry.default_url(self.data))
        self.ledger = Ledger(self.data / "ledger.db")
        self.quarantine = Quarantine(
            self.data / "quarantine.db",
            DISK_KEY,
            per_source=self.per_source,
            total_bytes=self.total_bytes,
        )
        decoder = BatchDecoder()
        decoder.cache.compile_after = self.compile_after
        self.judge = Judge(decoder=decoder, windows=Windows(), highs=Highs(), days=DAYS)
        vault = LocalLink(
            {
                OpenFrames: self.vault.vault.open_frames,
                DiskKey: self.vault.vault.disk_key,
                UseSummary: self.vault.vault.use_summary,
            },
            caller="store",
            callee="vault",
        )
        edge = LocalLink({Release: self.release}, caller="store", callee="edge")
        self.pipeline = Pipeline(
            Parts(
                engine=self.engine,
                registry=self.registry,
                ledger=self.ledger,
                quarantine=self.quarantine,
                judge=self.judge,
                vault=Blocking(vault, self.loop.loop),
                edge=Blocking(edge, self.loop.loop),
                spool=self.spool,
                damaged=self.data / "damaged",
                health=self.health,
                log=Quiet(),
            )
        )
        self.answers = Answers(
            self.engine,
            self.quarantine,
            lambda: (self.pipeline.position, self.pipeline.waiting),
        )
        self.exporter = Exporter(self.engine, DAYS)

    def close(self) -> None:
        self.engine.close()
        self.registry.close()
        self.ledger.close()
        self.quarantine.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def end(self) -> None:
        self.close()
        self.loop.call(self.vault.vault.close)
        self.loop.close()

    async def release(self, call: Release) -> Released:
        self.released.append(call)
        path = self.spool / str(SegmentName(call.first, call.last - call.first + 1))
        there = path.exists()
        path.unlink(missing_ok=True)
        return Released(there)

    def records(self, frames: Sequence["bytes | Record"]) -> list[Record]:
        return [
            frame if isinstance(frame, Record) else Record(frame, port=4059, address=ADDRESS)
            for frame in frames
        ]

    def write(
        self,
        frames: Sequence["bytes | Record"],
        *,
        received: float = RECEIVED,
        per_block: int = 1000,
        spoil: Callable[[bytes], bytes] = lambda data: data,
    ) -> SegmentName:
        """Write a sealed segment into the spool."""
        records = self.records(frames)
        name = SegmentName(frame_id(self.epoch, self.number), len(records))
        data = b"".join(
            encode_block(records[at : at + per_block], received)
            for at in range(0, len(records), per_block)
        )
        (self.spool / str(name)).write_bytes(spoil(data))
        self.number += len(records)
        return name

    def drain(self) -> None:
        while self.pipeline.work():
            pass

    def take(self, frames: Sequence["bytes | Record"], **how: Any) -> SegmentName:
        """Write a segment and bring it to its end."""
        name = self.write(frames, **how)
        self.drain()
        return name

    def fates(self) -> list[tuple[str, str]]:
        """Return (fate, reason) of all frames by frame id."""
        text = self.text("SELECT fate, reason FROM frames ORDER BY frame_id")
        pairs = [line.split(",") for line in text.splitlines()]
        return [(FATES[int(fate)], REASON_NAMES[int(reason)]) for fate, reason in pairs]

    def text(self, sql: str) -> str:
        with self.engine.query() as query:
            return query.data(sql, "CSV").decode()

    def number_of(self, sql: str) -> int:
        return int(self.text(sql))

    def values(self) -> list[tuple[int, int, int, int, int]]:
        """Return (meter, t, import, export, quality) of all rows there are."""
        text = self.text(
            "SELECT meter_id, toUnixTimestamp(t), import_wh, export_wh, quality "
            "FROM readings_interval ORDER BY meter_id, t, quality, frame_id"
        )
        return [tuple(map(int, line.split(","))) for line in text.splitlines()]  # type: ignore[misc]

    def export(self, start: int, end: int, **how: Any) -> bytes:
        return b"".join(self.exporter.pieces(Wanted(start, end, **how), self.registry.index))


class Quiet:
    """A log that says nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_words, **_fields: None


FATES = ("stored", "duplicate", "quarantined")
REASON_NAMES = (
    "", "framing", "unknown_meter", "not_authenticated", "bad_tag", "replay", "forged_counter",
    "malformed", "identity_mismatch", "too_large", "unsupported", "not_entitled",
)  # fmt: skip
ADDRESS = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"
FULL_DAY = (int(quarters(DAY)[0]) - 900, int(quarters(DAY)[-1]))
