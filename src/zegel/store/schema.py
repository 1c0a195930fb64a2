"""The tables of the engine (docs/reference/store.md says why they are so)."""

from types import MappingProxyType

import numpy as np

from zegel.store.fate import REASONS

__all__ = [
    "CLOCK_DOUBTFUL",
    "CONFLICT",
    "ESTIMATED",
    "FRAMES",
    "FRAME_COLUMNS",
    "LATE",
    "POLICY",
    "READINGS",
    "READING_COLUMNS",
    "SOURCES",
    "STATEMENTS",
    "VERSION",
]

VERSION = 1
POLICY = "zegel"  # the storage policy: one encrypted disk
READINGS, FRAMES = "readings_interval", "frames"

# Bits of `quality`
LATE, CONFLICT, ESTIMATED, CLOCK_DOUBTFUL = 1, 2, 4, 8

# `source` in `frames`; the first three are the spool's
SOURCES = ("push", "push", "pull", "import", "estimate")

READING_COLUMNS = MappingProxyType(
    {
        "day": "Date",
        "meter_id": "UInt64",
        "t": "DateTime('UTC')",
        "import_wh": "Int64",
        "export_wh": "Int64",
        "status": "UInt8",
        "quality": "UInt8",
        "frame_id": "UInt64",
    }
)
FRAME_COLUMNS = MappingProxyType(
    {
        "meter_id": "UInt64",
        "frame_id": "UInt64",
        "received": "DateTime64(3, 'UTC')",
        "source": "UInt8",
        "system_title": "FixedString(8)",
        "key_version": "UInt16",
        "invocation_counter": "UInt32",
        "sha256": "FixedString(32)",
        "fate": "UInt8",
        "reason": "UInt8",
        "rows": "UInt32",
        "duplicates": "UInt32",
        "clock_ahead": "UInt32",
        "implausible": "UInt32",
        "fast": "UInt8",
        "opened": "UInt8",
        "size": "UInt32",
        "peer": "String",
    }
)
_CODECS = {
    "meter_id": "Delta, ZSTD(1)",
    "t": "Delta, ZSTD(1)",
    "import_wh": "Delta, T64, ZSTD(1)",
    "export_wh": "Delta, T64, ZSTD(1)",
    "received": "Delta, T64, ZSTD(1)",
    "invocation_counter": "Delta, T64, ZSTD(1)",
    "sha256": "NONE",
}
_FRAME_ID_CODECS = {READINGS: "ZSTD(1)", FRAMES: "Delta, T64, ZSTD(1)"}

# With the defaults a power cut after a merge left a store that did not open: the merged part
# is not synced and its sources are gone. So: sync parts of inserts and merges, keep sources.
# A larger base merges more parts at once: a third less CPU for merges than with the default 5.
_SETTINGS = f"""SETTINGS storage_policy = '{POLICY}', fsync_after_insert = 1,
 fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1,
 min_compressed_bytes_to_fsync_after_merge = 1, old_parts_lifetime = 480,
 non_replicated_deduplication_window = 0, merge_selector_base = 10"""


def _columns(table: str, types: "MappingProxyType[str, str]") -> str:
    codecs = {**_CODECS, "frame_id": _FRAME_ID_CODECS[table]}
    return ",\n ".join(
        f"{name} {kind} CODEC({codecs.get(name, 'ZSTD(1)')})" for name, kind in types.items()
    )


def _within(bits: str) -> str:
    return (
        f"day BETWEEN {{from:Date}} AND {{to:Date}} AND meter_id BETWEEN {{lo:UInt64}} AND "
        f"{{hi:UInt64}} AND t > {{start:DateTime('UTC')}} AND t <= {{end:DateTime('UTC')}} "
        f"AND {bits}"
    )


_MEASURED = f"bitAnd(quality, {CONFLICT | ESTIMATED}) = 0"
_ESTIMATE = f"bitAnd(quality, {ESTIMATED}) != 0"
_NAMES = ", ".join(READING_COLUMNS)

STATEMENTS = (
    # Within [from, to] local days, one row per interval of a meter: `t` is its end.
    f"""CREATE TABLE IF NOT EXISTS {READINGS} (
 {_columns(READINGS, READING_COLUMNS)})
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (day, meter_id, t, frame_id)
{_SETTINGS}""",
    f"""CREATE TABLE IF NOT EXISTS {FRAMES} (
 {_columns(FRAMES, FRAME_COLUMNS)},
 INDEX by_frame frame_id TYPE minmax GRANULARITY 1)
ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(received) ORDER BY (meter_id, frame_id)
{_SETTINGS}""",
    # The first measured value of an instant, else its newest estimate; never FINAL.
    f"""CREATE VIEW IF NOT EXISTS effective_interval AS
SELECT {_NAMES} FROM {READINGS} WHERE {_within(_MEASURED)}
UNION ALL
SELECT day, meter_id, t, e.1 AS import_wh, e.2 AS export_wh, e.3 AS status, e.4 AS quality,
 e.5 AS frame_id FROM (
 SELECT day, meter_id, t,
  argMaxIf((import_wh, export_wh, status, quality, frame_id), frame_id, {_ESTIMATE}) AS e
 FROM {READINGS} WHERE {_within("1")} AND (day, meter_id) IN (
  SELECT day, meter_id FROM {READINGS} WHERE {_within(_ESTIMATE)})
 GROUP BY day, meter_id, t HAVING countIf({_MEASURED}) = 0 AND countIf({_ESTIMATE}) > 0)""",  # noqa: S608 - constants
    # Serial numbers for exports over many meters: in memory only, filled from the registry.
    "DROP TABLE IF EXISTS meter_serials",
    """CREATE TABLE meter_serials (meter_id UInt64, serial String)
ENGINE = Join(ANY, LEFT, meter_id) SETTINGS persistent = 0""",
)

assert len(REASONS) < np.iinfo("u1").max  # noqa: S101 - `reason` is one byte
