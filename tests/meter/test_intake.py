import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from zegel.calls.shipment import HEAD_BYTES, HPKE, INFO, ShipmentRow
from zegel.calls.store import ImportReport, MeterRow, Refusal
from zegel.errors import RefusedError
from zegel.meter.fleet import make_fleet
from zegel.meter.intake import take_in


class Node:
    """A node's API with a real import key; `refuse` and `lose` make it misbehave."""

    def __init__(self, *, refuse: bool = False, lose: int = 0) -> None:
        self.key = X25519PrivateKey.generate()
        self.meters: list[MeterRow] = []
        self.keys: list[ShipmentRow] = []
        self.refuse, self.lose = refuse, lose

    def import_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def import_meters(self, rows: list[MeterRow]) -> ImportReport:
        self.meters += rows
        refused = [Refusal(1, "serial known with another title")] if self.refuse else []
        return ImportReport(len(rows), 0, 0, refused)

    def import_shipment(self, sealed: bytes) -> int:
        head, message = sealed[:HEAD_BYTES], sealed[HEAD_BYTES:]
        opened = HPKE.decrypt(message, self.key, INFO + head)
        rows = msgspec.msgpack.decode(opened, type=list[ShipmentRow])
        self.keys += rows
        return len(rows) - self.lose


@pytest.mark.parametrize("suite", [0, 2])
def test_every_meter_arrives_with_its_keys_and_its_counter(suite: int) -> None:
    fleet, node = make_fleet(1, 2, 7, 5, suite), Node()
    take_in(fleet, node, segment="zuid-1")
    for place, (row, keys) in enumerate(zip(node.meters, node.keys, strict=True)):
        assert row.serial == fleet.serial(place)
        assert bytes.fromhex(row.system_title) == keys.title == fleet.title(place)
        assert row.counter_floor == fleet.floors[place]
        assert (keys.guek, keys.gak) == (
            fleet.keys.encryption(place),
            fleet.keys.authentication(place),
        )
        assert keys.suite == suite


def test_a_refused_meter_stops_the_intake_and_is_named() -> None:
    fleet = make_fleet(1, 0, 0, 3)
    with pytest.raises(RefusedError, match=fleet.serial(1)):
        take_in(fleet, Node(refuse=True))


def test_a_key_that_did_not_arrive_is_noticed() -> None:
    with pytest.raises(RefusedError, match="key import"):
        take_in(make_fleet(1, 0, 0, 3), Node(lose=1))
