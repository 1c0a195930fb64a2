"""Readings out: Arrow, CSV and Parquet, written by the engine, in pieces of bounded memory.

The pieces are ranges of meters, so the order of the whole is meter, then time.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zegel.errors import DamagedError, StorageError, UsageError
from zegel.store.days import LocalDays
from zegel.store.engine import Engine, Query
from zegel.store.native import strings
from zegel.store.registry import MeterIndex
from zegel.store.schema import SOURCES

__all__ = ["FORMATS", "Exporter", "Wanted"]

FORMATS = ("arrow", "csv", "parquet")
PIECE_ROWS = 1_000_000  # about this many rows are read at once
PART_BYTES = 1_000_000
_ROWS_A_DAY = 100
_NAMES = "serial, t, import_wh, export_wh, status, quality, source, frame_id"
_PARQUET = {
    "serial": "String",
    "t": "DateTime64(3, 'UTC')",
    "import_wh": "Int64",
    "export_wh": "Int64",
    "status": "UInt8",
    "quality": "UInt8",
    "source": "String",
    "frame_id": "UInt64",
}
_PARQUET_END = b"PAR1"
_TIMES = {
    "arrow": "toDateTime64(t, 0, 'UTC')",
    "csv": "formatDateTime(t, '%Y-%m-%dT%H:%i:%SZ', 'UTC')",
    "parquet": "toDateTime64(t, 3, 'UTC')",
}
_EOS = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # ends an Arrow stream


@dataclass(frozen=True, slots=True)
class Wanted:
    """Effective values with `start < t <= end` (UTC seconds) of one meter, or (0) of all."""

    start: int
    end: int
    meter_id: int = 0
    form: str = "arrow"
    limit: int = 0  # 0: none


class Exporter:
    """Writes readings out. Its methods block: run them in a thread."""

    def __init__(self, engine: Engine, days: LocalDays) -> None:
        self._engine, self._days = engine, days
        self._synced: MeterIndex | None = None

    def pieces(self, wanted: Wanted, index: MeterIndex) -> Iterator[bytes]:
        """Give the document in pieces.

        Raises:
            UsageError: no such format, or times that are none.
        """
        if wanted.form not in FORMATS:
            raise UsageError("format", expected=", ".join(FORMATS), found=wanted.form[:20])
        if not self._days.earliest <= wanted.start <= wanted.end <= self._days.latest:
            found = f"{wanted.start} to {wanted.end}"
            raise UsageError("period", expected="start <= end, 1990 to 2105", found=found)
        if wanted.limit < 0:
            raise UsageError("limit", expected=">= 0", found=wanted.limit)
        with self._engine.query() as query:
            if not wanted.meter_id:
                self._sync_serials(query, index)
            if wanted.form == "parquet":
                yield from self._parquet(query, wanted, index)
            elif wanted.form == "csv":
                yield from self._csv(query, wanted, index)
            else:
                yield from self._arrow(query, wanted, index)

    def _csv(self, query: Query, wanted: Wanted, index: MeterIndex) -> Iterator[bytes]:
        names = ",".join(f'"{name}"' for name in _NAMES.split(", "))
        yield f"{names}\n".encode()
        for data in self._chunks(query, wanted, index, "CSV"):
            yield from _parts(data)

    def _arrow(self, query: Query, wanted: Wanted, index: MeterIndex) -> Iterator[bytes]:
        """Give one stream: the schema of the first piece, the batches of all."""
        first = True
        for data in self._chunks(query, wanted, index, "ArrowStream"):
            start = 0 if first else _schema_end(data)
            yield from _parts(memoryview(data)[start : len(data) - len(_EOS)])
            first = False
        yield _EOS

    def _parquet(self, query: Query, wanted: Wanted, index: MeterIndex) -> Iterator[bytes]:
        """Have the engine write one document into a file without a name, and give that."""
        file = os.open(self._engine.folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with self._engine.query() as writer:
                chunks = self._chunks(query, wanted, index, "Native")
                writer.write_file(file, "Parquet", _PARQUET, chunks)
            size = os.lseek(file, 0, os.SEEK_END)
            if os.pread(file, 4, max(size - 4, 0)) != _PARQUET_END:
                raise StorageError("document", expected="room for it", found=f"{size} bytes")
            os.lseek(file, 0, os.SEEK_SET)
            while part := os.read(file, PART_BYTES):
                yield part
        finally:
            os.close(file)

    def _chunks(
        self, query: Query, wanted: Wanted, index: MeterIndex, form: str
    ) -> Iterator[bytes]:
        """Run the query per range of meters, at least once."""
        left = wanted.limit
        for low, high in self._ranges(wanted, index):
            values = self._values(wanted, low, high, left)
            data = query.data(_sql(wanted, index, counted=bool(left)), form, values)
            if left:
                left -= self._count(query, values)
            yield data
            if wanted.limit and left <= 0:
                return

    def _values(self, wanted: Wanted, low: int, high: int, left: int) -> dict[str, object]:
        ends = np.array([wanted.start + 1, max(wanted.end, wanted.start + 1)], "i8")
        first, last = self._days.of_interval_ends(ends).tolist()
        return {
            "from": first, "to": last, "lo": low, "hi": high, "start": wanted.start,
            "end": wanted.end, "limit": left,
        }  # fmt: skip

    def _count(self, query: Query, values: dict[str, object]) -> int:
        return int(query.rows(_COUNT, np.dtype([("n", "<u8")]), values)["n"][0])

    def _ranges(self, wanted: Wanted, index: MeterIndex) -> Iterator[tuple[int, int]]:
        if wanted.meter_id:
            yield wanted.meter_id, wanted.meter_id
            return
        ids = index.ids()
        if not len(ids):
            yield 0, 0
            return
        days = (wanted.end - wanted.start) // 86_400 + 1
        size = most = max(PIECE_ROWS // (days * _ROWS_A_DAY), 1)
        if wanted.limit:  # a page needs no more meters than it has rows
            size = min(size, max(wanted.limit // (days * _ROWS_A_DAY), 1) + 50)
        at = 0
        while at < len(ids):
            part = ids[at : at + size]
            yield int(part[0]), int(part[-1])
            at += size
            size = min(2 * size, most)  # where there is little, look wider

    def _sync_serials(self, query: Query, index: MeterIndex) -> None:
        """Bring the engine's table of serials, in memory, up to the registry."""
        synced = self._synced
        if synced is index:
            return
        ids = index.ids()
        if synced is not None:
            ids = ids[~np.isin(ids, synced.ids())]
        if len(ids):
            columns: dict[str, np.ndarray | bytes] = {
                "meter_id": ids,
                "serial": strings(index.serials(ids)),
            }
            types = {"meter_id": "UInt64", "serial": "String"}
            query.insert("meter_serials", types, columns)
        self._synced = index


