import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cosem_strategies import scalars, values
from zegel.cosem import axdr
from zegel.cosem.types import ArrayType, BitString, CompactArray, StructureType, Tag, Value
from zegel.errors import MalformedError

# From the tables of IEC 62056-6-2 and captures of real meters, not from our encoder.
KNOWN = {
    "null": ("00", Value(0, None)),
    "array of unsigned": ("01 02 11 01 11 ff", Value(1, (Value(17, 1), Value(17, 255)))),
    "scaler and unit": ("02 02 0f fe 16 1e", Value(2, (Value(15, -2), Value(22, 30)))),
    "boolean false": ("03 00", Value(3, False)),
    "boolean true": ("03 01", Value(3, True)),
    "boolean true as ff": ("03 ff", Value(3, 255)),
    "bit-string": ("04 0c a5 f0", Value(4, BitString(12, b"\xa5\xf0"))),
    "double-long": ("05 ff ff ff fe", Value(5, -2)),
    "double-long-unsigned": ("06 00 00 32 89", Value(6, 12937)),
    "octet-string": ("09 06 01 00 01 08 00 ff", Value(9, bytes.fromhex("0100010800ff"))),
    "octet-string of 200": ("09 81 c8" + "ab" * 200, Value(9, b"\xab" * 200)),
    "visible-string": ("0a 04 5a 46 46 31", Value(10, b"ZFF1")),
    "utf8-string": ("0c 02 c3 a9", Value(12, "é".encode())),
    "bcd": ("0d 42", Value(13, 0x42)),
    "integer": ("0f 80", Value(15, -128)),
    "long": ("10 03 33", Value(16, 819)),
    "long64": ("14 80 00 00 00 00 00 00 00", Value(20, -(1 << 63))),
    "long64-unsigned": ("15 ff ff ff ff ff ff ff ff", Value(21, (1 << 64) - 1)),
    "float32": ("17 3f 80 00 00", Value(23, 1.0)),
    "float32 NaN keeps its bytes": ("17 7f 80 00 01", Value(23, b"\x7f\x80\x00\x01")),
    "float64": ("18 c0 00 00 00 00 00 00 00", Value(24, -2.0)),
    "date-time": (
        "19 07e5091b01092f0f00ff8880",
        Value(25, bytes.fromhex("07e5091b01092f0f00ff8880")),
    ),
    "date": ("1a 07e5091b01", Value(26, bytes.fromhex("07e5091b01"))),
    "time": ("1b 092f0f00", Value(27, bytes.fromhex("092f0f00"))),
    "dont-care": ("ff", Value(255, None)),
    "compact-array of long-unsigned": (
        "13 12 04 0001 0002",
        Value(19, CompactArray(18, (Value(18, 1), Value(18, 2)))),
    ),
    "compact-array of nested structures": (
        "13 02 03 11 09 01 0002 0f 0a 05 02 abcd ff 01 06 00 0203",
        Value(
            19,
            CompactArray(
                StructureType((17, 9, ArrayType(2, 15))),
                (
                    Value(
                        2,
                        (
                            Value(17, 5),
                            Value(9, b"\xab\xcd"),
                            Value(1, (Value(15, -1), Value(15, 1))),
                        ),
                    ),
                    Value(2, (Value(17, 6), Value(9, b""), Value(1, (Value(15, 2), Value(15, 3))))),
                ),
            ),
        ),
    ),
}
REFUSED = {
    "nothing": ("", "data tag", 0),
    "unknown tag": ("07", "data tag", 0),
    "integer cut off": ("06 00 00", "double-long-unsigned", 1),
    "octet-string cut off": ("09 03 00 00", "octet-string", 2),
    "bit-string cut off": ("04 09 00", "bit-string", 2),
    "date-time cut off": ("19 07e5", "date-time", 1),
    "length cut off": ("09 82 01", "length", 1),
    "length longer than needed": ("09 81 01 00", "length form", 1),
    "indefinite length": ("09 80", "length form", 1),
    "count beyond the input": ("01 82 ff ff 00", "array count", 1),
    "count of a structure beyond the input": ("02 05 00 00", "structure count", 1),
    "33 levels": ("02 01" * 33 + "00", "nesting", 64),
    "compact-array of nothing": ("13 00 01 00", "compact-array", 3),
    "compact-array ends inside an element": ("13 12 03 000100", "long-unsigned", 5),
    "compact-array longer than the input": ("13 12 09 0001", "compact-array", 3),
    "compact-array in a compact-array": ("13 13 12 00", "type description", 1),
    "type description cut off": ("13 02 05 11", "structure type", 2),
    "array type without bytes": ("13 01 ffff 00 01 00", "array type", 1),
}


@pytest.mark.parametrize(("text", "value"), KNOWN.values(), ids=KNOWN)
def test_known_bytes_decode_to_their_value_and_back(text: str, value: Value) -> None:
    data = bytes.fromhex(text)
    assert axdr.decode_all(data) == value
    assert axdr.encode(value) == data


