"""A layout accepts exactly the frames of its shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.pushes import clock, push, rows, u32
from zegel.cosem import axdr
from zegel.cosem.layouts import MAX_RUNS, Layout, LayoutCache, compile_layout
from zegel.cosem.push_layout import PushLayout, compile_push
from zegel.cosem.stamps import CLOCK
from zegel.cosem.types import BitString, Tag, Value
from zegel.errors import InputError, MalformedError, UnsupportedError

HEAD = bytes((0xFF, 0, 0, 0, 0, 0xFF))
START = b"\x0f\x00\x00\x00\x07\x00"


def compiled(body: bytes) -> Layout:
    return compile_layout(START + body, head=HEAD)


def matrix(*frames: bytes) -> np.ndarray:
    return np.frombuffer(b"".join(frames), "u1").reshape(len(frames), -1)


SCALARS: list[Value] = [
    Value(Tag.NULL, None), Value(Tag.BOOLEAN, True), Value(Tag.BIT_STRING, BitString(9, b"ab")),
    Value(Tag.INT32, -5), Value(Tag.UINT32, 2**31), Value(Tag.OCTET_STRING, b"abc"),
    Value(Tag.VISIBLE_STRING, b""), Value(Tag.UTF8_STRING, b"x" * 200), Value(Tag.BCD, 7),
    Value(Tag.INT8, -1), Value(Tag.INT16, -300), Value(Tag.UINT8, 200), Value(Tag.UINT16, 60000),
    Value(Tag.INT64, -(2**60)), Value(Tag.UINT64, 2**63), Value(Tag.ENUM, 3),
    Value(Tag.FLOAT32, 1.5), Value(Tag.FLOAT64, 2.5), Value(Tag.DATE_TIME, bytes(12)),
    Value(Tag.DATE, bytes(5)), Value(Tag.TIME, bytes(4)), clock(1_764_025_200),
]  # fmt: skip
scalars = st.sampled_from(SCALARS)
values = st.recursive(
    scalars,
    lambda inner: st.builds(
        lambda tag, items: Value(tag, tuple(items)),
        st.sampled_from([Tag.STRUCTURE, Tag.ARRAY]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("value", SCALARS, ids=lambda value: Tag(value.tag).name)
def test_every_fixed_type_has_a_field_of_its_value(value: Value) -> None:
    body = axdr.encode(Value(Tag.STRUCTURE, (value,)))
    layout = compiled(body)
    field = layout.view(matrix(START + body))["body"]["c0"]
    if value.tag == Tag.NULL:
        assert not field.dtype.names
    elif isinstance(value.value, int | float):
        assert field["v"].tolist() == [value.value]
    else:
        content = value.value.data if isinstance(value.value, BitString) else value.value
        assert field["v"].tobytes() == content


@given(value=values, at=st.integers(0, 10_000), to=st.integers(0, 255))
@settings(max_examples=200)
def test_a_frame_that_matches_has_the_same_tags_and_lengths(value: Value, at: int, to: int) -> None:
    """The proof behind the fast path: equal constants, equal tree."""
    body = bytearray(axdr.encode(value))
    try:
        layout = compiled(bytes(body))
    except UnsupportedError:
        return
    assert layout.match(matrix(START + body)).all()
    body[at % len(body)] = to
    damaged = START + bytes(body)
    if layout.match(matrix(damaged)).all():
        again, end = axdr.decode(damaged, len(START))
        assert end == len(damaged)
        assert shape(again) == shape(value)


def shape(value: Value) -> object:
    if isinstance(value.value, tuple) and not isinstance(value.value, BitString):
        return value.tag, [shape(item) for item in value.value]
    if isinstance(value.value, BitString):
        return value.tag, value.value.bits
    return value.tag, len(value.value) if isinstance(value.value, bytes) else 0


def test_equal_elements_are_one_run() -> None:
    layout = compiled(axdr.encode(Value(Tag.ARRAY, (u32(1),) * 96)))
    assert layout.dtype["body"].names == ("r0",)
    assert layout.dtype["body"]["r0"].shape == (96,)


def test_a_clock_and_nulls_behind_it_are_two_runs() -> None:
    table = [list(row) for row in rows(96)]
    for row in table[1:]:
        row[0] = Value(Tag.NULL, None)
    entry = compile_push(push(table))
    assert (entry.rows, entry.stamped) == (96, 1)
    assert [span for _, span in entry.runs] == [slice(0, 1), slice(1, 96)]


def test_the_head_is_constant_only_where_it_is_said_to_be() -> None:
    body = axdr.encode(u32(1))
    layout = compiled(body)
    frames = matrix(START + body, b"\x0f\x01\x02\x03\x04\x00" + body, b"\x0e" + START[1:] + body)
    assert layout.match(frames).tolist() == [True, True, False]


@pytest.mark.parametrize("length", range(10, 26))
def test_any_length_is_compared_to_its_last_byte(length: int) -> None:
    body = axdr.encode(Value(Tag.STRUCTURE, (u32(1),) + (Value(Tag.NULL, None),) * (length - 7)))
    layout = compiled(body)
    good = START + body
    assert layout.match(matrix(good, good[:-1] + b"\x01")).tolist() == [True, False]


def test_pinned_bytes_are_constants_too() -> None:
    body = axdr.encode(Value(Tag.STRUCTURE, (clock(0), u32(1))))
    other = axdr.encode(Value(Tag.STRUCTURE, (clock(1), u32(2))))
    layout = compiled(body)
    frames = matrix(START + body, START + other)
    pinned = layout.pinned(frames[0], layout.mask("body", "c0", "v"))
    assert layout.match(frames).all()
    assert layout.dtype["body"]["c0"]["v"] == CLOCK
    assert pinned.match(frames).tolist() == [True, False]
    assert pinned.key != layout.key


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x13\x11\x00", id="compact-array"),
        pytest.param(b"\x1c\x00", id="delta"),
        pytest.param(b"\x02\x01" * 9 + b"\x00", id="too deep"),
        pytest.param(
            axdr.encode(Value(Tag.ARRAY, (u32(1), Value(Tag.UINT8, 1)) * MAX_RUNS)), id="runs"
        ),
        pytest.param(b"\x02\x82\x07\xd0" + bytes(2000), id="too many values"),
    ],
)
def test_what_has_no_fixed_place_has_no_layout(body: bytes) -> None:
    with pytest.raises(UnsupportedError):
        compiled(body)


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_compile_or_raise_our_errors(body: bytes) -> None:
    try:
        layout = compiled(body)
    except InputError:
        return
    assert layout.match(matrix(START + body)).all()


def test_a_cut_body_is_malformed() -> None:
    body = axdr.encode(Value(Tag.STRUCTURE, (u32(1), Value(Tag.OCTET_STRING, b"x" * 200))))
    for cut in range(len(body)):
        with pytest.raises(MalformedError):
            compiled(body[:cut])
    with pytest.raises(MalformedError):
        compiled(body + b"\x00")


@pytest.mark.parametrize("count", ["84ffffffff", "847fffffff", "82ffff"])
@pytest.mark.parametrize("tag", ["01", "02", "04", "09", "0a"])
def test_a_count_beyond_the_bytes_costs_no_memory(tag: str, count: str) -> None:
    with pytest.raises(MalformedError):
        compiled(bytes.fromhex(tag + count))


def many(*counts: int) -> list[bytes]:
    return [push(rows(count)) for count in counts]


def meet(cache: LayoutCache[PushLayout], frame: bytes, times: int) -> None:
    for _ in range(times):
        cache.meet(frame, compile_push)


def test_a_shape_is_taken_in_when_it_was_met_often_enough() -> None:
    cache: LayoutCache[PushLayout] = LayoutCache(4, compile_after=3)
    frame = push(rows(2))
    assert [cache.meet(frame, compile_push) is not None for _ in range(4)] == [
        False,
        False,
        True,
        False,
    ]
    assert [entry.rows for entry in cache.candidates(len(frame))] == [2]


def test_the_cache_is_bounded_and_the_one_unused_longest_leaves() -> None:
    cache: LayoutCache[PushLayout] = LayoutCache(2, compile_after=1)
    one, two, three = many(1, 2, 3)
    meet(cache, one, 1)
    meet(cache, two, 1)
    cache.used(cache.candidates(len(one))[0])
    meet(cache, three, 1)
    assert len(cache) == 2
    assert [len(cache.candidates(len(frame))) for frame in (one, two, three)] == [1, 0, 1]


def test_shapes_met_once_each_are_never_taken_in_and_soon_forgotten() -> None:
    cache: LayoutCache[PushLayout] = LayoutCache(2, compile_after=2)
    for frame in many(*range(40)):
        meet(cache, frame, 1)
    assert len(cache) == 0
    assert len(cache._met) <= 8


def test_few_layouts_share_a_length() -> None:
    cache: LayoutCache[PushLayout] = LayoutCache(64, compile_after=1)
    frames = []
    for column in (1, 2, 3):
        for tag in (Tag.INT32, Tag.UINT32):
            table = [list(row) for row in rows(1)]
            table[0][1] = Value(Tag.UINT32, 1)
            table[0][column] = Value(tag, 1)
            table[0][2 if column == 1 else 1] = Value(Tag.INT32, 1)
            frames.append(push(table))
    for frame in frames:
        meet(cache, frame, 1)
    assert len({len(frame) for frame in frames}) == 1
    assert 1 < len(cache.candidates(len(frames[0]))) <= LayoutCache.PER_LENGTH


def test_a_cache_of_no_layouts_takes_none_in() -> None:
    cache: LayoutCache[PushLayout] = LayoutCache(0, compile_after=1)
    meet(cache, push(rows(1)), 5)
    assert len(cache) == 0


def test_an_irregular_push_has_no_layout() -> None:
    null = Value(Tag.NULL, None)
    table = [list(row) for row in rows(4)]
    table[1][0] = table[3][0] = null
    other = [list(row) for row in rows(2)]
    other[1][2] = null
    for irregular in (table, other):
        with pytest.raises(UnsupportedError):
            compile_push(push(irregular))
