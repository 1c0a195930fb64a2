from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from zegel.cosem.keys import Key
from zegel.cosem.push import parse_receipt, read_push, receipt
from zegel.cosem.security import open_apdu
from zegel.cosem.wrapper import decode_datagram
from zegel.meter.fleet import Fleet, make_fleet
from zegel.meter.frames import day_pushes
from zegel.meter.truth import Truth, TruthBlock, TruthWriter
from zegel.meter.world import houses, simulate

ZONE = ZoneInfo("Europe/Amsterdam")


def opened(fleet: Fleet, place: int, wire: bytes) -> bytes:
    encryption = Key(fleet.keys.encryption(place), kind="guek")
    authentication = Key(fleet.keys.authentication(place), kind="gak")
    apdu = decode_datagram(wire).apdu
    result = open_apdu(apdu, encryption_key=encryption, authentication_key=authentication)
    assert result.verified
    return result.plaintext


def truth_of(fleet: Fleet, start: date, path: Path) -> TruthBlock:
    (day,) = simulate(houses(1, fleet.first, len(fleet)), start, 1, ZONE)
    with TruthWriter(path) as writer:
        writer.add(fleet.serials, day)
    (block,) = Truth(path).blocks()
    return block


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("start", [date(2026, 3, 29), date(2026, 10, 25)], ids=["92", "100"])
def test_a_frame_opens_to_exactly_the_truth(tmp_path: Path, suite: int, start: date) -> None:
    fleet = make_fleet(1, 0, 5, 4, suite)
    block = truth_of(fleet, start, tmp_path / "truth")
    pushes = list(day_pushes(fleet, block, 2, 1_790_000_000, ZONE))
    assert len(pushes) == 4
    for place, push in enumerate(pushes):
        rows = read_push(opened(fleet, place, push.wire), zone=ZONE, period_s=900)
        assert rows.name == fleet.serial(place).encode()
        assert (rows.t == block.t).all()
        assert (rows.import_wh == block.import_wh[place]).all()
        assert (rows.export_wh == block.export_wh[place]).all()


def test_every_push_has_its_own_counter_above_the_floor(tmp_path: Path) -> None:
    fleet = make_fleet(1, 0, 0, 3)
    block = truth_of(fleet, date(2026, 6, 1), tmp_path / "truth")
    for number in range(3):
        for place, push in enumerate(day_pushes(fleet, block, number, 0, ZONE)):
            counter = int.from_bytes(push.wire[22:26], "big")
            assert counter == fleet.floors[place] + 1 + number
            assert push.invoke_id == counter & 0xFFFFFF == parse_receipt(receipt(counter))
