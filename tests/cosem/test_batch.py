"""Columns of a batch are what the general decoder reads, frame by frame."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pushes import AMSTERDAM, clock, fleet, join, push, quarters, rows, same, u32
from zegel.cosem import push_layout
from zegel.cosem.batch import BatchDecoder, DecodedBatch, Verdict
from zegel.cosem.layouts import Layout, LayoutCache
from zegel.cosem.push import read_push
from zegel.cosem.push_layout import PushLayout
from zegel.cosem.stamps import CLOCK, utc_seconds
from zegel.cosem.types import Tag, Value
from zegel.errors import MalformedError

PLAIN_DAY, SPRING, AUTUMN = date(2026, 7, 1), date(2026, 3, 29), date(2026, 10, 25)
SHORT = fleet(6, quarters(PLAIN_DAY)[:4], seed=3)
OTHER_DAY = fleet(6, quarters(SPRING)[:4], seed=4)


def decoder(max_layouts: int = 16) -> BatchDecoder:
    return BatchDecoder(cache=LayoutCache(max_layouts, compile_after=1))


def trained(*frames: bytes) -> BatchDecoder:
    """Return a decoder that has met these frames."""
    made = decoder()
    made.decode(*join(frames))
    return made


def general() -> BatchDecoder:
    return decoder(max_layouts=0)


@pytest.mark.parametrize(
    ("day", "count"), [(SPRING, 92), (PLAIN_DAY, 96), (AUTUMN, 100)], ids=["92", "96", "100"]
)
def test_a_fleets_day_comes_back_as_it_was(day: date, count: int) -> None:
    some = fleet(20, quarters(day))
    data = join(some.frames())
    made = BatchDecoder()
    for turn in range(3):
        found = made.decode(*data)
        assert found.t.tolist() == np.tile(some.t, 20).tolist()
        assert np.array_equal(found.import_wh, some.import_wh.ravel())
        assert np.array_equal(found.export_wh, some.export_wh.ravel())
        assert np.array_equal(found.status, some.status.ravel())
        assert found.frame.tolist() == np.repeat(np.arange(20), count).tolist()
        assert [name.tobytes() for name in found.identity] == some.names.tolist()
        assert found.invoke_id.tolist() == list(range(20))
        assert found.rows.tolist() == [count] * 20
        assert not found.clock_doubtful.any()
        assert found.fast.sum() == (20 if turn else 12)
    assert made.cache.on == 52
    assert made.cache.off == {"no_layout": 8}


def test_columns_have_the_promised_types_and_hold_no_plaintext() -> None:
    data, lengths = join(SHORT.frames())
    found = trained(*SHORT.frames()).decode(bytearray(data), lengths)  # type: ignore[arg-type]
    kinds = {name: getattr(found, name).dtype.str for name in DecodedBatch.__slots__[:6]}
    assert kinds == {
        "frame": "<i4", "t": "<i8", "import_wh": "<i8", "export_wh": "<i8",
        "status": "|u1", "clock_doubtful": "|b1",
    }  # fmt: skip
    for name in DecodedBatch.__slots__:
        column = getattr(found, name)
        if isinstance(column, np.ndarray):
            assert not np.shares_memory(column, np.frombuffer(data, "u1"))
            assert column.flags.c_contiguous
            assert column.base is None or column.base.dtype == column.dtype


def test_no_frames_are_no_rows() -> None:
    found = decoder().decode(b"", np.empty(0, "i8"))
    assert len(found.t) == len(found.rows) == 0


def test_frames_of_no_bytes_are_malformed() -> None:
    found = decoder().decode(b"", np.zeros(3, "i8"))
    assert found.verdict.tolist() == [Verdict.MALFORMED] * 3


def test_lengths_that_do_not_add_up_are_refused() -> None:
    for lengths in ([3], [1, 2, 3], [5, -1]):
        with pytest.raises(MalformedError, match="batch lengths"):
            decoder().decode(b"1234", np.array(lengths))


def odd_frames() -> dict[str, list[bytes]]:
    """Return pushes of one meaning and many encodings: (name, a few frames of it)."""
    null = Value(Tag.NULL, None)

    def column(at: int, value: Callable[[int], Value], count: int = 4) -> list[list[Value]]:
        table = [list(row) for row in rows(count)]
        for index, row in enumerate(table):
            row[at] = value(index)
        return table

    def instant(text: str) -> list[bytes]:
        raw = bytes.fromhex(text)
        return [push(column(0, lambda _: Value(Tag.OCTET_STRING, raw)))]

    start = 1_764_025_200
    return {
        "plain": SHORT.frames(),
        "other day": OTHER_DAY.frames(),
        "null clocks": [push(column(0, lambda k: null if k else clock(start), 8))] * 3,
        "a stamp again": [
            push(column(0, lambda k: clock(start + k * 900) if k % 3 == 0 else null))
        ],
        "first null": [push(column(0, lambda _: null))],
        "null register": [push(column(2, lambda k: null if k else u32(8)))],
        "date-time type": [push(column(0, lambda k: clock(start + k, tag=Tag.DATE_TIME)))] * 3,
        "u64": [push(column(2, lambda k: Value(Tag.UINT64, k + 2**40)))] * 3,
        "u64 beyond": [push(column(2, lambda k: Value(Tag.UINT64, k + 2**63 - 2)))] * 3,
        "i32 negative": [push(column(3, lambda k: Value(Tag.INT32, -k)))] * 3,
        "u16 status": [push(column(1, lambda k: Value(Tag.UINT16, 250 + k)))] * 3,
        "u16 status beyond": [push(column(1, lambda k: Value(Tag.UINT16, 254 + k)))] * 3,
        "no push time": [push(rows(4), date_time=b"")] * 3,
        "no rows": [push([])] * 3,
        "one row": [push(rows(1))] * 3,
        "another profile": [push(rows(4), profile=b"\x01\x00\x63\x02\x00\xff")] * 3,
        "not a push": [b"\xc2\x00\x00", b"", b"\x0f"],
        "autumn, no deviation": instant("07ea0a1907 021e0000 8000 80"),
        "no deviation, no DST bit": instant("07ea0a1907 021e0000 8000 ff"),
        "status not given": instant("07ea0a1907 021e0000 ffc4 ff"),
        "doubtful": instant("07ea0a1907 021e0000 ffc4 03"),
        "month 13": instant("07ea0d0104 00000000 ffc4 00"),
        "month 0": instant("07ea000104 00000000 ffc4 00"),
        "31 April": instant("07ea041f04 00000000 ffc4 00"),
        "hour 24": instant("07ea040104 18000000 ffc4 00"),
        "minute 60": instant("07ea040104 003c0000 ffc4 00"),
        "second 60": instant("07ea040104 00003c00 ffc4 00"),
        "second not given": instant("07ea040104 0000ff00 ffc4 00"),
        "hundredths 100": instant("07ea040104 00000064 ffc4 00"),
        "weekday 9": instant("07ea040109 00000000 ffc4 00"),
        "year not given": instant("ffff040104 00000000 ffc4 00"),
        "year 1960": instant("07a8040104 00000000 ffc4 00"),
        "deviation 841": instant("07ea040104 00000000 0349 00"),
    }


ODD = odd_frames()
EVERYTHING = [frame for frames in ODD.values() for frame in frames]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_encoding_reads_the_same_on_both_paths(name: str) -> None:
    frames = ODD[name] * 2
    made = decoder()
    expected = general().decode(*join(frames))
    for _ in range(3):
        assert same(made.decode(*join(frames)), expected)


def test_all_of_them_in_one_batch_read_the_same_on_both_paths() -> None:
    expected = general().decode(*join(EVERYTHING))
    made = decoder()
    for _ in range(3):
        assert same(made.decode(*join(EVERYTHING)), expected)
    assert set(made.cache.off) == {"no_layout", "shape", "clock", "register"}


@pytest.mark.parametrize("name", ["null clocks", "date-time type", "u64", "no push time"])
def test_a_regular_encoding_earns_a_layout(name: str) -> None:
    frames = ODD[name]
    assert trained(*frames).decode(*join(frames)).fast.all()


def test_a_batch_is_what_the_reader_reads_one_by_one() -> None:
    found = trained(*EVERYTHING).decode(*join(SHORT.frames()))
    for index, frame in enumerate(SHORT.frames()):
        one = read_push(frame, zone=AMSTERDAM, period_s=900)
        mine = found.frame == index
        assert found.t[mine].tolist() == one.t.tolist()
        assert found.import_wh[mine].tolist() == one.import_wh.tolist()


frames_in_use = st.sampled_from(
    [*SHORT.frames(), *OTHER_DAY.frames(), *ODD["null clocks"], *ODD["u64"], *ODD["u16 status"]]
)
damage = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=2)
TRAINED = trained(*EVERYTHING)


@given(st.lists(st.tuples(frames_in_use, damage), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_damaged_batches_read_the_same_on_both_paths(
    batch: list[tuple[bytes, list[tuple[int, int]]]],
) -> None:
    frames = []
    for frame, changes in batch:
        changed = bytearray(frame)
        for at, to in changes:
            changed[at % len(changed)] = to
        frames.append(bytes(changed))
    found = TRAINED.decode(*join(frames))
    assert same(found, general().decode(*join(frames)))
    untouched = [index for index, (_, changes) in enumerate(batch) if not changes]
    assert (found.verdict[untouched] == Verdict.OK).all()


@given(victim=st.integers(0, 5), at=st.integers(0, 10_000), to=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_damage_never_harms_a_neighbour(victim: int, at: int, to: int) -> None:
    frames = SHORT.frames()
    clean = TRAINED.decode(*join(frames))
    changed = bytearray(frames[victim])
    changed[at % len(changed)] = to
    frames[victim] = bytes(changed)
    found = TRAINED.decode(*join(frames))
    others = np.arange(6) != victim
    assert (found.verdict[others] == Verdict.OK).all()
    for name in ("t", "import_wh", "export_wh", "status", "clock_doubtful"):
        before = getattr(clean, name)[clean.frame != victim]
        assert np.array_equal(getattr(found, name)[found.frame != victim], before)


def test_a_bad_frame_has_a_verdict_a_reason_and_no_rows() -> None:
    frames = SHORT.frames()
    frames[1], frames[4] = frames[1][:-1], b"\xc2\x00"
    found = TRAINED.decode(*join(frames))
    assert found.verdict.tolist() == [0, Verdict.MALFORMED, 0, 0, Verdict.UNSUPPORTED, 0]
    assert found.rows.tolist() == [4, 0, 4, 4, 0, 4]
    assert set(found.reason) == {1, 4}
    assert found.reason[1].startswith("zegel: malformed: ")
    assert found.reason[4].startswith("zegel: unsupported: ")


def test_one_odd_meter_does_not_take_the_known_clocks_from_the_others() -> None:
    made = trained(*SHORT.frames())
    made.decode(*join(SHORT.frames()))
    (entry,) = made.cache.candidates(len(SHORT.frames()[0]))
    known = entry.template
    assert known is not None
    made.decode(*join([*SHORT.frames(), OTHER_DAY.frames()[0]]))
    assert entry.template is known
    made.decode(*join(OTHER_DAY.frames()))
    assert entry.template is not known


def test_a_large_batch_is_cut_and_put_together_again() -> None:
    frames = SHORT.frames() * 400
    frames[777] = b"\x0f"
    found = TRAINED.decode(*join(frames))
    assert found.fast.sum() == 2399
    assert same(found, general().decode(*join(frames)))


# Each guard taken away must show: else nothing says that it is needed.

real_times, real_match, real_pinned = PushLayout.times, Layout.match, Layout.pinned
ODD_GOOD = [frame for name in ("plain", "u64", "u16 status") for frame in ODD[name]]


def without_field(name: str, fine: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return `utc_seconds` that does not look at one field."""

    def blind(clocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        corrected = np.empty(clocks.shape, CLOCK)
        for field in CLOCK.names or ():
            corrected[field] = fine if field == name else clocks[field]
        return utc_seconds(clocks)[0], utc_seconds(corrected)[1]

    return blind


FIELDS = {
    "year": 2026, "month": 4, "day": 1, "weekday": 1, "hour": 1, "minute": 1, "second": 1,
    "hundredths": 0, "deviation": -60,
}  # fmt: skip


def disagreement() -> bool:
    """Tell whether the paths differ on any odd or damaged frame."""
    made = trained(*(ODD_GOOD + ODD["null clocks"]))
    batch = [*EVERYTHING]
    for at in range(18, 160):
        changed = bytearray(ODD["plain"][0])
        changed[at] ^= 0x10
        batch.append(bytes(changed))
    for _ in range(2):
        if not same(made.decode(*join(batch)), general().decode(*join(batch))):
            return True
    return False


def test_with_all_guards_the_paths_agree() -> None:
    assert not disagreement()


@pytest.mark.parametrize("name", FIELDS)
def test_without_a_clock_fields_guard_the_paths_differ(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_layout, "utc_seconds", without_field(name, FIELDS[name]))
    assert disagreement()


def test_without_the_mask_the_paths_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "match", lambda _, frames: np.ones(len(frames), "?"))
    assert disagreement()


def test_without_the_pinned_bytes_the_paths_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "pinned", lambda self, _frame, _mask: self)
    assert disagreement()


def test_without_the_overflow_guard_the_paths_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_layout, "INT64_MAX", np.uint64(2**64 - 1))
    assert disagreement()


def test_without_the_status_guard_the_paths_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_layout, "MAX_STATUS", 0xFFFF)
    assert disagreement()


def test_with_another_null_period_the_paths_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PushLayout, "times", lambda self, frames, _: real_times(self, frames, 0))
    assert disagreement()


def test_without_the_rule_for_an_unset_status_the_paths_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(push_layout, "doubtful", lambda status: (status & 3) != 0)
    assert disagreement()
