"""Meters of the registry: list, show, import."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from zegel.calls.store import (
    ImportMeters,
    ImportReport,
    ListMeters,
    MeterPage,
    MeterRow,
    ShowMeter,
)
from zegel.console.api.links import Links
from zegel.console.api.parameters import Limit
from zegel.errors import RefusedError, UsageError

__all__ = ["MAX_ROWS", "ROUTES", "ImportResult", "Meter", "MeterDocument", "Meters", "NewMeter"]

MAX_ROWS = 10_000
_IMPORT_S = 120.0
_LAST_METER = 2**53 - 1


class NewMeter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A meter on its way into the registry, keyed by serial.

    `system_title`: 16 hex digits. `counter_floor`: the invocation counter at intake; a frame
    at or below it is a replay.
    """

    serial: str
    system_title: str
    ean: str | None = None
    maker: str = ""
    model: str = ""
    firmware: str = ""
    segment: str = ""
    state: str = "in_use"
    counter_floor: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """A meter of the registry."""

    meter_id: int
    serial: str
    system_title: str
    maker: str
    model: str
    firmware: str
    segment: str
    state: str
    counter_floor: int


class Meters(msgspec.Struct, frozen=True, kw_only=True):
    """One page of meters, by meter id. `next` is the cursor of the next page."""

    schema: Literal["zegel.meters/1"] = "zegel.meters/1"
    meters: list[Meter]
    total: int
    next: int | None


class MeterDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One meter. `ean` is the connection, where one was brought in."""

    schema: Literal["zegel.meter/1"] = "zegel.meter/1"
    meter: Meter
    ean: str | None


class RefusedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was not taken; `row` counts from 0."""

    row: int
    what: str


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an import. A refused row does not stop the others."""

    schema: Literal["zegel.meters_import/1"] = "zegel.meters_import/1"
    added: int
    changed: int
    unchanged: int
    refused: list[RefusedRow]


_NEW_METERS = msgspec.json.Decoder(list[NewMeter])


@get("/v1/meters", summary="List meters", tags=["Meters"])
async def list_meters(
    links: NamedDependency[Links],
    limit: Limit = 100,
    cursor: Annotated[
        int,
        QueryParameter(
            name="cursor", ge=0, le=_LAST_METER, description="`next` of the page before."
        ),
    ] = 0,
    search: Annotated[
        str,
        QueryParameter(
            name="search", max_length=32, description="Start of a serial or system title."
        ),
    ] = "",
    segment: Annotated[
        str, QueryParameter(name="segment", max_length=64, description="Segment of the network.")
    ] = "",
) -> Meters:
    """List meters by meter id, a page at a time."""
    call = ListMeters(after=cursor, limit=limit, search=search, segment=segment)
    page: MeterPage = await links.store.call(call)
    return Meters(meters=[_meter(row) for row in page.meters], total=page.total, next=page.next)


@get("/v1/meters/{meter:str}", summary="Show a meter", tags=["Meters"])
async def show_meter(
    links: NamedDependency[Links],
    meter: Annotated[str, PathParameter(description="Serial, system title or meter id.")],
) -> MeterDocument:
    """Show one meter."""
    row: MeterRow = await links.store.call(ShowMeter(meter=meter))
    return MeterDocument(meter=_meter(row), ean=row.ean)


@post("/v1/meters", summary="Import meters", tags=["Meters"], status_code=200)
async def import_meters(
    links: NamedDependency[Links], request: Request[Any, Any, Any]
) -> ImportResult:
    """Bring meters into the registry. May be repeated: meters are keyed by serial."""
    data = _decode(await request.body())
    if len(data) > MAX_ROWS:
        raise RefusedError("rows in a request", expected=f"<= {MAX_ROWS}", found=len(data))
    rows = [MeterRow(**msgspec.structs.asdict(meter)) for meter in data]
    report: ImportReport = await links.store.call(ImportMeters(rows), timeout_s=_IMPORT_S)
    return ImportResult(
        added=report.added,
        changed=report.changed,
        unchanged=report.unchanged,
        refused=[RefusedRow(row=refusal.row, what=refusal.what) for refusal in report.refused],
    )


def _decode(body: bytes) -> list[NewMeter]:
    """Read the meters of a request; where it is wrong is told as a path, `$[3].serial`."""
    try:
        return _NEW_METERS.decode(body)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        raise UsageError("body", where=where.rstrip("`") or "$", found=what) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError("body", where="$", expected="JSON", found=error) from error


def _meter(row: MeterRow) -> Meter:
    return Meter(**{name: getattr(row, name) for name in Meter.__struct_fields__})


ROUTES = (list_meters, show_meter, import_meters)
