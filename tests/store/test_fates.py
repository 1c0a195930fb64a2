"""Every fate and reason of design section 10, through a real vault and a real engine."""

from collections.abc import Callable

import pytest

from helpers.store_bench import ADDRESS, DAY, StoreBench, body, frame_of, push, serial
from helpers.vault_meters import Meter, Sealed, meters
from zegel.node import switches
from zegel.node.spool_format import Mark, Record
from zegel.node.switches import Switches

STORED, DUPLICATE = ("stored", ""), ("duplicate", "")


def quarantined(reason: str) -> tuple[str, str]:
    return "quarantined", reason


def damaged(frame: bytes, at: int) -> bytes:
    return frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]


def stranger() -> Meter:
    return Meter(b"XXX\x00\x00\x00\x00\x09")


def longer_length(frame: bytes) -> bytes:
    """Return the same frame with a length that is not the shortest."""
    assert frame[10] == 0x82
    return frame[:10] + b"\x83\x00" + frame[11:]


REASONS: dict[str, Callable[[Meter], "tuple[bytes | Record, str]"]] = {
    "cut stream": lambda m: (Record(push(m)[:40], mark=Mark.FRAMING, address=ADDRESS), "framing"),
    "oversize": lambda m: (Record(push(m), mark=Mark.TOO_LARGE), "too_large"),
    "plain": lambda m: (body(m), "not_authenticated"),
    "plain answer": lambda m: (b"\xc4\x01\x81\x00\x06\x00\x00\x00\x01", "not_authenticated"),
    "authenticated only": lambda m: (
        frame_of(m.seal(body(m), control=0x10)),
        "not_authenticated",
    ),
    "encrypted only": lambda m: (frame_of(m.seal(body(m), control=0x20)), "not_authenticated"),
    "other suite": lambda m: (frame_of(m.seal(body(m), control=0x31)), "not_authenticated"),
    "suite 5": lambda m: (frame_of(m.seal(body(m), control=0x35)), "unsupported"),
    "block transfer": lambda m: (b"\xe0\x80\x00\x01\x00\x00\x00", "unsupported"),
    "no title": lambda m: (b"\xdb\x00" + push(m)[10:], "malformed"),
    "empty": lambda m: (b"", "malformed"),
    "long length": lambda m: (longer_length(push(m)), "malformed"),
    "one byte more": lambda m: (push(m) + b"\x00", "malformed"),
    "shorter than a tag": lambda m: (frame_of(Sealed(m.title, 0x30, 9, b"x" * 11)), "malformed"),
    "only a tag": lambda m: (frame_of(m.seal(b"")), "malformed"),
    "unknown title": lambda _m: (push(stranger()), "unknown_meter"),
    "bit of the ciphertext": lambda m: (damaged(push(m), 100), "bad_tag"),
    "bit of the tag": lambda m: (damaged(push(m), -1 % 2746), "bad_tag"),
    "wrong key": lambda m: (push(Meter(m.title)), "bad_tag"),
    "body is no push": lambda m: (frame_of(m.seal(b"\x0f\x00\x00\x00\x01\x00\x05")), "malformed"),
    "body is another APDU": lambda m: (frame_of(m.seal(b"\xc0\x01\x81")), "unsupported"),
    "name of another": lambda m: (push(m, name=b"ZGL0000000000077"), "identity_mismatch"),
    "counter at the floor": lambda m: (frame_of(m.seal(body(m), counter=0)), "replay"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """All cases in one segment, each of a meter of its own, with good frames between them."""
    bench = StoreBench(tmp_path_factory.mktemp("fates"), meters(2 * len(REASONS)))
    frames: list[bytes | Record] = []
    for bad, good, case in zip(
        bench.meters[::2], bench.meters[1::2], REASONS.values(), strict=True
    ):
        frames += [case(bad)[0], push(good)]
    bench.take(frames)
    fates = bench.fates()
    outcome = dict(zip(REASONS, fates[::2], strict=True))
    outcome["all others"] = fates[1] if len(set(fates[1::2])) == 1 else ("mixed", "")
    report = bench.answers.fates()
    adds_up = report.received == report.stored + report.duplicate + report.quarantined
    outcome["sum"] = ("adds up" if adds_up else "does not", str(report.received))
    outcome["rows"] = ("", bench.text("SELECT count() FROM readings_interval").strip())
    bench.end()
    return outcome


@pytest.mark.parametrize("case", REASONS)
def test_frame_is_quarantined_for_its_reason(
    outcomes: dict[str, tuple[str, str]], case: str
) -> None:
    reason = REASONS[case](stranger())[1]
    assert outcomes[case] == quarantined(reason)


def test_quarantined_frames_harm_no_other(outcomes: dict[str, tuple[str, str]]) -> None:
    assert outcomes["all others"] == STORED
    assert outcomes["rows"][1] == str(96 * len(REASONS))


def test_frame_counts_add_up(outcomes: dict[str, tuple[str, str]]) -> None:
    assert outcomes["sum"] == ("adds up", str(2 * len(REASONS)))


def test_destroyed_meter_is_unknown(bench: StoreBench) -> None:
    meter = bench.meters[0]
    bench.registry.add([bench.row(meter, state="destroyed")])
    bench.take([push(meter)])
    assert bench.fates() == [quarantined("unknown_meter")]


def test_meter_without_a_key_is_unknown(bench: StoreBench) -> None:
    meter = stranger()
    bench.registry.add([bench.row(meter)])
    bench.take([push(meter)])
    assert bench.fates() == [quarantined("unknown_meter")]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("apart", [False, True], ids=["same segment", "next segment"])
def test_resent_frame_is_a_duplicate(bench: StoreBench, *, apart: bool, restart: bool) -> None:
    frame = push(bench.meters[0])
    if apart:
        bench.take([frame])
        if restart:
            bench.restart()
        bench.take([frame])
    else:
        bench.take([frame, frame])
    assert bench.fates() == [STORED, DUPLICATE]
    assert bench.number_of("SELECT count() FROM readings_interval") == 96


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("apart", [False, True], ids=["same segment", "next segment"])
def test_other_bytes_under_a_used_counter_are_forged(
    bench: StoreBench, *, apart: bool, restart: bool
) -> None:
    meter = bench.meters[0]
    first = push(meter)
    second = frame_of(meter.seal(body(meter, base=5), counter=1))
    if apart:
        bench.take([first])
        if restart:
            bench.restart()
        bench.take([second])
    else:
        bench.take([first, second])
    assert bench.fates() == [STORED, quarantined("forged_counter")]
    assert bench.values()[0][2] == 1000


def test_counters_are_found_beyond_the_latest_in_memory(bench: StoreBench) -> None:
    meter = bench.meters[0]
    days = [DAY.replace(day=day) for day in range(10, 20)]
    frames = [push(meter, day=day) for day in days]
    bench.take(frames)
    again = frame_of(meter.seal(body(meter), counter=2))
    bench.take([frames[0], again])
    assert bench.fates()[10:] == [DUPLICATE, quarantined("forged_counter")]


def test_unseen_counter_below_the_highest_is_stored(bench: StoreBench) -> None:
    meter = bench.meters[0]
    late = push(meter, day=DAY.replace(day=20))
    bench.take([push(meter)])
    bench.take([late])
    assert bench.fates() == [STORED, STORED]


def test_recording_from_before_intake_is_a_replay(bench: StoreBench) -> None:
    meter = bench.meters[0]
    old = push(meter)
    bench.registry.add([bench.row(meter, counter_floor=1)])
    bench.take([old])
    bench.take([push(meter)])
    assert bench.fates() == [quarantined("replay"), STORED]


@pytest.mark.parametrize("apart", [True, False], ids=["apart", "one batch"])
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
def test_the_floor_is_one_of_the_meters_first_key(
    bench: StoreBench, *, apart: bool, restart: bool
) -> None:
    meter = bench.meters[0]
    later = Meter(meter.title, version=meter.version + 1)
    recorded, meter.counter = push(meter), 100
    bench.registry.add([bench.row(meter, counter_floor=100)])
    bench.loop.run(bench.vault.bring_in(later))
    days = [DAY.replace(day=day) for day in (20, 21, 22)]
    frames = [recorded, push(meter, day=days[0]), push(later, day=days[1])]
    for some in [[frame] for frame in frames] if apart else [frames]:
        bench.take(some)
        if restart:
            bench.restart()
    bench.take([push(later, day=days[2])])
    assert bench.fates() == [quarantined("replay"), STORED, STORED, STORED]


def test_what_an_old_key_sealed_before_the_switch_is_stored(bench: StoreBench) -> None:
    meter = bench.meters[0]
    later = Meter(meter.title, version=meter.version + 1)
    bench.loop.run(bench.vault.bring_in(later))
    days = [DAY.replace(day=day) for day in (20, 21, 22, 23)]
    bench.take([push(meter, day=days[0])])
    bench.take([push(meter, day=days[1]), push(later, day=days[2])])
    bench.take([push(later, day=days[3])])
    assert bench.fates() == [STORED] * 4
    versions = bench.text("SELECT key_version FROM frames ORDER BY frame_id").split()
    assert versions == [str(meter.version)] * 2 + [str(later.version)] * 2


def test_without_its_guard_a_replay_is_stored(bench: StoreBench) -> None:
    meter = bench.meters[0]
    bench.registry.add([bench.row(meter, counter_floor=1)])
    switches.install(Switches(guard_off=("store.replay",)))
    bench.take([push(meter)])
    assert bench.fates() == [STORED]


def test_without_its_guard_a_plain_frame_is_stored(bench: StoreBench) -> None:
    switches.install(Switches(guard_off=("store.authenticated",)))
    bench.take([body(bench.meters[1]), push(bench.meters[0])])
    assert bench.fates() == [STORED, STORED]
    assert {row[0] for row in bench.values()} == {1, 2}


def test_refused_frame_does_not_use_its_counter_up(bench: StoreBench) -> None:
    meter = bench.meters[0]
    frame = push(meter)
    bench.take([damaged(frame, 100), frame])
    assert bench.fates() == [quarantined("bad_tag"), STORED]


def test_frame_that_breaks_the_decoder_costs_no_other(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = bench.judge.decoder.decode
    poison = body(bench.meters[1])

    def broken(plaintexts: memoryview, lengths: object) -> object:
        if poison[-20:] in bytes(plaintexts):
            raise IndexError
        return decode(plaintexts, lengths)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.judge.decoder, "decode", broken)
    frames = [push(bench.meters[0], base=1), push(bench.meters[1]), push(bench.meters[2], base=2)]
    bench.take(frames)
    assert bench.fates() == [STORED, quarantined("malformed"), STORED]


def test_frame_that_breaks_the_decision_is_isolated(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = bench.judge._rows

    def poisoned(batch: object, work: object, content: object, query: object) -> object:
        if 2 in work.meter[work.fate == 0]:  # type: ignore[attr-defined]
            raise AssertionError
        return rows(batch, work, content, query)  # type: ignore[arg-type]

    monkeypatch.setattr(type(bench.judge), "_rows", lambda _self, *values: poisoned(*values))
    bench.take([push(meter) for meter in bench.meters])
    assert bench.fates() == [STORED, quarantined("malformed"), STORED]


def test_every_stored_or_repeated_title_is_told_to_the_edge(bench: StoreBench) -> None:
    one, two, _ = bench.meters
    frame = push(one)
    bench.take([frame, frame, damaged(push(two), 100)])
    assert bench.released[0].authenticated == one.title
    assert bench.released[0].addresses == ADDRESS


def test_serial_and_device_name_agree_in_the_bench(bench: StoreBench) -> None:
    assert serial(bench.meters[2]) == "ZGL0000000000002"
