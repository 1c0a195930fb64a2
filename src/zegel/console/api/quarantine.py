"""Frames that were set aside, and the fates of all frames."""

from typing import Annotated, Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from zegel.calls.store import (
    FatesReport,
    FrameFates,
    ListQuarantine,
    QuarantineEntry,
    QuarantinePage,
    ShowQuarantine,
)
from zegel.console.api.links import Links
from zegel.console.api.parameters import FrameCursor, Limit, frame_id, timestamp

__all__ = ["ROUTES", "Entry", "Fates", "Quarantine", "QuarantinedFrame"]

_COUNT_S = 60.0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A quarantined frame without its bytes. `meter_id` is null where no meter is known."""

    frame_id: str
    received: str
    reason: str
    what: str
    peer: str
    source: str
    size: int
    sha256: str
    system_title: str | None
    invocation_counter: int | None
    meter_id: int | None


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """One page of quarantined frames, by frame id; `counts` by reason over all of them.

    `sampled_away`: frames that are counted but whose bytes were not kept (quota of a source).
    """

    schema: Literal["zegel.quarantine/1"] = "zegel.quarantine/1"
    entries: list[Entry]
    counts: dict[str, int]
    sampled_away: int
    next: str | None


class QuarantinedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One quarantined frame; `body` is the frame as received, hex."""

    schema: Literal["zegel.quarantined_frame/1"] = "zegel.quarantined_frame/1"
    entry: Entry
    body: str | None


class Fates(msgspec.Struct, frozen=True, kw_only=True):
    """The fates of all frames: received = stored + duplicate + quarantined.

    `position` is the last frame id that is committed, `waiting` the sealed segments that the
    store has not taken yet.
    """

    schema: Literal["zegel.fates/1"] = "zegel.fates/1"
    received: int
    stored: int
    duplicate: int
    quarantined: int
    reasons: dict[str, int]
    rows_stored: int
    rows_duplicate: int
    rows_refused: dict[str, int]
    off_fast_path: int
    position: str
    waiting: int


@get("/v1/quarantine", summary="List quarantined frames", tags=["Meters"])
async def list_quarantine(
    links: NamedDependency[Links],
    limit: Limit = 100,
    cursor: FrameCursor = "0",
    reason: Annotated[
        str, QueryParameter(name="reason", max_length=32, description="Only this reason.")
    ] = "",
) -> Quarantine:
    """List quarantined frames by frame id, a page at a time."""
    call = ListQuarantine(after=frame_id(cursor, "cursor"), limit=limit, reason=reason)
    page: QuarantinePage = await links.store.call(call)
    return Quarantine(
        entries=[_entry(entry) for entry in page.entries],
        counts=dict(sorted(page.counts.items())),
        sampled_away=page.sampled_away,
        next=None if page.next is None else str(page.next),
    )


@get("/v1/quarantine/{frame:str}", summary="Show a quarantined frame", tags=["Meters"])
async def show_quarantine(
    links: NamedDependency[Links],
    frame: Annotated[str, PathParameter(description="Frame id.")],
) -> QuarantinedFrame:
    """Show one quarantined frame with its bytes."""
    call = ShowQuarantine(frame_id=frame_id(frame, "path"))
    entry: QuarantineEntry = await links.store.call(call)
    return QuarantinedFrame(
        entry=_entry(entry), body=None if entry.body is None else entry.body.hex()
    )


@get("/v1/frames/fates", summary="Count the fates of all frames", tags=["Meters"])
async def fates(links: NamedDependency[Links]) -> Fates:
    """Count what became of every frame that was received."""
    report: FatesReport = await links.store.call(FrameFates(), timeout_s=_COUNT_S)
    fields = msgspec.structs.asdict(report)
    return Fates(**{**fields, "position": str(report.position)})


def _entry(entry: QuarantineEntry) -> Entry:
    return Entry(
        frame_id=str(entry.frame_id),
        received=timestamp(entry.received),
        reason=entry.reason,
        what=entry.what,
        peer=entry.peer,
        source=entry.source,
        size=entry.size,
        sha256=entry.sha256,
        system_title=entry.system_title or None,
        invocation_counter=entry.invocation_counter,
        meter_id=entry.meter_id or None,
    )


ROUTES = (list_quarantine, show_quarantine, fates)
