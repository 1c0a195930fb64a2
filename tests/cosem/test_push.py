"""The push is written and read as docs/reference/push.md says."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pushes import AMSTERDAM, clock, fleet, notification, push, quarters, rows, u32
from zegel.cosem.datetime import CosemDateTime
from zegel.cosem.push import (
    RECEIPT_BYTES,
    PushRows,
    build_bodies,
    build_body,
    device_name,
    parse_receipt,
    read_push,
    receipt,
    wrap,
)
from zegel.cosem.stamps import CLOCK, local_stamps, utc_seconds
from zegel.cosem.types import CompactArray, StructureType, Tag, Value
from zegel.errors import FramingError, InputError, MalformedError, UnsupportedError, UsageError

T0 = 1_764_025_200  # 2025-11-25 00:00 in Amsterdam
ONE_ROW = (
    "0f 00000007 0c 07e90b1902 000f0000 ffc4 00"
    "0203 0910 5a474c30303030303030303030303432 0906 0100630100ff 0101"
    "0204 090c 07e90b1902 000f0000 ffc4 00 1103 06 000003e8 06 00000001"
)


def read(apdu: bytes) -> PushRows:
    return read_push(apdu, zone=AMSTERDAM, period_s=900)


def test_one_row_is_these_bytes() -> None:
    name = device_name(42)
    body = build_body(name, 7, T0 + 900, [(T0 + 900, 3, 1000, 1)], zone=AMSTERDAM)
    assert body.hex() == ONE_ROW.replace(" ", "")


@pytest.mark.parametrize(
    ("day", "count"),
    [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (date(2026, 7, 1), 96)],
    ids=["spring", "autumn", "plain"],
)
def test_a_fleets_matrix_is_the_reference_row_by_row(day: date, count: int) -> None:
    t = quarters(day)
    assert len(t) == count
    some = fleet(3, t)
    matrix = some.bodies()
    assert matrix.shape == (3, 48 + 28 * count)
    for meter in range(3):
        columns = (t, some.status[meter], some.import_wh[meter], some.export_wh[meter])
        table = list(zip(*(column.tolist() for column in columns), strict=True))
        counter = int(some.counters[meter])
        pushed = int(t[-1]) + meter
        name = bytes(some.names[meter])
        assert matrix[meter].tobytes() == build_body(name, counter, pushed, table, zone=AMSTERDAM)


def test_clock_status_bits_stand_beside_the_daylight_bit() -> None:
    t = quarters(date(2026, 7, 1))[:2]
    status = np.array([[0, 2]], "u1")
    names = np.array([device_name(1)], "S16")
    zero = np.zeros((1, 2), "i8")
    matrix = build_bodies(names, [1], 0, t, zero, zero, zone=AMSTERDAM, clock_status=status)
    found = read(matrix[0].tobytes())
    assert found.clock_doubtful.tolist() == [False, True]
    assert found.t.tolist() == t.tolist()


@pytest.mark.parametrize("wrong", [-1, 2**32])
def test_a_register_beyond_32_bits_is_refused(wrong: int) -> None:
    names = np.array([device_name(1)], "S16")
    with pytest.raises(UsageError, match="register"):
        build_bodies(names, [1], 0, np.array([T0]), [[wrong]], [[0]], zone=AMSTERDAM)


@pytest.mark.parametrize("number", [-1, 10**13])
def test_a_device_name_has_thirteen_digits(number: int) -> None:
    with pytest.raises(UsageError, match="meter number"):
        device_name(number)


moments = st.integers(0, 4_260_000_000)


@given(st.lists(moments, min_size=1, max_size=20))
@settings(max_examples=100)
def test_local_stamps_are_what_the_date_time_codec_writes(t: list[int]) -> None:
    stamps = local_stamps(np.array(t, "i8"), AMSTERDAM)
    back, good = utc_seconds(stamps)
    assert good.all()
    assert back.tolist() == t
    for stamp, second in zip(stamps, t, strict=True):
        moment = CosemDateTime.decode(stamp.tobytes()).to_utc()
        assert moment is not None
        assert moment.timestamp() == second


fields = st.tuples(
    st.sampled_from([0, 1969, 1970, 2024, 2025, 2100, 2105, 2106, 0xFFFF]),
    *(st.sampled_from([0, 1, 2, 12, 13, 28, 29, 30, 31, 32, 0xFD, 0xFE, 0xFF]) for _ in "md"),
    st.sampled_from([0, 1, 7, 8, 0xFF]),
    *(st.sampled_from([0, 23, 24, 59, 60, 99, 100, 0xFF]) for _ in "hmsu"),
    st.sampled_from([-0x8000, -721, -720, -60, 0, 840, 841]),
    st.sampled_from([0, 0x80, 0xFF]),
)


@given(st.lists(fields, min_size=1, max_size=50))
@settings(max_examples=200)
def test_clock_arithmetic_settles_only_what_the_date_time_codec_confirms(
    clocks: list[tuple[int, ...]],
) -> None:
    stamps = np.array(clocks, CLOCK)
    seconds, good = utc_seconds(stamps)
    for stamp, second, settled in zip(stamps, seconds, good, strict=True):
        if settled:
            moment = CosemDateTime.decode(stamp.tobytes()).to_utc()
            assert moment is not None
            assert int(moment.timestamp() // 1) == second


def with_first(column: int, *values: Value) -> list[list[Value]]:
    table = [list(row) for row in rows(len(values))]
    for row, value in zip(table, values, strict=True):
        row[column] = value
    return table


def raw_clock(text: str) -> Value:
    return Value(Tag.OCTET_STRING, bytes.fromhex(text))


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("07ea0a1907 021e0000 ff88 80", 1_792_888_200),  # first 02:30 of the autumn night
        ("07ea0a1907 021e0000 ffc4 00", 1_792_891_800),  # second one
        ("07ea0a1907 021e0000 8000 80", 1_792_888_200),  # no deviation: the DST bit tells
        ("07ea0a1907 021e0000 8000 00", 1_792_891_800),
        ("07e8021d04 0c000000 ffc4 00", 1_709_204_400),  # leap day
        ("07ea0101ff 000000ff ffc4 00", 1_767_222_000),  # weekday, hundredths not given
        ("07ea010104 00003c00 ffc4 00", None),
        ("07ea0d0104 00000000 ffc4 00", None),
        ("07ea021e04 00000000 ffc4 00", None),
        ("ffff010104 00000000 ffc4 00", None),
        ("07ea010104 00000000 fd00 00", None),
        ("07ea010104 18000000 ffc4 00", None),
    ],
)
def test_a_clock_is_its_moment_or_refused(text: str, t: int | None) -> None:
    apdu = push(with_first(0, raw_clock(text)))
    if t is None:
        with pytest.raises(InputError):
            read(apdu)
    else:
        assert read(apdu).t.tolist() == [t]


def test_without_deviation_and_daylight_bit_the_clock_is_doubtful() -> None:
    found = read(push(with_first(0, raw_clock("07ea0a1907 021e0000 8000 ff"))))
    assert found.clock_doubtful.tolist() == [True]


def test_a_null_clock_counts_on_from_the_last_one_given() -> None:
    null = Value(Tag.NULL, None)
    found = read(push(with_first(0, clock(T0), null, null, clock(T0 + 9000), null)))
    assert (found.t - T0).tolist() == [0, 900, 1800, 9000, 9900]


def test_a_null_register_repeats_the_one_before() -> None:
    null = Value(Tag.NULL, None)
    assert read(push(with_first(2, u32(5), null, u32(9)))).import_wh.tolist() == [5, 5, 9]


@pytest.mark.parametrize("column", [0, 1, 2, 3])
def test_null_in_the_first_row_has_nothing_to_repeat(column: int) -> None:
    with pytest.raises(UnsupportedError, match="row 0"):
        read(push(with_first(column, Value(Tag.NULL, None))))


def test_any_integer_type_and_date_time_are_read() -> None:
    table = with_first(0, *(clock(T0 + 900 * k, tag=Tag.DATE_TIME) for k in range(3)))
    for row, tag in zip(table, (Tag.UINT64, Tag.INT16, Tag.UINT8), strict=True):
        row[2], row[1] = Value(tag, 7), Value(Tag.UINT16, 255)
    found = read(push(table))
    assert found.import_wh.tolist() == [7, 7, 7]
    assert found.status.tolist() == [255, 255, 255]
    assert (found.t - T0).tolist() == [0, 900, 1800]


def test_rows_may_stand_in_a_compact_array() -> None:
    plain = rows(3)
    shape = StructureType((Tag.OCTET_STRING, Tag.UINT8, Tag.UINT32, Tag.UINT32))
    items = tuple(Value(Tag.STRUCTURE, row) for row in plain)
    array = Value(Tag.COMPACT_ARRAY, CompactArray(shape, items))
    one, other = read(push(plain)), read(push((), array=array))
    for name in ("t", "import_wh", "export_wh", "status", "clock_doubtful"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_no_rows_are_no_readings() -> None:
    assert read(push([])).t.shape == (0,)


@pytest.mark.parametrize(
    "apdu",
    [
        pytest.param(bytes.fromhex("c20000"), id="another APDU"),
        pytest.param(notification(u32(1)), id="no structure"),
        pytest.param(notification(Value(Tag.STRUCTURE, (u32(1),) * 3)), id="no name"),
        pytest.param(push(rows(1), name=b"short"), id="short name"),
        pytest.param(push(rows(1), profile=bytes(6)), id="another profile"),
        pytest.param(push([], array=u32(1)), id="no array"),
        pytest.param(push([(u32(1),)]), id="a column only"),
        pytest.param(push(with_first(2, Value(Tag.UINT64, 2**63))), id="beyond int64"),
        pytest.param(push(with_first(1, Value(Tag.UINT16, 256))), id="status of two bytes"),
        pytest.param(push(with_first(2, Value(Tag.FLOAT32, 1.0))), id="a float"),
        pytest.param(push(with_first(2, Value(Tag.ENUM, 1))), id="an enum"),
        pytest.param(push(with_first(0, Value(Tag.OCTET_STRING, b"x" * 11))), id="11-byte clock"),
    ],
)
def test_what_is_no_push_is_unsupported(apdu: bytes) -> None:
    with pytest.raises(UnsupportedError):
        read(apdu)


def test_every_truncation_and_an_extra_byte_are_malformed() -> None:
    apdu = push(rows(2))
    for cut in range(len(apdu)):
        with pytest.raises(MalformedError):
            read(apdu[:cut])
    with pytest.raises(MalformedError):
        read(apdu + b"\x00")


@given(st.binary(max_size=80))
def test_any_bytes_raise_only_our_errors(tail: bytes) -> None:
    start = push(rows(1))[:30]
    for data in (tail, start + tail):
        try:
            read(data)
        except InputError:
            continue


def test_a_receipt_confirms_the_low_24_bits_of_the_counter() -> None:
    data = receipt(0x0512_3456)
    assert data.hex() == "0001006700010006" + "10" + "00123456" + "00"
    assert len(data) == RECEIPT_BYTES
    assert parse_receipt(data) == 0x12_3456


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("0001000100670006100012345600"),  # a meter's ports
        bytes.fromhex("00010067000100060f0012345600"),  # no confirmation
        bytes.fromhex("00010067000100061000123456"),  # cut
        b"",
    ],
)
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises((FramingError, MalformedError)):
        parse_receipt(data)


def test_a_push_leaves_behind_a_wrapper_header() -> None:
    assert wrap(b"\xdb\x08").hex() == "0001000100670002" + "db08"
