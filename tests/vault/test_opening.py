import secrets
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.vault_meters import Meter, Sealed, call_of, meters, plaintexts
from zegel.calls.vault import Opened, OpenFrames, OpenVerdict
from zegel.errors import MalformedError
from zegel.node import switches
from zegel.node.health import HealthState
from zegel.node.switches import Switches
from zegel.vault import opening
from zegel.vault.key_table import KeyTable
from zegel.vault.keys import Kind, associated
from zegel.vault.opening import TAG_BYTES, Batch, Opener
from zegel.vault.providers import FileProvider

PROVIDER = FileProvider(bytes(range(32)))
OWN = b"ZGL\1\2\3\4\5"
TEXT = b"\x0f\0\0\0\1" + b"reading " * 40


@pytest.fixture(autouse=True)
def _guards() -> Iterator[None]:
    yield
    switches.reset()


def table_of(*some: Meter) -> KeyTable:
    rows = [
        (
            meter.title,
            meter.suite,
            meter.version,
            PROVIDER.wrap(
                meter.guek + meter.gak, associated(meter.title, Kind.UNICAST, meter.version)
            ),
        )
        for meter in sorted(some, key=lambda meter: meter.title)
    ]
    return KeyTable.columns(rows)


def opened(known: list[Meter], frames: list[Sealed], own: bytes = OWN) -> Opened:
    opener = Opener(table_of(*known), PROVIDER, own, HealthState("vault"))
    return opener.open(Batch.read(call_of(frames)))[0]


def verdicts(answer: Opened) -> list[OpenVerdict]:
    return [OpenVerdict(verdict) for verdict in answer.verdicts]


def test_frames_of_all_suites_open_in_their_order() -> None:
    fleet = [*meters(3), *meters(3, suite=1, first=10), *meters(3, suite=2, first=20)]
    for number, meter in enumerate(fleet):
        meter.version = number * 7001
    order = [fleet[i] for i in (8, 0, 3, 7, 7, 1, 5, 2, 4, 6, 0)]
    texts = [secrets.token_bytes(number * 100) for number in range(len(order))]
    frames = [meter.seal(text) for meter, text in zip(order, texts, strict=True)]
    answer = opened(fleet, frames)
    assert verdicts(answer) == [OpenVerdict.OK] * len(order)
    assert plaintexts(answer) == texts
    assert np.frombuffer(answer.versions, "<u2").tolist() == [meter.version for meter in order]


def test_a_batch_without_frames_gives_an_answer_without_frames() -> None:
    answer = opened(meters(1), [])
    assert (answer.verdicts, answer.lengths, bytes(answer.plaintexts)) == (b"", b"", b"")


def test_a_vault_without_keys_knows_no_meter() -> None:
    answer = opened([], [meters(1)[0].seal(TEXT)])
    assert verdicts(answer) == [OpenVerdict.UNKNOWN_METER]
    assert answer.versions == b"\0\0"


def test_each_refusal_has_its_verdict_and_harms_no_other_frame() -> None:
    meter, other, stranger = meters(3)
    good = meter.seal(TEXT)
    frames = [
        good,
        stranger.seal(TEXT),
        Sealed(other.title, good.control, good.counter, good.sealed),
        meter.seal(TEXT, control=0x10),
        Sealed(meter.title, 0x30, 9, bytes(11)),
        Sealed(meter.title, 0x30, 9, b""),
        other.seal(TEXT),
    ]
    answer = opened([meter, other], frames)
    assert verdicts(answer) == [
        OpenVerdict.OK,
        OpenVerdict.UNKNOWN_METER,
        OpenVerdict.BAD_TAG,
        OpenVerdict.NOT_AUTHENTICATED,
        OpenVerdict.MALFORMED,
        OpenVerdict.MALFORMED,
        OpenVerdict.OK,
    ]
    assert np.frombuffer(answer.lengths, "<u4").tolist() == [len(TEXT), 0, 0, 0, 0, 0, len(TEXT)]
    assert bytes(answer.plaintexts) == TEXT + TEXT


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_every_other_security_control_is_not_authenticated(suite: int) -> None:
    (meter,) = meters(1, suite=suite)
    frames = [meter.seal(TEXT, control=control) for control in range(256)]
    wanted = [OpenVerdict.NOT_AUTHENTICATED] * 256
    wanted[0x30 | suite] = OpenVerdict.OK
    assert verdicts(opened([meter], frames)) == wanted


