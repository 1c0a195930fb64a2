"""`zegel readings`: export interval values, as the engine writes them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from zegel.cli.client import Api
from zegel.errors import UsageError

__all__ = ["app"]

app = App(name="readings", help="Export readings.")

_ACCEPT = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}


@app.command
def export(
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    meter: str = "",
    format_: Annotated[Literal["csv", "parquet", "arrow"], Parameter(name="--format")] = "csv",
    output: Path | None = None,
) -> None:
    """Export the effective interval values with FROM < t <= TO.

    Example: zegel readings export --from 2026-03-29 --to 2026-03-30 --output day.csv

    Parameters
    ----------
    from_
        RFC 3339 with Z, or a date: the start of that day where the node is.
    to
        Likewise: `--from 2026-03-29 --to 2026-03-30` is one day.
    meter
        Serial, system title or meter id; all meters without it.
    format_
        How to write them.
    output
        The file to write, complete or not at all; stdout without it.
    """
    if output is None and format_ != "csv" and sys.stdout.isatty():
        raise UsageError("binary output", where="--output", expected="a file, not a terminal")
    params = {"from": from_, "to": to, "meter": meter or None}
    parts = Api.from_environment().stream("/v1/readings", params, _ACCEPT[format_])
    if output is None:
        for part in parts:
            sys.stdout.buffer.write(part)
        return
    _write(output, parts)


def _write(path: Path, parts: Iterator[bytes]) -> None:
    """Write beside and rename, so that a broken stream leaves no half file."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            file.writelines(parts)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
