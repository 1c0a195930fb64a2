from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from zegel.cosem.push import read_push
from zegel.cosem.seal import open_frame
from zegel.cosem.wrapper import HEADER, decode_datagram
from zegel.errors import BadTagError, FramingError, SecurityError, UsageError
from zegel.meter.faults import FAULTS, UNKNOWN_TITLE, Scene, fault_frames
from zegel.meter.fleet import Fleet, make_fleet
from zegel.meter.frames import day_pushes
from zegel.meter.truth import Truth, TruthBlock, TruthWriter
from zegel.meter.world import houses, simulate

ZONE = ZoneInfo("Europe/Amsterdam")


def block_of(fleet: Fleet, path: Path) -> TruthBlock:
    (day,) = simulate(houses(1, fleet.first, len(fleet)), date(2026, 6, 1), 1, ZONE)
    with TruthWriter(path) as writer:
        writer.add(fleet.serials, day)
    (block,) = Truth(path).blocks()
    return block


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    fleet, other = make_fleet(1, 0, 0, 2), make_fleet(1, 1, 2, 2)
    blocks = block_of(fleet, tmp_path / "a"), block_of(other, tmp_path / "b")
    return Scene(fleet, blocks[0], 1, 1_790_000_000, ZONE, other, blocks[1])


def apdu_of(scene: Scene, name: str) -> bytes:
    (push,) = fault_frames(name, scene)
    return decode_datagram(push.wire).apdu


def opened(scene: Scene, apdu: bytes) -> bytes:
    keys = scene.fleet.keys
    return open_frame(apdu, keys.encryption(0), keys.authentication(0))


def counter_of(apdu: bytes) -> int:
    return int.from_bytes(apdu[14:18], "big")


def test_every_fault_of_the_contract_is_there() -> None:
    assert {name: dict(fault.expected) for name, fault in FAULTS.items()} == {
        "bitflip": {"bad_tag": 1},
        "wrong-key": {"bad_tag": 1},
        "replay": {"replay": 1},
        "same-counter": {"forged_counter": 1},
        "plain": {"not_authenticated": 1},
        "truncated": {"framing": 1},
        "oversize": {"too_large": 1},
        "unknown-meter": {"unknown_meter": 1},
        "foreign-operator": {"unknown_meter": 1},
        "resend": {"duplicate": 1},
        "truth": {"wrong": 1},
    }


@pytest.mark.parametrize("name", ["bitflip", "wrong-key"])
def test_a_changed_bit_and_a_wrong_key_leave_a_tag_that_does_not_fit(
    scene: Scene, name: str
) -> None:
    with pytest.raises(BadTagError):
        opened(scene, apdu_of(scene, name))


def test_bitflip_is_the_real_push_but_for_one_bit_of_ciphertext(scene: Scene) -> None:
    (push,) = fault_frames("bitflip", scene)
    real = next(day_pushes(scene.fleet, scene.block, 1, scene.pushed, ZONE)).wire
    changed = [i for i, (a, b) in enumerate(zip(real, push.wire, strict=True)) if a != b]
    assert len(changed) == 1
    assert 26 <= changed[0] < len(real) - 12
    assert (real[changed[0]] ^ push.wire[changed[0]]).bit_count() == 1


def test_replay_is_authentic_and_not_above_the_floor(scene: Scene) -> None:
    apdu = apdu_of(scene, "replay")
    rows = read_push(opened(scene, apdu), zone=ZONE, period_s=900)
    assert counter_of(apdu) == scene.fleet.floors[0]
    assert rows.t[-1] < scene.block.t[0]
    assert rows.import_wh[-1] < scene.block.import_wh[0, 0]


def test_same_counter_is_authentic_and_says_something_else(scene: Scene) -> None:
    apdu = apdu_of(scene, "same-counter")
    rows = read_push(opened(scene, apdu), zone=ZONE, period_s=900)
    assert counter_of(apdu) == scene.counter
    assert (rows.import_wh == scene.block.import_wh[0] + 1000).all()


def test_plain_is_a_push_without_protection(scene: Scene) -> None:
    apdu = apdu_of(scene, "plain")
    assert apdu[0] == 0x0F
    with pytest.raises(SecurityError):
        opened(scene, apdu)


def test_truncated_ends_before_its_length(scene: Scene) -> None:
    (push,) = fault_frames("truncated", scene)
    assert push.cut
    with pytest.raises(FramingError):
        decode_datagram(push.wire)


def test_oversize_says_a_length_beyond_the_demo_limit(scene: Scene) -> None:
    (push,) = fault_frames("oversize", scene)
    assert HEADER.unpack_from(push.wire)[3] == 60_000


def test_unknown_and_foreign_meters_have_titles_of_nobody_here(scene: Scene) -> None:
    titles = {scene.fleet.title(place) for place in range(2)}
    unknown, foreign = apdu_of(scene, "unknown-meter"), apdu_of(scene, "foreign-operator")
    assert unknown[2:10] == UNKNOWN_TITLE not in titles
    assert foreign[2:10] == scene.other.title(0) not in titles


def test_resend_is_the_stored_frame_bit_by_bit(scene: Scene) -> None:
    real = next(day_pushes(scene.fleet, scene.block, 1, scene.pushed, ZONE))
    assert fault_frames("resend", scene) == (real,)


def test_an_unknown_fault_is_refused_by_name(scene: Scene) -> None:
    with pytest.raises(UsageError, match="bitflip"):
        fault_frames("gremlin", scene)


def test_foreign_operator_needs_another_operator(scene: Scene, tmp_path: Path) -> None:
    nobody = make_fleet(1, 1, 2, 0)
    alone = Scene(scene.fleet, scene.block, 1, 0, ZONE, nobody, scene.block)
    with pytest.raises(UsageError, match="foreign-operator"):
        fault_frames("foreign-operator", alone)