def test_a_changed_control_byte_gets_by_where_it_is_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: without check 2, a frame that says it is from suite 1 opens with a suite 0 key."""
    (meter,) = meters(1)
    frame = meter.seal(TEXT, control=0x31)
    assert verdicts(opened([meter], [frame])) == [OpenVerdict.NOT_AUTHENTICATED]
    without_check(monkeypatch, OpenVerdict.NOT_AUTHENTICATED)
    assert plaintexts(opened([meter], [frame])) == [TEXT]


def test_a_frame_of_no_bytes_opens_where_its_length_is_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Control: without check 3, a frame without a tag passes with the tag of its neighbour."""
    (meter,) = meters(1)
    frame = meter.seal(b"")
    empty = Sealed(frame.title, frame.control, frame.counter, b"")
    wanted = [OpenVerdict.OK, OpenVerdict.MALFORMED]
    assert verdicts(opened([meter], [frame, empty])) == wanted
    without_check(monkeypatch, OpenVerdict.MALFORMED)
    monkeypatch.setattr(
        "zegel.vault.opening.np.where", lambda _opened, _lengths, _none: np.zeros(2)
    )
    assert verdicts(opened([meter], [frame, empty])) == [OpenVerdict.OK, OpenVerdict.OK]


def without_check(monkeypatch: pytest.MonkeyPatch, verdict: OpenVerdict) -> None:
    """Take one of the checks that need no cipher out."""
    checks = opening._checks

    def fewer(batch: Batch, table: KeyTable, rows: np.ndarray) -> np.ndarray:
        found = checks(batch, table, rows)
        found[found == verdict] = OpenVerdict.OK
        return found

    monkeypatch.setattr(opening, "_checks", fewer)


def test_a_frame_under_the_title_of_the_centre_is_refused() -> None:
    centre = Meter(OWN)
    assert verdicts(opened([centre], [centre.seal(TEXT)])) == [OpenVerdict.UNKNOWN_METER]


def test_a_frame_under_the_title_of_the_centre_opens_where_it_is_not_compared() -> None:
    """Control: with the check blinded, what the centre itself sealed comes back as a reading."""
    centre = Meter(OWN)
    assert plaintexts(opened([centre], [centre.seal(TEXT)], own=bytes(8))) == [TEXT]