# The same values as the view `effective_interval`, in one pass: pieces are sorted anyway. The
# measured value stands before estimates (4), of which the newest comes first; conflicts (2) are
# left out.
_WITHIN = """FROM readings_interval
 WHERE day BETWEEN toDate({from:UInt16}) AND toDate({to:UInt16})
  AND meter_id BETWEEN {lo:UInt64} AND {hi:UInt64}
  AND t > toDateTime({start:UInt32}, 'UTC') AND t <= toDateTime({end:UInt32}, 'UTC')
  AND bitAnd(quality, 2) = 0"""
_EFFECTIVE = f"""(SELECT meter_id, t, import_wh, export_wh, status, quality, frame_id {_WITHIN}
 ORDER BY meter_id, t, bitAnd(quality, 4), frame_id DESC LIMIT 1 BY meter_id, t)"""
_COUNT = f"SELECT count() FROM {_EFFECTIVE}"  # noqa: S608 - constants; values are parameters


def _sql(wanted: Wanted, index: MeterIndex, *, counted: bool) -> str:
    serial = "joinGet('meter_serials', 'serial', meter_id)"
    if wanted.meter_id:
        serial = f"'{_quoted(index.serial(wanted.meter_id))}'"
    numbers, names = list(range(len(SOURCES))), list(SOURCES)
    limit = "LIMIT {limit:UInt64}" if counted else ""
    # Of the frames of many meters, ever more, only those between the ends are read and joined;
    # one meter's stand together in the primary key.
    ends, between = "", ""
    if not wanted.meter_id:
        ends = f"WITH (SELECT (min(frame_id), max(frame_id)) {_WITHIN}) AS ends\n"
        between = " AND frame_id BETWEEN ends.1 AND ends.2"
    # Only constants and a registered serial, quoted, go into the text; values are parameters.
    return f"""{ends}SELECT {serial} AS serial, {_TIMES[wanted.form]} AS t, import_wh, export_wh,
 status, quality, transform(source, {numbers}, {names}, 'push') AS source, frame_id
FROM (SELECT meter_id, t, import_wh, export_wh, status, quality, source, frame_id FROM {_EFFECTIVE}
 AS effective
 ANY LEFT JOIN (SELECT frame_id, source FROM frames WHERE meter_id BETWEEN {{lo:UInt64}}
  AND {{hi:UInt64}}{between} AND fate = 0) AS origin USING frame_id
 ORDER BY meter_id, t {limit})"""  # noqa: S608 - see above


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _schema_end(data: bytes) -> int:
    """Return where the schema message of an Arrow stream ends: marker, length, metadata."""
    if data[:4] != _EOS[:4]:
        raise DamagedError("Arrow stream", at=0, expected="ffffffff", found=data[:4].hex())
    return 8 + int.from_bytes(data[4:8], "little")


def _parts(data: "bytes | memoryview") -> Iterator[bytes]:
    for at in range(0, len(data), PART_BYTES):
        yield bytes(data[at : at + PART_BYTES])
