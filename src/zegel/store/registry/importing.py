"""Bring meters into the registry, many at once. Rows that are refused do not stop the others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import hexdigits
from typing import Any

import sqlalchemy as sa

from zegel.calls.store import ImportReport, MeterRow, Refusal
from zegel.store.registry.tables import CONNECTIONS, METERS, STATES

__all__ = ["check_row", "ean_is_valid", "import_meters"]

_CHUNK = 5_000
_TEXTS = ("maker", "model", "firmware", "segment")
_CHANGING = (*_TEXTS, "state", "counter_floor")
_HEX = frozenset(hexdigits.lower()) - frozenset("ABCDEF")
_MAX_TEXT = 64
_MAX_COUNTER = 2**32 - 1


def ean_is_valid(ean: str) -> bool:
    """Tell whether `ean` is 18 digits whose last one is the GS1 check digit."""
    if len(ean) != 18 or not (ean.isascii() and ean.isdigit()):
        return False
    digits = [int(digit) for digit in ean]
    total = 3 * sum(digits[16::-2]) + sum(digits[15::-2])
    return (10 - total % 10) % 10 == digits[17]


def check_row(row: MeterRow) -> str | None:
    """Return what is wrong with a row, or None."""
    for right, wrong in _checks(row):
        if not right:
            return wrong
    return None


def _checks(row: MeterRow) -> Iterator[tuple[bool, str]]:
    """Give what must hold and what is said if it does not, one at a time."""
    serial, title = row.serial, row.system_title
    plain = 1 <= len(serial) <= 32 and serial.isascii() and serial.isprintable()
    yield plain and serial == serial.strip(), "serial: expected 1 to 32 printable ASCII characters"
    yield (
        len(title) == 16 and _HEX.issuperset(title),
        ("system title: expected 16 lower-case hex digits"),
    )
    yield (
        row.ean is None or ean_is_valid(row.ean),
        ("ean: expected 18 digits with their check digit"),
    )
    yield row.state in STATES, f"state: expected {', '.join(STATES)}; found {row.state[:20]}"
    yield (
        0 <= row.counter_floor <= _MAX_COUNTER,
        (f"counter floor: expected 0 to {_MAX_COUNTER}; found {row.counter_floor}"),
    )
    for name in _TEXTS:
        text: str = getattr(row, name)
        yield (
            len(text) <= _MAX_TEXT and text.isprintable(),
            (f"{name}: expected at most {_MAX_TEXT} printable characters"),
        )


@dataclass(slots=True)
class _Sorted:
    """One chunk, sorted by what is to be done."""

    added: list[MeterRow] = field(default_factory=list)
    changed: list[tuple[int, MeterRow]] = field(default_factory=list)
    unchanged: int = 0
    ean: list[tuple[str, str]] = field(default_factory=list)  # serial, ean


def import_meters(
    connection: sa.Connection, rows: Sequence[MeterRow], now_s: int
) -> tuple[ImportReport, list[str]]:
    """Add and change meters in the connection's transaction.

    Returns:
        The report, and the serials that were added or changed.
    """
    refused: list[Refusal] = []
    touched: list[str] = []
    added = changed = unchanged = 0
    serials: set[str] = set()
    titles: set[str] = set()
    for start in range(0, len(rows), _CHUNK):
        good: list[tuple[int, MeterRow]] = []
        for place, row in enumerate(rows[start : start + _CHUNK], start):
            wrong = check_row(row)
            if wrong is None and (row.serial in serials or row.system_title in titles):
                wrong = "serial or system title stands twice in this import"
            if wrong is not None:
                refused.append(Refusal(place, wrong))
                continue
            serials.add(row.serial)
            titles.add(row.system_title)
            good.append((place, row))
        work = _sort(connection, good, refused)
        _write(connection, work, now_s)
        added += len(work.added)
        changed += len(work.changed)
        unchanged += work.unchanged
        touched += [row.serial for row in work.added] + [row.serial for _, row in work.changed]
    return ImportReport(added, changed, unchanged, refused), touched


def _sort(
    connection: sa.Connection, good: list[tuple[int, MeterRow]], refused: list[Refusal]
) -> _Sorted:
    known = _known(connection, METERS.c.serial, [row.serial for _, row in good])
    owner = _known(connection, METERS.c.system_title, [row.system_title for _, row in good])
    work = _Sorted()
    eans = _eans(connection, [int(meter.meter_id) for meter in known.values()])
    for place, row in good:
        meter = known.get(row.serial)
        holder = owner.get(row.system_title)
        if meter is not None and meter.system_title != row.system_title:
            what = f"system title of {row.serial}: expected {meter.system_title}, as registered"
            refused.append(Refusal(place, f"{what}; found {row.system_title}"))
            continue
        if meter is None and holder is not None:
            what = f"system title {row.system_title}: registered already for {holder.serial}"
            refused.append(Refusal(place, what))
            continue
        new_ean = row.ean is not None and (
            meter is None or eans.get(int(meter.meter_id)) != row.ean
        )
        if new_ean and row.ean is not None:
            work.ean.append((row.serial, row.ean))
        if meter is None:
            work.added.append(row)
        elif new_ean or any(getattr(meter, name) != getattr(row, name) for name in _CHANGING):
            work.changed.append((int(meter.meter_id), row))
        else:
            work.unchanged += 1
    return work


def _known(
    connection: sa.Connection, column: sa.Column[Any], values: list[str]
) -> Mapping[str, sa.Row[Any]]:
    found = connection.execute(sa.select(METERS).where(column.in_(values)))
    return {getattr(row, column.name): row for row in found}


def _eans(connection: sa.Connection, ids: list[int]) -> dict[int, str]:
    """Return the present EAN of meters that have one."""
    found = connection.execute(
        sa.select(CONNECTIONS.c.meter_id, CONNECTIONS.c.ean).where(
            CONNECTIONS.c.meter_id.in_(ids), CONNECTIONS.c.to_s.is_(None)
        )
    )
    return {int(row.meter_id): str(row.ean) for row in found}


def _write(connection: sa.Connection, work: _Sorted, now_s: int) -> None:
    if work.added:
        names = ("serial", "system_title", *_CHANGING)
        connection.execute(
            sa.insert(METERS),
            [{name: getattr(row, name) for name in names} for row in work.added],
        )
    if work.changed:
        connection.execute(
            sa.update(METERS).where(METERS.c.meter_id == sa.bindparam("id_")),
            [
                {"id_": meter_id, **{name: getattr(row, name) for name in _CHANGING}}
                for meter_id, row in work.changed
            ],
        )
    if not work.ean:
        return
    ids = {
        serial: int(row.meter_id)
        for serial, row in _known(connection, METERS.c.serial, [s for s, _ in work.ean]).items()
    }
    connection.execute(
        sa.update(CONNECTIONS)
        .where(CONNECTIONS.c.meter_id == sa.bindparam("id_"), CONNECTIONS.c.to_s.is_(None))
        .values(to_s=now_s),
        [{"id_": ids[serial]} for serial, _ in work.ean],
    )
    connection.execute(
        sa.insert(CONNECTIONS),
        [
            {"meter_id": ids[serial], "ean": ean, "from_s": now_s, "to_s": None}
            for serial, ean in work.ean
        ],
    )