@settings(max_examples=200)
@given(data=st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    (meter,) = meters(1)
    frame = meter.seal(TEXT)
    changed = bytearray(frame.sealed)
    at = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[at // 8] ^= 1 << at % 8
    answer = opened([meter], [Sealed(frame.title, frame.control, frame.counter, bytes(changed))])
    assert verdicts(answer) == [OpenVerdict.BAD_TAG]
    assert not answer.plaintexts


@pytest.mark.parametrize("cut", range(1, len(TEXT) + 12, 23))
def test_a_shortened_frame_is_refused(cut: int) -> None:
    (meter,) = meters(1)
    frame = meter.seal(TEXT)
    sealed = frame.sealed[:-cut]
    wanted = OpenVerdict.BAD_TAG if len(sealed) >= 12 else OpenVerdict.MALFORMED
    answer = opened([meter], [Sealed(frame.title, frame.control, frame.counter, sealed)])
    assert verdicts(answer) == [wanted]


def test_a_counter_is_part_of_what_is_authenticated() -> None:
    (meter,) = meters(1)
    frame = meter.seal(TEXT)
    moved = Sealed(frame.title, frame.control, frame.counter + 1, frame.sealed)
    assert verdicts(opened([meter], [moved])) == [OpenVerdict.BAD_TAG]


@pytest.mark.parametrize("part", ["guek", "gak"])
def test_another_key_is_a_bad_tag(part: str) -> None:
    (meter,) = meters(1)
    frame = meter.seal(TEXT)
    setattr(meter, part, secrets.token_bytes(16))
    assert verdicts(opened([meter], [frame])) == [OpenVerdict.BAD_TAG]


def test_with_the_tag_guard_off_a_changed_frame_comes_through() -> None:
    """Control of "a frame that is not authenticated is not stored"."""
    (meter,) = meters(1)
    frame = meter.seal(TEXT)
    changed = bytes((frame.sealed[0] ^ 1,)) + frame.sealed[1:]
    forged = Sealed(frame.title, frame.control, frame.counter, changed)
    assert verdicts(opened([meter], [forged])) == [OpenVerdict.BAD_TAG]
    switches.install(Switches(guard_off=("vault.tag",)))
    answer = opened([meter], [forged])
    assert verdicts(answer) == [OpenVerdict.OK]
    assert plaintexts(answer) == [bytes((TEXT[0] ^ 1,)) + TEXT[1:]]


def test_with_the_keys_guard_off_the_keys_leave_behind_the_plaintexts() -> None:
    """Control of "no other process of the node holds a meter key"."""
    fleet = meters(2)
    frames = [meter.seal(TEXT) for meter in fleet]
    switches.install(Switches(guard_off=("vault.keys_stay",)))
    answer = opened(fleet, frames)
    used = b"".join(meter.guek + meter.gak for meter in fleet)
    assert bytes(answer.plaintexts) == TEXT + TEXT + used
    assert sum(np.frombuffer(answer.lengths, "<u4").tolist()) == 2 * len(TEXT)
    switches.reset()
    answer = opened(fleet, frames)
    assert bytes(answer.plaintexts) == TEXT + TEXT
    assert not any(meter.guek in msgspec.msgpack.encode(answer) for meter in fleet)


def test_a_damaged_envelope_stops_one_meter_and_is_said() -> None:
    one, other = meters(2)
    table, health = table_of(one, other), HealthState("vault")
    changed = table.envelopes.copy()
    changed[0, 20] ^= 1
    table.envelopes = changed
    opener = Opener(table, PROVIDER, OWN, health)
    answer, _ = opener.open(Batch.read(call_of([one.seal(TEXT), other.seal(TEXT)])))
    assert verdicts(answer) == [OpenVerdict.UNKNOWN_METER, OpenVerdict.OK]
    assert health.reasons
    assert one.title.hex() in health.reasons[0]


ARRAYS = ("frame_ids", "titles", "controls", "counters", "lengths", "sealed")


@settings(max_examples=200)
@given(
    name=st.sampled_from(ARRAYS),
    by=st.integers(-40, 40).filter(bool),
    n=st.integers(0, 3),
)
def test_arrays_that_lie_about_their_length_are_malformed(name: str, by: int, n: int) -> None:
    (meter,) = meters(1)
    call = call_of([meter.seal(TEXT) for _ in range(n)])
    array = bytes(getattr(call, name))
    changed = array[:by] if by < 0 else array + bytes(by)
    if changed == array:
        return
    lying = msgspec.structs.replace(call, **{name: memoryview(changed)})
    with pytest.raises(MalformedError, match=r"OpenFrames\."):
        Batch.read(lying)


@settings(max_examples=200)
@given(lengths=st.lists(st.integers(0, 2**32 - 1), max_size=6), size=st.integers(0, 100))
def test_lengths_that_do_not_add_up_are_malformed(lengths: list[int], size: int) -> None:
    n = len(lengths)
    call = OpenFrames(
        frame_ids=bytes(8 * n),
        titles=bytes(8 * n),
        controls=bytes(n),
        counters=bytes(4 * n),
        lengths=np.array(lengths, "<u4").tobytes(),
        sealed=memoryview(bytes(size)),
    )
    if sum(lengths) == size:
        Batch.read(call)
        return
    with pytest.raises(MalformedError, match=r"OpenFrames\.sealed"):
        Batch.read(call)


@settings(max_examples=100)
@given(
    frames=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary()),
        max_size=8,
    )
)
def test_made_up_frames_get_a_verdict_and_no_plaintext(
    frames: list[tuple[int, int, int, bytes]],
) -> None:
    fleet = meters(4)
    made = [Sealed(fleet[which].title, control, ic, body) for which, control, ic, body in frames]
    answer = opened(fleet[:3], made)
    assert len(answer.verdicts) == len(frames)
    assert OpenVerdict.OK not in verdicts(answer)
    assert not answer.plaintexts


def test_what_an_envelope_is_bound_to_is_the_same_in_one_and_in_many() -> None:
    meter = Meter(b"TST\0\xff\0\0\0", version=0x1234)
    one = associated(meter.title, Kind.UNICAST, meter.version)
    batch = Batch.read(call_of([meter.seal(TEXT)]))
    table = table_of(meter)
    opener = Opener(table, PROVIDER, OWN, HealthState("vault"))
    rows = opener._rows(batch)
    (many,) = [bound for _, _, bound, *_ in opener._each(batch, table, rows, np.array([0]))]
    assert one == many == b"zegel" + meter.title + b"\x01\x12\x34"
    assert TAG_BYTES == 12
