"""Names and scales that some makers leave off the wire (table `data/conventions.toml`)."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from zegel.cosem.obis import Obis
from zegel.cosem.types import Tag, Value
from zegel.cosem.units import ScalerUnit

__all__ = ["Convention", "convention_of", "load_conventions"]

STRINGS = (Tag.OCTET_STRING, Tag.VISIBLE_STRING)


@dataclass(frozen=True, slots=True)
class Convention:
    """One maker's table: lists by number of places, scales by value groups C and D."""

    maker: str
    list_id: bytes
    source: str
    lists: dict[int, tuple[Obis, ...]]
    scales: dict[tuple[int, int], ScalerUnit]


@cache
def load_conventions() -> tuple[Convention, ...]:
    """Read the table."""
    text = files("zegel.cosem").joinpath("data/conventions.toml").read_text("utf-8")
    return tuple(
        Convention(
            maker=row["maker"],
            list_id=row["list_id"].encode("ascii"),
            source=row["source"],
            lists={
                len(places["obis"]): tuple(map(Obis.parse, places["obis"]))
                for places in row.get("list", ())
            },
            scales={
                (c, scale["d"]): (scale["scaler"], scale["unit"])
                for scale in row["scale"]
                for c in scale["c"]
            },
        )
        for row in tomllib.loads(text)["convention"]
    )


def convention_of(values: Sequence[Value], *, tagged: bool) -> Convention | None:
    """Return the convention that a list of values follows, or None.

    A list says so itself: its first value is the maker's list id. The one list without an id
    is Kaifa's of one power, known by its tagged date-time.
    """
    if not values:
        return None
    first = values[0]
    for convention in load_conventions():
        if first.tag in STRINGS and first.value.startswith(convention.list_id):
            return convention
        if tagged and len(values) == 1 and 1 in convention.lists and first.tag == Tag.UINT32:
            return convention
    return None
