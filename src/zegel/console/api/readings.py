"""Readings: pages as JSON; all of them as Arrow, CSV or Parquet, as the engine writes them."""

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from litestar import MediaType, Request, Response, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import QueryParameter
from litestar.response import Stream

from zegel.calls.store import ListMeters, MeterPage, MeterRow, ReadReadings, ShowMeter
from zegel.console.api.links import Links
from zegel.console.api.parameters import Limit, instant, timestamp
from zegel.errors import MalformedError, UsageError
from zegel.node.link import Link

__all__ = ["FORMATS", "ROUTES", "Reading", "Readings"]

JSON = str(MediaType.JSON.value)
FORMATS = {
    "application/vnd.apache.arrow.stream": "arrow",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}
_PART_S = 120.0
_METERS_A_PAGE = 200  # meters looked at for one page of JSON, with readings or not
_CURSOR = re.compile(r"(\d{1,16}):(\d{1,10})", re.ASCII)

TIME = "RFC 3339 with Z, or a date: the start of that day where the node is."


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The effective values of one interval that ends at `t`.

    Registers are cumulative, in Wh; 64-bit values are strings. `quality` is the sum of
    late 1, conflict 2, estimated 4, clock doubtful 8; 0 means nothing to remark.
    """

    serial: str
    t: str
    import_wh: str | None
    export_wh: str | None
    status: int
    quality: int
    source: str
    frame_id: str


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """One page of readings, by meter and time. `next` is the cursor of the next page.

    A page can be shorter than asked for, or empty, and still have a next one.
    """

    schema: Literal["zegel.readings/1"] = "zegel.readings/1"
    readings: list[Reading]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a client has read: everything of `meter_id` up to and including `t`."""

    meter_id: int = 0
    t: int = 0

    def __str__(self) -> str:
        return f"{self.meter_id}:{self.t}"


@get("/v1/readings", summary="Read interval values", tags=["Meters"])
async def readings(
    request: Request[Any, Any, Any],
    links: NamedDependency[Links],
    from_: Annotated[str, QueryParameter(name="from", description=f"Values after this. {TIME}")],
    to: Annotated[str, QueryParameter(name="to", description=f"Up to and with this. {TIME}")],
    meter: Annotated[
        str,
        QueryParameter(
            name="meter", max_length=32, description="Serial, system title or meter id."
        ),
    ] = "",
    limit: Limit = 1000,
    cursor: Annotated[
        str, QueryParameter(name="cursor", description="`next` of the page before (JSON only).")
    ] = "",
) -> Response[Any]:
    """Read effective interval values with from < t ≤ to; `Accept` chooses the format."""
    start = instant(from_, "from", links.time_zone)
    end = instant(to, "to", links.time_zone)
    if start > end:
        raise UsageError("time", where="from", expected=f"<= to ({to})", found=from_)
    accepted = request.accept.best_match([JSON, *FORMATS])
    if accepted is None:
        expected = ", ".join([JSON, *FORMATS])
        raise HTTPException(status_code=406, detail=f"Accept has none of {expected}")
    if accepted == JSON:
        page = await _page(links.store, _Range(start, end, meter), limit, _place(cursor))
        return Response(page, media_type=JSON)
    for name in ("limit", "cursor"):
        if name in request.query_params:
            raise UsageError("query parameter", where=name, expected=f"Accept: {JSON}")
    call = ReadReadings(start=start, end=end, meter=meter, format=FORMATS[accepted])
    parts = _parts(links.store, call)
    first = await anext(parts, b"")  # what is wrong from the start is still told as a problem
    return Stream(_from_first(first, parts), media_type=accepted)


async def _parts(store: Link, call: ReadReadings) -> AsyncGenerator[bytes, None]:
    answer: Any = store.stream(call, timeout_s=_PART_S)
    async with contextlib.aclosing(answer) as parts:
        async for part in parts:
            yield part.data


async def _from_first(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(rest):
        yield first
        async for part in rest:
            yield part


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    end: int
    meter: str


async def _page(store: Link, asked: _Range, limit: int, place: _Place) -> Readings:
    """Collect a page meter by meter: what a meter has in a range lies together in the store."""
    rows: list[Reading] = []
    meters, more = await _meters(store, asked.meter, place)
    for number, meter in enumerate(meters):
        start = max(asked.start, place.t) if meter.meter_id == place.meter_id else asked.start
        found = await _of_meter(store, meter, start, asked.end, limit - len(rows) + 1)
        left = limit - len(rows)
        rows += [reading for _, reading in found[:left]]
        if len(found) > left:
            return Readings(readings=rows, next=str(_Place(meter.meter_id, found[left - 1][0])))
        more_here = more or number + 1 < len(meters)
        if len(rows) == limit and more_here:
            return Readings(readings=rows, next=str(_Place(meter.meter_id, asked.end)))
    follows = str(_Place(meters[-1].meter_id, asked.end)) if more and meters else None
    return Readings(readings=rows, next=follows)


async def _meters(store: Link, meter: str, place: _Place) -> tuple[list[MeterRow], bool]:
    """Return the meters to look at, and whether others follow."""
    if meter:
        return [await store.call(ShowMeter(meter=meter))], False
    call = ListMeters(after=max(0, place.meter_id - 1), limit=_METERS_A_PAGE)
    page: MeterPage = await store.call(call)
    return page.meters, page.next is not None


async def _of_meter(
    store: Link, meter: MeterRow, start: int, end: int, limit: int
) -> list[tuple[int, Reading]]:
    """Return up to `limit` readings of one meter with their times."""
    if start >= end:
        return []
    call = ReadReadings(start, end, meter=meter.system_title, format="arrow", limit=limit)
    body = b"".join([part async for part in _parts(store, call)])
    if not body:
        return []
    try:
        table = pa.ipc.open_stream(body).read_all()
    except pa.ArrowInvalid as error:
        raise MalformedError("Arrow stream of the store", found=error) from error
    return [_reading(row) for row in table.to_pylist()]


def _reading(row: dict[str, Any]) -> tuple[int, Reading]:
    t = _seconds(row["t"])
    reading = Reading(
        serial=_text(row["serial"]),
        t=timestamp(t),
        import_wh=_wide(row["import_wh"]),
        export_wh=_wide(row["export_wh"]),
        status=row["status"],
        quality=row["quality"],
        source=_text(row["source"]),
        frame_id=str(row["frame_id"]),
    )
    return t, reading


def _seconds(value: Any) -> int:
    """Return UTC seconds of a `t` that the engine wrote as a number or as a timestamp."""
    return value if isinstance(value, int) else int(value.timestamp())


def _wide(value: int | None) -> str | None:
    return None if value is None else str(value)


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value


def _place(cursor: str) -> _Place:
    if not cursor:
        return _Place()
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise UsageError("cursor", where="cursor", expected="`next` of a page", found=cursor[:40])
    return _Place(int(found[1]), int(found[2]))


ROUTES = (readings,)
