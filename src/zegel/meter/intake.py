"""Intake of a fleet at a node: registry rows and a sealed shipment of keys, as an operator does it.

Everything goes through the node's API. The keys are HPKE-sealed to the vault's import key before
they leave here, so whoever carries them sees none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from zegel.calls.shipment import ShipmentRow, seal_shipment
from zegel.calls.store import ImportReport, MeterRow
from zegel.errors import RefusedError
from zegel.meter.fleet import Fleet

__all__ = ["BATCH", "IntakeApi", "meter_rows", "shipments", "take_in"]

BATCH = 10_000  # meters in one request
KEY_VERSION = 1  # the keys that a meter was born with


class IntakeApi(Protocol):
    """What intake asks of a node."""

    def import_key(self) -> bytes:
        """Return the public key that shipment files are sealed to."""
        ...

    def import_meters(self, rows: list[MeterRow]) -> ImportReport:
        """Bring meters into the registry."""
        ...

    def import_shipment(self, sealed: bytes) -> int:
        """Hand a shipment file over; return how many keys the vault took in or had already."""
        ...


@dataclass(frozen=True, slots=True)
class _Part:
    first: int
    end: int


def meter_rows(fleet: Fleet, first: int, end: int, segment: str = "") -> list[MeterRow]:
    """Return the registry's rows of the meters at `first` .. `end - 1`."""
    rows = []
    for place in range(first, end):
        maker, model, firmware = fleet.kind(place)
        rows.append(
            MeterRow(
                serial=fleet.serial(place),
                system_title=fleet.title(place).hex(),
                ean=fleet.ean(place),
                maker=maker,
                model=model,
                firmware=firmware,
                segment=segment,
                counter_floor=int(fleet.floors[place]),
            )
        )
    return rows


def shipments(fleet: Fleet, public_key: bytes) -> Iterator[bytes]:
    """Seal the fleet's keys to a vault's import key, `BATCH` meters a file."""
    for part in _parts(fleet):
        rows = [
            ShipmentRow(
                title=fleet.title(place),
                suite=fleet.suite,
                version=KEY_VERSION,
                guek=fleet.keys.encryption(place),
                gak=fleet.keys.authentication(place),
            )
            for place in range(part.first, part.end)
        ]
        yield seal_shipment(rows, public_key)


def take_in(fleet: Fleet, api: IntakeApi, *, segment: str = "") -> None:
    """Bring a fleet's meters and keys to a node.

    Raises:
        RefusedError: the node refused a meter, or took in fewer keys than were sent.
    """
    for part in _parts(fleet):
        report = api.import_meters(meter_rows(fleet, part.first, part.end, segment))
        if report.refused:
            first = report.refused[0]
            where = fleet.serial(part.first + first.row)
            found = f"{len(report.refused)} refused, the first: {first.what}"
            raise RefusedError("meter import", where=where, expected="every row", found=found)
    keys = sum(api.import_shipment(sealed) for sealed in shipments(fleet, api.import_key()))
    if keys != len(fleet):
        raise RefusedError("key import", expected=f"{len(fleet)} meters", found=keys)


def _parts(fleet: Fleet) -> Iterator[_Part]:
    for first in range(0, len(fleet), BATCH):
        yield _Part(first, min(first + BATCH, len(fleet)))
