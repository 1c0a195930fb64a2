"""Answers about frames: their fates, the quarantine, and the claims that can fail."""

import threading
from collections.abc import Callable

import msgspec
import numpy as np

from zegel.calls.store import FatesReport, QuarantineEntry, QuarantinePage
from zegel.errors import NotFoundError, UsageError
from zegel.store.engine import Engine, Query
from zegel.store.fate import REASONS, Fate
from zegel.store.quarantine import Quarantine
from zegel.store.schema import SOURCES

__all__ = ["Answers", "opened_frames", "rows_minus_distinct"]

MOST_ON_A_PAGE = 10_000
_FATES = np.dtype(
    [
        ("fate", "u1"), ("reason", "u1"), ("frames", "<u8"), ("rows", "<u8"),
        ("duplicates", "<u8"), ("clock_ahead", "<u8"), ("implausible", "<u8"), ("off", "<u8"),
    ]
)  # fmt: skip
_ENTRY = (
    "frame_id, toUnixTimestamp64Milli(received) / 1000 AS received, reason, peer, source, size, "
    "lower(hex(sha256)) AS sha256, lower(hex(system_title)) AS system_title, "
    "invocation_counter, meter_id"
)
_NO_TITLE = "00" * 8


class _Entry(msgspec.Struct, frozen=True):
    """A row of `frames`, as the engine writes it in JSON."""

    frame_id: int
    received: float
    reason: int
    peer: str
    source: int
    size: int
    sha256: str
    system_title: str
    invocation_counter: int
    meter_id: int


class Answers:
    """Reads for other zones. Every method may run in any thread.

    Args:
        engine: the open engine.
        quarantine: the kept bodies.
        progress: gives position and number of waiting segments.
    """

    def __init__(
        self, engine: Engine, quarantine: Quarantine, progress: Callable[[], tuple[int, int]]
    ) -> None:
        self._engine, self._quarantine, self._progress = engine, quarantine, progress
        self._counting = threading.Lock()
        self._counted: tuple[int, np.ndarray] | None = None

    def fates(self) -> FatesReport:
        """Count all frames by fate, from the `frames` table; kept until the position moves."""
        position, waiting = self._progress()
        with self._counting:
            if self._counted is None or self._counted[0] != position:
                with self._engine.query() as query:
                    self._counted = position, _count(query)
            rows = self._counted[1]
        per_fate = [int(rows["frames"][rows["fate"] == fate].sum()) for fate in Fate]
        reasons = {REASONS[int(row["reason"])]: int(row["frames"]) for row in rows if row["reason"]}
        refused = {name: int(rows[name].sum()) for name in ("clock_ahead", "implausible")}
        return FatesReport(
            received=sum(per_fate),
            stored=per_fate[Fate.STORED],
            duplicate=per_fate[Fate.DUPLICATE],
            quarantined=per_fate[Fate.QUARANTINED],
            reasons=reasons,
            rows_stored=int(rows["rows"].sum()),
            rows_duplicate=int(rows["duplicates"].sum()),
            rows_refused={name: count for name, count in refused.items() if count},
            off_fast_path=int(rows["off"].sum()),
            position=position,
            waiting=waiting,
        )

    def quarantined(self, *, after: int, limit: int, reason: str) -> QuarantinePage:
        """Return one page of quarantined frames by frame id.

        Raises:
            UsageError: a limit out of range, or no reason of that name.
        """
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise UsageError("limit", expected=f"1 to {MOST_ON_A_PAGE}", found=limit)
        if reason and reason not in REASONS:
            expected = ", ".join(REASONS[1:])
            raise UsageError("reason", expected=expected, found=reason[:40])
        number = REASONS.index(reason) if reason else 0
        wanted = "AND reason = {reason:UInt8}" if reason else ""
        with self._engine.query() as query:
            rows = self._entries(
                query,
                "AND frame_id > {after:UInt64} " + wanted + " ORDER BY frame_id "
                "LIMIT {limit:UInt32}",
                {"after": after, "limit": limit + 1, "reason": number},
            )
        more = len(rows) > limit
        rows = rows[:limit]
        whats = self._quarantine.whats([row.frame_id for row in rows])
        counts = self.fates().reasons
        return QuarantinePage(
            entries=[_shown(row, whats.get(row.frame_id, "")) for row in rows],
            next=rows[-1].frame_id if more else None,
            counts=counts,
            sampled_away=max(sum(counts.values()) - self._quarantine.count(), 0),
        )

    def quarantined_one(self, frame_id: int) -> QuarantineEntry:
        """Return one quarantined frame with its bytes.

        Raises:
            NotFoundError: it is not quarantined, or its body was not kept.
        """
        with self._engine.query() as query:
            rows = self._entries(query, "AND frame_id = {id:UInt64} LIMIT 1", {"id": frame_id})
        kept = self._quarantine.show(frame_id) if rows else None
        if kept is None:
            raise NotFoundError("quarantined frame", expected="a kept body", found=frame_id)
        what, body = kept
        return msgspec.structs.replace(_shown(rows[0], what), body=body)

    def _entries(self, query: Query, where: str, values: dict[str, object]) -> list[_Entry]:
        data = query.data(
            f"SELECT {_ENTRY} FROM frames WHERE fate = 2 {where} "  # noqa: S608 - constants
            "SETTINGS output_format_json_quote_64bit_integers = 0",
            "JSONEachRow",
            values,
        )
        return [msgspec.json.decode(line, type=_Entry) for line in data.splitlines()]


def _count(query: Query) -> np.ndarray:
    return query.rows(
        "SELECT fate, reason, count(), sum(rows), sum(duplicates), sum(clock_ahead), "
        "sum(implausible), countIf(fast = 0 AND fate = 0) FROM frames "
        "GROUP BY fate, reason ORDER BY fate, reason",
        _FATES,
    )


def _shown(row: _Entry, what: str) -> QuarantineEntry:
    titled = row.system_title != _NO_TITLE
    return QuarantineEntry(
        frame_id=row.frame_id,
        received=row.received,
        reason=REASONS[row.reason],
        what=what,
        peer=row.peer,
        source=SOURCES[row.source],
        size=row.size,
        sha256=row.sha256,
        system_title=row.system_title if titled else "",
        invocation_counter=row.invocation_counter if titled else None,
        meter_id=row.meter_id,
    )


def rows_minus_distinct(query: Query, day: int) -> int:
    """Return measured rows without conflicts minus distinct (meter, t) of a day: 0, or a bug.

    `day` is in days since 1970.
    """
    row = query.rows(
        "SELECT count() - uniqExact(meter_id, t) FROM readings_interval "
        "WHERE day = toDate({day:UInt16}) AND bitAnd(quality, 6) = 0",
        np.dtype([("n", "<i8")]),
        {"day": day},
    )
    return int(row["n"][0])


def opened_frames(query: Query, last: int) -> int:
    """Return how many frames up to `last` the vault opened, by our own count."""
    row = query.rows(
        "SELECT sum(opened) FROM frames WHERE frame_id <= {last:UInt64}",
        np.dtype([("n", "<u8")]),
        {"last": last},
    )
    return int(row["n"][0])