@pytest.mark.parametrize(("text", "what", "at"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_at_its_byte(text: str, what: str, at: int) -> None:
    with pytest.raises(MalformedError) as caught:
        axdr.decode(bytes.fromhex(text))
    assert (caught.value.what, caught.value.at) == (what, at)


def test_left_over_bytes_are_refused() -> None:
    with pytest.raises(MalformedError, match="data end"):
        axdr.decode_all(b"\x00\x00")


@given(value=values())
@settings(max_examples=120)
def test_what_is_encoded_decodes_to_the_same_value_and_bytes(value: Value) -> None:
    data = axdr.encode(value)
    decoded, end = axdr.decode(data)
    assert (decoded, end) == (value, len(data))
    assert axdr.encode(decoded) == data


@given(value=values(), before=st.binary(max_size=5), behind=st.binary(max_size=5))
@settings(max_examples=60)
def test_a_value_is_read_wherever_it_stands(value: Value, before: bytes, behind: bytes) -> None:
    data = axdr.encode(value)
    assert axdr.decode(before + data + behind, len(before)) == (value, len(before) + len(data))


@given(value=values(), data=st.data())
@settings(max_examples=80)
def test_a_cut_value_is_refused(value: Value, data: st.DataObject) -> None:
    whole = axdr.encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedError) as caught:
        axdr.decode(whole[:cut])
    assert caught.value.at is not None


@given(
    data=st.binary(max_size=80) | st.tuples(st.just(b"\x13"), st.binary(max_size=60)).map(b"".join)
)
@settings(max_examples=200)
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        value, end = axdr.decode(data)
    except MalformedError:
        return
    assert axdr.encode(value) == data[:end]


@given(cells=st.lists(scalars(), min_size=1, max_size=5), rows=st.integers(2, 40), data=st.data())
@settings(max_examples=100)
def test_rows_of_one_shape_decode_as_without_the_row_memo(
    cells: list[Value], rows: int, data: st.DataObject
) -> None:
    row = axdr.encode(Value(Tag.STRUCTURE, tuple(cells)))
    whole = bytearray(b"\x01" + bytes((rows,)) + row * rows)
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    results: list[object] = []
    for tries in (axdr.MEMO_TRIES, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(axdr, "MEMO_TRIES", tries)
            try:
                results.append(axdr.decode(bytes(whole)))
            except MalformedError as error:
                results.append(str(error))
    assert results[0] == results[1]


WRONG = {
    "number too large": Value(Tag.UINT8, 256),
    "number as text": Value(Tag.INT32, "7"),
    "text as octets": Value(Tag.OCTET_STRING, "text"),
    "date of 4 bytes": Value(Tag.DATE, b"1234"),
    "bit-string too short": Value(Tag.BIT_STRING, BitString(9, b"\0")),
    "null with content": Value(Tag.NULL, 1),
    "unknown tag": Value(7, b""),
    "tag over a byte": Value(300, None),
    "array of no values": Value(Tag.ARRAY, None),
    "float as text": Value(Tag.FLOAT32, "1.0"),
    "double beyond float32": Value(Tag.FLOAT32, 1e300),
    "compact-array without description": Value(Tag.COMPACT_ARRAY, (Value(Tag.NULL, None),)),
    "compact-array of another type": Value(Tag.COMPACT_ARRAY, CompactArray(17, (Value(18, 1),))),
    "compact-array of another count": Value(
        Tag.COMPACT_ARRAY, CompactArray(StructureType((17, 17)), (Value(2, (Value(17, 1),)),))
    ),
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_content_that_does_not_fit_its_tag_is_not_encoded(value: Value) -> None:
    with pytest.raises(MalformedError):
        axdr.encode(value)


def test_nesting_over_32_is_not_encoded() -> None:
    value = Value(Tag.NULL, None)
    for _ in range(33):
        value = Value(Tag.ARRAY, (value,))
    with pytest.raises(MalformedError, match="nesting"):
        axdr.encode(value)


BOMBS = {
    "nulls under a structure type": b"\x13\x02\x82\x75\x30\x11"
    + bytes(29999)
    + b"\x82\x75\x30"
    + bytes(30000),
    "zero arrays over a large type": (
        b"\x13\x02\x02\x11\x01\x00\x00\x02\x82\x75\x30\x11"
        + bytes(29999)
        + b"\x82\x75\x30"
        + bytes(30000)
    ),
    "arrays of arrays": b"\x13" + b"\x01\xff\xff" * 30 + b"\x11\x82\x75\x30" + bytes(30000),
    "many compact-arrays": b"\x01\x82\x27\x10" + b"\x13\x11\x01\x00" * 10000,
    "alternating rows": b"\x01\x82\x27\x10"
    + (b"\x02\x01\x11\x00" + b"\x02\x01\x12\x00\x00") * 5000,
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_hostile_shapes_take_time_and_memory_in_proportion_to_their_bytes(data: bytes) -> None:
    start = time.process_time()
    try:
        axdr.decode(data)
    except MalformedError as error:
        assert error.what  # noqa: PT017
    assert time.process_time() - start < 2.0


def test_a_day_of_96_rows_decodes_row_by_row() -> None:
    row = struct.Struct(">4s12s1sB1sI1sI")
    clock = bytes.fromhex("07ea0101040000000000c400")[:12]
    rows = b"".join(
        row.pack(b"\x02\x04\x09\x0c", clock, b"\x11", n, b"\x06", 1000 * n, b"\x06", n)
        for n in range(96)
    )
    value = axdr.decode_all(b"\x01\x60" + rows)
    assert [item.value[2].value for item in value.value] == [1000 * n for n in range(96)]
    assert [item.value[1] for item in value.value] == [Value(17, n) for n in range(96)]
