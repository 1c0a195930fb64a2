"""What commands print on stdout: one JSON document, a table, or fields."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["document", "fields", "plain", "table"]

_WIDE = 240  # columns, where no terminal says how many


def document(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their columns; numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = [[plain(value) for value in row] for row in rows]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        numeric = bool(found) and all(row[number].lstrip("-").isdecimal() for row in found)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in found:
        drawn.add_row(*(Text(value) for value in row))
    _console().print(drawn)


def fields(values: Mapping[str, object]) -> None:
    """Print names and values, a line each; what is None is left out."""
    values = {name: value for name, value in values.items() if value is not None}
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        sys.stdout.write(f"{name:<{width}}  {plain(value)}".rstrip() + "\n")


def plain(value: object) -> str:
    """Write a value without anything that a terminal would obey: texts come from outside."""
    text = "" if value is None else str(value)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _console() -> "Console":
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
