"""Which value has which name: the layouts that meters' pushes really use.

Told apart by structure alone: a first array that names the rest (push object list), an OBIS
code before its value (in a structure of its own or in one flat list) with or without scaler
and unit behind, or places without names, which a maker's convention may name.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from zegel.cosem.apdu import DataNotification
from zegel.cosem.datetime import CosemDateTime
from zegel.cosem.decode.body import plain
from zegel.cosem.decode.conventions import Convention, convention_of
from zegel.cosem.decode.document import Known, NamedValue
from zegel.cosem.obis import Obis
from zegel.cosem.types import CompactArray, Tag, Value, type_name
from zegel.cosem.units import ScalerUnit, scale, scaler_unit, unit_name
from zegel.errors import MalformedError

__all__ = ["named_values"]

CONTAINERS = (Tag.ARRAY, Tag.STRUCTURE)
STRINGS = (Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING)
DESCRIPTOR = (Tag.UINT16, Tag.OCTET_STRING, Tag.INT8, Tag.UINT16)  # class, name, attribute, index
PUSH_SETUP, PUSH_OBJECT_LIST = 40, 2
ELECTRICITY = 1  # OBIS value group A


class _Found(NamedTuple):
    """A scalar, its name and what the wire says of its scale."""

    obis: Obis | None
    value: Value
    scaler: ScalerUnit | None = None


def named_values(notification: DataNotification) -> tuple[tuple[NamedValue, ...], list[str]]:
    """Return every scalar of a notification with its name, and remarks on conventions used."""
    body = notification.body
    found = list(_push_list(body) or _walk(body))
    convention = convention_of([item.value for item in found], tagged=notification.tagged_date_time)
    if convention is None:
        return tuple(_named(item, None, None) for item in found), []
    places = convention.lists.get(len(found)) if all(f.obis is None for f in found) else None
    if places is None and convention.lists:
        return tuple(_named(item, None, None) for item in found), []
    names = places or (None,) * len(found)
    values = tuple(_named(f, name, convention) for f, name in zip(found, names, strict=True))
    what = "names and scales" if places else "scales"
    return values, [f"{what} by convention, not on the wire: {convention.source}"]


def _push_list(body: Value) -> list[_Found] | None:
    """Name the values by a first array that describes each, if there is one."""
    if body.tag != Tag.STRUCTURE or not body.value or body.value[0].tag != Tag.ARRAY:
        return None
    entries = body.value[0].value
    if len(entries) != len(body.value) or not all(map(_is_descriptor, entries)):
        return None
    found: list[_Found] = []
    for entry, value in zip(entries, body.value, strict=True):
        kind, name, attribute, *_ = (part.value for part in entry.value)
        if (kind, attribute) == (PUSH_SETUP, PUSH_OBJECT_LIST) and value is body.value[0]:
            continue
        found += _leaves(Obis(*name), value)
    return found


def _is_descriptor(value: Value) -> bool:
    if value.tag != Tag.STRUCTURE or len(value.value) < len(DESCRIPTOR):
        return False
    tags = tuple(part.tag for part in value.value[: len(DESCRIPTOR)])
    return tags == DESCRIPTOR and _is_obis(value.value[1])


def _is_obis(value: Value) -> bool:
    """Whether an octet-string can be a logical name: 6 bytes, value group A below 16."""
    return value.tag == Tag.OCTET_STRING and len(value.value) == 6 and value.value[0] < 16


def _walk(value: Value) -> Iterator[_Found]:
    if value.tag not in CONTAINERS:
        yield from _leaves(None, value)
        return
    items = value.value
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if not _is_obis(item) or at == len(items) or _is_obis(items[at]):
            yield from _walk(item)
            continue
        content = items[at]
        scaler = scaler_unit(items[at + 1]) if at + 1 < len(items) else None
        at += 1 if scaler is None else 2
        yield from _leaves(Obis(*item.value), content, scaler)


def _leaves(obis: Obis | None, value: Value, scaler: ScalerUnit | None = None) -> Iterator[_Found]:
    """Give every scalar inside `value` its name."""
    if value.tag in CONTAINERS:
        for item in value.value:
            yield from _leaves(obis, item, scaler)
    elif isinstance(value.value, CompactArray):
        for item in value.value.items:
            yield from _leaves(obis, item, scaler)
    else:
        yield _Found(obis, value, scaler)


def _named(found: _Found, place: Obis | None, convention: Convention | None) -> NamedValue:
    obis = found.obis or place
    scaler, source = found.scaler, _known(found.scaler)
    if scaler is None and convention is not None and obis is not None and obis.a == ELECTRICITY:
        scaler = convention.scales.get((obis.c, obis.d))
        source = "convention" if scaler else None
    return NamedValue(
        obis=None if obis is None else str(obis),
        type=type_name(found.value.tag),
        raw=plain(found.value),
        value=_text(found.value) if scaler is None else _scaled(found.value, scaler[0]),
        unit=unit_name(scaler[1]) if scaler else None,
        scale=source,
        obis_source=_known(found.obis) or ("convention" if place else None),
    )


def _known(fact: object) -> Known | None:
    return None if fact is None else "wire"


def _scaled(value: Value, scaler: int) -> str | None:
    """Return the exact decimal, or None if the value is no finite number."""
    number = value.value
    if isinstance(number, float) and math.isfinite(number):
        return f"{Decimal(repr(number)).scaleb(scaler):f}"
    if isinstance(number, int) and not isinstance(number, bool):
        return f"{scale(number, scaler):f}"
    return None


def _text(value: Value) -> str | None:
    """Read a string as text, or 12 bytes as a date-time; None for all else."""
    if value.tag in STRINGS:
        text = bytes(value.value).rstrip(b"\0").decode("latin-1")
        if text and text.isascii() and text.isprintable():
            return text
    if isinstance(value.value, bytes) and len(value.value) == 12:
        try:
            moment = CosemDateTime.decode(value.value)
        except MalformedError:
            return None
        return str(moment)
    return None
