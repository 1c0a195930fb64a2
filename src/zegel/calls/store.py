"""What may be said to the store."""

from typing import ClassVar

import msgspec

from zegel.calls.base import Call, Stream

__all__ = [
    "Bytes",
    "FatesReport",
    "FrameFates",
    "ImportMeters",
    "ImportReport",
    "ListMeters",
    "ListQuarantine",
    "MeterPage",
    "MeterRow",
    "QuarantineEntry",
    "QuarantinePage",
    "ReadReadings",
    "Refusal",
    "ShowMeter",
    "ShowQuarantine",
]


class MeterRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A meter of the registry. `meter_id` is 0 on import: the registry gives it.

    `system_title` is 16 lower-case hex digits. `counter_floor`: the invocation counter at
    intake; frames at or below it are replays. `ean` is written on import and never read back
    through readings.
    """

    serial: str
    system_title: str
    meter_id: int = 0
    ean: str | None = None
    maker: str = ""
    model: str = ""
    firmware: str = ""
    segment: str = ""
    state: str = "in_use"
    counter_floor: int = 0


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row that was refused on import, and why."""

    row: int  # from 0
    what: str


class ImportReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of an import. Rows that are refused do not stop the others."""

    added: int
    changed: int
    unchanged: int
    refused: list[Refusal]


class ImportMeters(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Bring meters into the registry; keyed by serial, so it may be repeated."""

    answer: ClassVar[type] = ImportReport
    meters: list[MeterRow]


class MeterPage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of meters, by meter id. `next` is the cursor of the next page, or None."""

    meters: list[MeterRow]
    next: int | None
    total: int


class ListMeters(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """List meters with id above `after`; `search` matches the start of serial or system title."""

    answer: ClassVar[type] = MeterPage
    after: int = 0
    limit: int = 100  # 1 to 10 000
    search: str = ""
    segment: str = ""


class ShowMeter(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Show one meter by serial, system title or meter id. `NotFoundError` if there is none."""

    answer: ClassVar[type] = MeterRow
    meter: str


class Bytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a document written by the engine."""

    data: bytes


class ReadReadings(Stream, frozen=True, tag=True, forbid_unknown_fields=True):
    """Read effective interval values with `start < t <= end` (UTC seconds).

    `meter` as in `ShowMeter`, or empty for all. Columns: serial, t, import_wh, export_wh,
    status, quality, source, frame_id; ordered by meter_id and t. `format`: arrow (IPC stream),
    csv or parquet, written by the engine. `limit` 0 means no limit; `after_t` resumes one meter.
    """

    answer: ClassVar[type] = Bytes
    start: int
    end: int
    meter: str = ""
    format: str = "arrow"
    limit: int = 0


class QuarantineEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A quarantined frame. `body` (only with show) is the frame as received."""

    frame_id: int
    received: float  # UTC seconds
    reason: str
    what: str
    peer: str
    source: str
    size: int
    sha256: str
    system_title: str = ""
    invocation_counter: int | None = None
    meter_id: int = 0
    body: bytes | None = None


class QuarantinePage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One page of quarantined frames, newest last; `counts` by reason over all of them.

    `sampled_away`: frames whose body was not kept for the quota of their source.
    """

    entries: list[QuarantineEntry]
    next: int | None
    counts: dict[str, int]
    sampled_away: int


class ListQuarantine(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """List quarantined frames with frame id above `after`."""

    answer: ClassVar[type] = QuarantinePage
    after: int = 0
    limit: int = 100  # 1 to 10 000
    reason: str = ""


class ShowQuarantine(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Show one quarantined frame with its bytes. `NotFoundError` if it is not kept."""

    answer: ClassVar[type] = QuarantineEntry
    frame_id: int


class FatesReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fates of all frames, counted from the `frames` table itself.

    `received == stored + duplicate + quarantined`. `position` is the last frame id that is
    committed, `waiting` the sealed segments not yet taken.
    """

    received: int
    stored: int
    duplicate: int
    quarantined: int
    reasons: dict[str, int]
    rows_stored: int
    rows_duplicate: int
    rows_refused: dict[str, int]
    off_fast_path: int
    position: int
    waiting: int


class FrameFates(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for the fates of all frames."""

    answer: ClassVar[type] = FatesReport
