"""Rows of readings on their way into the table: checked, dated, classified. No row is ever updated.

Per meter and instant the first measured value that came is the effective one. A later row with
the same values is a duplicate: counted and dropped. With other values it is inserted beside, as a
conflict. Rows behind everything the meter has need no look-up; `Highs` knows.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zegel.store.days import LocalDays
from zegel.store.engine import Query
from zegel.store.schema import CLOCK_DOUBTFUL, CONFLICT, LATE

__all__ = ["Highs", "Rows", "absent", "checked", "classified"]

AHEAD_S = 15 * 60
OLDEST_S = 400 * 86_400  # 13 months: older rows would make partitions without end
MOST_WH = 2**53 - 1  # beyond it a JSON number is no longer exact; a meter counts to 10**9
_RECENT_DAYS = 3

_PER_ROW = (
    "frame", "day", "meter", "t", "import_wh", "export_wh", "status", "quality", "frame_id",
)  # fmt: skip

_HIGH = np.dtype([("meter", "<u8"), ("t", "<u4")])
_EXISTING = np.dtype(
    [
        ("meter_id", "<u8"), ("t", "<u4"), ("import_wh", "<i8"), ("export_wh", "<i8"),
        ("measured", "u1"), ("frame_id", "<u8"),
    ]
)  # fmt: skip
_KEY = np.dtype([("day", "<u2"), ("meter_id", "<u8"), ("t", "<u4"), ("frame_id", "<u8")])


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """R rows of one batch, and for n frames the counts of rows by what became of them.

    `frame` (R,) i8 place of the frame in the batch, ascending; `day` (R,) i8 days since 1970;
    `meter` (R,) u8; `t` (R,) i8 UTC seconds; `import_wh`, `export_wh` (R,) i8; `status`,
    `quality` (R,) u1; `frame_id` (R,) u8. Per frame (n,) i8: `stored`, `duplicates`,
    `clock_ahead`, `implausible`.
    """

    frame: NDArray[np.int64]
    day: NDArray[np.int64]
    meter: NDArray[np.uint64]
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    status: NDArray[np.uint8]
    quality: NDArray[np.uint8]
    frame_id: NDArray[np.uint64]
    stored: NDArray[np.int64]
    duplicates: NDArray[np.int64]
    clock_ahead: NDArray[np.int64]
    implausible: NDArray[np.int64]

    def take(self, keep: NDArray[np.bool_]) -> "Rows":
        """Return only the rows `keep`, (R,) bool; the counts stay as they are."""
        if keep.all():
            return self
        return replace(self, **{name: getattr(self, name)[keep] for name in _PER_ROW})

    def columns(self) -> dict[str, np.ndarray | bytes]:
        """Return the columns of the table, in its types."""
        return {
            "day": self.day.astype("u2"),
            "meter_id": self.meter,
            "t": self.t.astype("u4"),
            "import_wh": self.import_wh,
            "export_wh": self.export_wh,
            "status": self.status,
            "quality": self.quality,
            "frame_id": self.frame_id,
        }


def checked(rows: Rows, received: NDArray[np.int64], days: LocalDays) -> Rows:
    """Refuse rows that cannot be, count them by reason, and date the others.

    A row more than 15 min ahead of the instant at which its frame was received is
    `clock_ahead`; one older than 13 months, or with a register that is negative or beyond
    2**53, is `implausible`, and so is a second row of a frame for one instant with other
    values (with the same it is a duplicate). A stamp beside the quarter hour is stored as
    captured. All is held against `received`, (n,) i8 per frame: the same on every repeat.
    """
    inside = rows.frame[1:] == rows.frame[:-1]
    if (inside & (rows.t[1:] <= rows.t[:-1])).any():
        rows = _one_per_instant(rows, len(received))
    n = len(received)
    first, last = _ends(rows.frame, rows.t, n)
    odd = (last > received + AHEAD_S) | (first < received - OLDEST_S)
    odd |= (first < days.earliest) | (last > days.latest)
    registers = rows.import_wh | rows.export_wh
    if odd.any() or (len(registers) and (registers.min() < 0 or registers.max() > MOST_WH)):
        rows = _refuse(rows, received, days)
        first, last = _ends(rows.frame, rows.t, n)
    return _dated(rows, received, first, last, days)


def _one_per_instant(rows: Rows, n: int) -> Rows:
    """Keep the first row of a frame for each instant: the table's key holds no second one."""
    order = np.lexsort((np.arange(len(rows.t)), rows.t, rows.frame))
    frame, t = rows.frame[order], rows.t[order]
    first = np.flatnonzero(~_same(frame, t))
    of_first = np.repeat(first, np.diff(np.append(first, len(order))))
    again = np.ones(len(order), bool)
    again[first] = False
    equal = rows.import_wh[order] == rows.import_wh[order[of_first]]
    equal &= rows.export_wh[order] == rows.export_wh[order[of_first]]
    counted = replace(
        rows,
        duplicates=np.bincount(frame[again & equal], minlength=n),
        implausible=np.bincount(frame[again & ~equal], minlength=n),
    )
    keep = np.ones(len(order), bool)
    keep[order[again]] = False
    return counted.take(keep)


