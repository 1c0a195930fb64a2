"""Hypothesis strategies for COSEM values of every type."""

import struct

from hypothesis import strategies as st

from zegel.cosem.types import (
    ArrayType,
    BitString,
    CompactArray,
    StructureType,
    Tag,
    TypeDescription,
    Value,
)

_SIGNED = {Tag.INT8: 8, Tag.INT16: 16, Tag.INT32: 32, Tag.INT64: 64}
_SIGNED |= {Tag.DELTA_INT8: 8, Tag.DELTA_INT16: 16, Tag.DELTA_INT32: 32}
_UNSIGNED = {Tag.UINT8: 8, Tag.UINT16: 16, Tag.UINT32: 32, Tag.UINT64: 64, Tag.ENUM: 8, Tag.BCD: 8}
_UNSIGNED |= {Tag.DELTA_UINT8: 8, Tag.DELTA_UINT16: 16, Tag.DELTA_UINT32: 32}
_BYTES = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}


def _bit_string(bits: int) -> st.SearchStrategy[BitString]:
    width = (bits + 7) // 8
    return st.builds(BitString, st.just(bits), st.binary(min_size=width, max_size=width))


def _content(tag: int) -> st.SearchStrategy[object]:
    if tag in _SIGNED:
        top = 1 << (_SIGNED[Tag(tag)] - 1)
        return st.integers(-top, top - 1)
    if tag in _UNSIGNED:
        return st.integers(0, (1 << _UNSIGNED[Tag(tag)]) - 1)
    if tag in _BYTES:
        return st.binary(min_size=_BYTES[Tag(tag)], max_size=_BYTES[Tag(tag)])
    return _OTHER[Tag(tag)]


_OTHER: dict[Tag, st.SearchStrategy[object]] = {
    Tag.NULL: st.none(),
    Tag.DONT_CARE: st.none(),
    Tag.BOOLEAN: st.booleans() | st.integers(2, 255),
    Tag.BIT_STRING: st.integers(0, 20).flatmap(_bit_string),
    Tag.OCTET_STRING: st.binary(max_size=20) | st.just(bytes(200)),
    Tag.VISIBLE_STRING: st.binary(max_size=9),
    Tag.UTF8_STRING: st.text("aé€😀", max_size=9).map(str.encode),
    Tag.FLOAT32: st.floats(width=32, allow_nan=False) | st.just(struct.pack(">I", 0x7F800001)),
    Tag.FLOAT64: st.floats(allow_nan=False) | st.just(bytes.fromhex("fff8000000000001")),
}
SCALAR_TAGS = sorted(
    int(tag) for tag in Tag if tag not in (Tag.ARRAY, Tag.STRUCTURE, Tag.COMPACT_ARRAY)
)


def scalars() -> st.SearchStrategy[Value]:
    """Return values of every type that holds no other."""
    return st.sampled_from(SCALAR_TAGS).flatmap(_of_tag)


def _of_tag(tag: int) -> st.SearchStrategy[Value]:
    return st.builds(Value, st.just(tag), _content(tag))


def _sized(description: TypeDescription) -> bool:
    if isinstance(description, ArrayType):
        return description.length > 0 and _sized(description.item)
    if isinstance(description, StructureType):
        return any(map(_sized, description.items))
    return description not in (Tag.NULL, Tag.DONT_CARE)


def _composite(inner: st.SearchStrategy[TypeDescription]) -> st.SearchStrategy[TypeDescription]:
    arrays = st.builds(ArrayType, st.integers(0, 3), inner.filter(_sized))
    return arrays | st.builds(StructureType, st.lists(inner, max_size=4).map(tuple))


descriptions = st.recursive(st.sampled_from(SCALAR_TAGS), _composite, max_leaves=6)


def described(description: TypeDescription) -> st.SearchStrategy[Value]:
    """Return values that fit a type description."""
    if isinstance(description, ArrayType):
        items = st.tuples(*[described(description.item)] * description.length)
        return st.builds(Value, st.just(int(Tag.ARRAY)), items)
    if isinstance(description, StructureType):
        items = st.tuples(*map(described, description.items))
        return st.builds(Value, st.just(int(Tag.STRUCTURE)), items)
    return _of_tag(description)


def compact_arrays() -> st.SearchStrategy[Value]:
    """Return compact-arrays over any type description, nested ones too."""

    def of(description: TypeDescription) -> st.SearchStrategy[Value]:
        many = 4 if _sized(description) else 0
        items = st.lists(described(description), max_size=many).map(tuple)
        array = st.builds(CompactArray, st.just(description), items)
        return st.builds(Value, st.just(int(Tag.COMPACT_ARRAY)), array)

    return descriptions.flatmap(of)


def _container(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    tags = st.sampled_from([int(Tag.ARRAY), int(Tag.STRUCTURE)])
    mixed = st.builds(Value, tags, st.lists(inner, max_size=5).map(tuple))
    return mixed | st.lists(inner, min_size=1, max_size=4).flatmap(_rows)


def _rows(cells: list[Value]) -> st.SearchStrategy[Value]:
    """Return arrays of rows that are mostly alike: what the row memo meets."""
    row, empty = Value(int(Tag.STRUCTURE), tuple(cells)), Value(int(Tag.STRUCTURE), ())
    odd = Value(int(Tag.STRUCTURE), (*cells[1:], Value(int(Tag.UINT8), 7)))
    rows = st.lists(st.sampled_from([row, row, row, odd, empty]), max_size=9).map(tuple)
    return st.builds(Value, st.just(int(Tag.ARRAY)), rows)


def values() -> st.SearchStrategy[Value]:
    """Return COSEM values of every type, nested."""
    return st.recursive(scalars() | compact_arrays(), _container, max_leaves=8)
