"""`zegel meters`: list, show and import the meters of the registry."""

import csv
import io
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from cyclopts import App, Parameter

from zegel.cli.client import Api
from zegel.cli.output import document, fields, plain, table
from zegel.errors import UsageError

__all__ = ["app"]

app = App(name="meters", help="List, show and import meters.")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="One JSON document.")]
_COLUMNS = ("meter_id", "serial", "system_title", "maker", "model", "firmware", "segment", "state")
_NUMBERS = ("counter_floor",)
_AT_ONCE = 10_000  # rows in a request

Row = dict[str, Any]


@app.command(name="list")
def list_(
    *,
    search: str = "",
    segment: str = "",
    limit: int = 100,
    cursor: int = 0,
    as_json: Json = False,
) -> None:
    """List meters by meter id.

    Example: zegel meters list --segment north

    Parameters
    ----------
    search
        Start of a serial or system title.
    segment
        Only this segment of the network.
    limit
        At most so many, up to 10 000.
    cursor
        Go on after this meter id.
    """
    found = Api.from_environment().get(
        "/v1/meters", search=search or None, segment=segment or None, limit=limit, cursor=cursor
    )
    if as_json:
        document(found)
        return
    table(_COLUMNS, ([meter[name] for name in _COLUMNS] for meter in found["meters"]))
    fields({"meters in all": found["total"], "next": found["next"]})


@app.command
def show(meter: str, /, *, as_json: Json = False) -> None:
    """Show one meter.

    Parameters
    ----------
    meter
        Serial, system title or meter id.
    """
    found = Api.from_environment().get(f"/v1/meters/{quote(meter, safe='')}")
    if as_json:
        document(found)
        return
    fields({**found["meter"], "ean": found["ean"]})


@app.command(name="import")
def import_(file: Path, /, *, as_json: Json = False) -> int:
    """Import meters, keyed by serial; again changes nothing. Exit 1 if a row is refused.

    Example: zegel meters import meters.csv

    Parameters
    ----------
    file
        CSV with a header, or a JSON list. serial, system_title; and as you have them ean,
        maker, model, firmware, segment, state, counter_floor.
    """
    rows = _read(file)
    api = Api.from_environment()
    total: Row = {"added": 0, "changed": 0, "unchanged": 0, "refused": []}
    for start in range(0, len(rows), _AT_ONCE):
        report = api.post("/v1/meters", json=rows[start : start + _AT_ONCE])
        for name in ("added", "changed", "unchanged"):
            total[name] += report[name]
        total["refused"] += [{**row, "row": row["row"] + start} for row in report["refused"]]
    if as_json:
        document({"schema": "zegel.meters_import/1", **total})
    else:
        fields({**total, "refused": len(total["refused"])})
        for row in total["refused"]:
            print(
                f"zegel: row {row['row']} (from 0) refused: {plain(row['what'])}", file=sys.stderr
            )
    return 1 if total["refused"] else 0


def _read(path: Path) -> list[Row]:
    """Read the rows of a file.

    Raises:
        UsageError: neither CSV with a header nor a JSON list; names line and column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("file", where=str(path), expected="UTF-8 text", found=error) from error
    if text.lstrip().startswith("["):
        try:
            return msgspec.json.decode(text, type=list[Row])
        except msgspec.MsgspecError as error:
            raise UsageError("file", where=str(path), expected="JSON", found=error) from error
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return [_row(row, f"{path} line {reader.line_num}") for row in reader]
    except csv.Error as error:
        raise UsageError("file", where=str(path), expected="CSV", found=error) from error


def _row(row: Row, where: str) -> Row:
    """Leave empty cells out and make numbers of those that are."""
    if None in row or None in row.values():
        raise UsageError("row", where=where, expected="as many cells as the header")
    found: Row = {name: cell for name, cell in row.items() if cell != ""}
    for name in _NUMBERS:
        cell = found.get(name, "0")
        if not (cell.isascii() and cell.isdecimal()):
            raise UsageError(name, where=where, expected="a whole number", found=cell[:40])
        if name in found:
            found[name] = int(cell)
    return found