def _refuse(rows: Rows, received: NDArray[np.int64], days: LocalDays) -> Rows:
    now = received[rows.frame]
    ahead = rows.t > now + AHEAD_S
    odd = (rows.t < now - OLDEST_S) | (rows.t < days.earliest) | (rows.t > days.latest)
    odd |= (rows.import_wh < 0) | (rows.export_wh < 0)
    odd |= (rows.import_wh > MOST_WH) | (rows.export_wh > MOST_WH)
    odd &= ~ahead
    n = len(received)
    counted = replace(
        rows,
        clock_ahead=np.bincount(rows.frame[ahead], minlength=n),
        implausible=rows.implausible + np.bincount(rows.frame[odd], minlength=n),
    )
    return counted.take(~(ahead | odd))


def _ends(
    frame: NDArray[np.int64], t: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each frame's lowest and highest t, (n,) i8; of a frame without rows 2**40 and 0."""
    low, high = np.full(n, 2**40, "i8"), np.zeros(n, "i8")
    if len(frame):
        starts = np.flatnonzero(np.append(True, frame[1:] != frame[:-1]))
        low[frame[starts]] = np.minimum.reduceat(t, starts)
        high[frame[starts]] = np.maximum.reduceat(t, starts)
    return low, high


def _dated(
    rows: Rows,
    received: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    days: LocalDays,
) -> Rows:
    """Set `day` and the late bit; per frame where all its rows are of one day."""
    some = last > 0
    low = days.of_interval_ends(np.where(some, first, days.earliest))
    high = days.of_interval_ends(np.where(some, last, days.earliest))
    day = low[rows.frame]
    over = (low != high)[rows.frame]
    if over.any():
        day[over] = days.of_interval_ends(rows.t[over])
    late_frames = received >= days.late_from(low)
    late = late_frames[rows.frame]
    if over.any():
        late[over] = received[rows.frame[over]] >= days.late_from(day[over])
    quality = rows.quality | np.where(late, np.uint8(LATE), np.uint8(0))
    return replace(rows, day=day, quality=quality)


class Highs:
    """An upper bound of each meter's `t`: rows beyond it are new without a look-up."""

    def __init__(self) -> None:
        self._high = np.zeros(0, "i8")

    def grow(self, meters: int) -> None:
        """Make room for meter ids up to `meters`; a new meter has no rows: 0."""
        more = meters + 1 - len(self._high)
        if more > 0:
            self._high = np.append(self._high, np.zeros(max(more, len(self._high) // 8), "i8"))

    def rebuild(self, query: Query, meters: int, days: LocalDays) -> None:
        """Read the latest days anew. A meter silent in them is bound by their start."""
        self._high = np.zeros(meters + 1, "i8")
        top = query.rows("SELECT max(day), count() FROM readings_interval", np.dtype("<u2, <u8"))[0]
        if not top[1]:
            return
        since = int(top[0]) - _RECENT_DAYS
        self._high[:] = days.bounds(since)[0]
        rows = query.rows(
            "SELECT meter_id, max(t) FROM readings_interval WHERE day >= toDate({since:UInt16}) "
            "GROUP BY meter_id",
            _HIGH,
            {"since": since},
        )
        self.grow(int(rows["meter"].max(initial=0)))
        self._high[rows["meter"]] = rows["t"]

    def beyond(self, meter: NDArray[np.uint64], t: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell for which meters `t` lies beyond everything there is."""
        answer: NDArray[np.bool_] = t > self._high[meter]
        return answer

    def raise_to(self, meter: NDArray[np.uint64], t: NDArray[np.int64]) -> None:
        """Note inserted rows; repeating it changes nothing."""
        np.maximum.at(self._high, meter, t)


def classified(
    rows: Rows, meter: NDArray[np.uint64], highs: Highs, query: Query, cut: tuple[int, int]
) -> Rows:
    """Drop duplicates, mark conflicts, and count both per frame.

    Args:
        rows: in the order of the frames' places.
        meter: (n,) meter of each frame.
        highs: bounds before this batch.
        query: where the readings that exist are looked up.
        cut: first and last frame id of this batch; rows of its own are not held against it.
    """
    n = len(meter)
    first, _ = _ends(rows.frame, rows.t, n)
    some = np.flatnonzero(first < 2**40)
    ids, counts = np.unique(meter[some], return_counts=True)
    slow = np.zeros(n, bool)
    slow[some] = ~highs.beyond(meter[some], first[some])
    slow[some] |= (counts > 1)[np.searchsorted(ids, meter[some])]
    if slow.any():
        rows = _against_existing(rows, np.flatnonzero(slow[rows.frame]), query, cut, n)
    return replace(rows, stored=np.bincount(rows.frame, minlength=n))


def _against_existing(
    rows: Rows, places: NDArray[np.int64], query: Query, cut: tuple[int, int], n: int
) -> Rows:
    existing = _existing(rows, places, query, cut)
    old = len(existing)
    meter = np.concatenate([existing["meter_id"], rows.meter[places]])
    t = np.concatenate([existing["t"].astype("i8"), rows.t[places]])
    imports = np.concatenate([existing["import_wh"], rows.import_wh[places]])
    exports = np.concatenate([existing["export_wh"], rows.export_wh[places]])
    # who came first: what is there, its effective row before its conflicts; then by arrival
    rank = np.concatenate(
        [-existing["measured"].astype("i8") - 1, rows.frame_id[places].astype("i8")]
    )
    order = np.lexsort((np.arange(len(t)), rank, exports, imports, t, meter))
    again = _same(meter[order], t[order], imports[order], exports[order])
    duplicate = np.zeros(len(t), bool)
    duplicate[order] = again
    kept = np.flatnonzero(~duplicate)
    order = kept[np.lexsort((kept, rank[kept], t[kept], meter[kept]))]
    conflict = np.zeros(len(t), bool)
    conflict[order] = _same(meter[order], t[order])
    quality = rows.quality.copy()
    quality[places[conflict[old:]]] |= CONFLICT
    keep = np.ones(len(rows.t), bool)
    keep[places[duplicate[old:]]] = False
    duplicates = rows.duplicates + np.bincount(rows.frame[~keep], minlength=n)
    return replace(rows, quality=quality, duplicates=duplicates).take(keep)


def _same(*columns: np.ndarray) -> NDArray[np.bool_]:
    """Tell which rows equal the row before them in all columns."""
    same = np.zeros(len(columns[0]), bool)
    same[1:] = True
    for column in columns:
        same[1:] &= column[1:] == column[:-1]
    return same


def _existing(
    rows: Rows, places: NDArray[np.int64], query: Query, cut: tuple[int, int]
) -> np.ndarray:
    """Return the measured rows that are there of the same days and meters.

    2 is the conflict bit, 4 the estimate's.
    """
    return query.rows(
        "SELECT meter_id, t, import_wh, export_wh, "
        "toUInt8(bitAnd(quality, 2) = 0), frame_id FROM readings_interval "
        "WHERE day IN (SELECT arrayJoin({days:Array(UInt16)})::Date) "
        "AND meter_id IN {meters:Array(UInt64)} "
        "AND bitAnd(quality, 4) = 0 "
        "AND NOT (frame_id BETWEEN {first:UInt64} AND {last:UInt64})",
        _EXISTING,
        {
            "days": np.unique(rows.day[places]).tolist(),
            "meters": np.unique(rows.meter[places]).tolist(),
            "first": cut[0],
            "last": cut[1],
        },
    )


def absent(rows: Rows, query: Query, cut: tuple[int, int]) -> Rows:
    """Return the rows that are not in the table yet: read back, send what is absent."""
    if not len(rows.t):
        return rows
    there = query.rows(
        "SELECT day, meter_id, t, frame_id FROM readings_interval "
        "WHERE day IN (SELECT arrayJoin({days:Array(UInt16)})::Date) "
        "AND frame_id BETWEEN {first:UInt64} AND {last:UInt64}",
        _KEY,
        {"days": np.unique(rows.day).tolist(), "first": cut[0], "last": cut[1]},
    )
    mine = np.empty(len(rows.t), _KEY)
    mine["day"], mine["meter_id"], mine["t"] = rows.day, rows.meter, rows.t
    mine["frame_id"] = rows.frame_id
    key = np.dtype(f"V{_KEY.itemsize}")
    return rows.take(~np.isin(mine.view(key), np.ascontiguousarray(there).view(key)))


def doubtful(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the quality bit of doubtful clocks."""
    return bits.astype("u1") * np.uint8(CLOCK_DOUBTFUL)
