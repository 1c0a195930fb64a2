"""COSEM data types: their tags, and values that keep their type (IEC 62056-5-3, Data)."""

from enum import IntEnum
from typing import Any, NamedTuple

__all__ = [
    "ArrayType",
    "BitString",
    "CompactArray",
    "StructureType",
    "Tag",
    "TypeDescription",
    "Value",
    "type_name",
]


class Tag(IntEnum):
    """Tag byte of each choice of `Data`; the standard's long names stand in `TYPE_NAMES`."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    INT32 = 5
    UINT32 = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INT8 = 15
    INT16 = 16
    UINT8 = 17
    UINT16 = 18
    COMPACT_ARRAY = 19
    INT64 = 20
    UINT64 = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INT8 = 28
    DELTA_INT16 = 29
    DELTA_INT32 = 30
    DELTA_UINT8 = 31
    DELTA_UINT16 = 32
    DELTA_UINT32 = 33
    DONT_CARE = 255


# Names as IEC 62056-5-3 writes them.
TYPE_NAMES = {
    Tag.NULL: "null-data",
    Tag.ARRAY: "array",
    Tag.STRUCTURE: "structure",
    Tag.BOOLEAN: "boolean",
    Tag.BIT_STRING: "bit-string",
    Tag.INT32: "double-long",
    Tag.UINT32: "double-long-unsigned",
    Tag.OCTET_STRING: "octet-string",
    Tag.VISIBLE_STRING: "visible-string",
    Tag.UTF8_STRING: "utf8-string",
    Tag.BCD: "bcd",
    Tag.INT8: "integer",
    Tag.INT16: "long",
    Tag.UINT8: "unsigned",
    Tag.UINT16: "long-unsigned",
    Tag.COMPACT_ARRAY: "compact-array",
    Tag.INT64: "long64",
    Tag.UINT64: "long64-unsigned",
    Tag.ENUM: "enum",
    Tag.FLOAT32: "float32",
    Tag.FLOAT64: "float64",
    Tag.DATE_TIME: "date-time",
    Tag.DATE: "date",
    Tag.TIME: "time",
    Tag.DELTA_INT8: "delta-integer",
    Tag.DELTA_INT16: "delta-long",
    Tag.DELTA_INT32: "delta-double-long",
    Tag.DELTA_UINT8: "delta-unsigned",
    Tag.DELTA_UINT16: "delta-long-unsigned",
    Tag.DELTA_UINT32: "delta-double-long-unsigned",
    Tag.DONT_CARE: "dont-care",
}


class Value(NamedTuple):
    """One COSEM value: its tag (an int of `Tag`) and its content.

    Content by tag: null and don't-care `None`; array and structure a tuple of `Value`;
    boolean `bool` (or the int 2..255 that stood on the wire for true); bit-string `BitString`;
    integers, enum and bcd `int` (bcd: the byte as it is); octet-, visible- and utf8-string,
    date-time, date and time `bytes`; floats `float` (a NaN keeps its bytes); compact-array
    `CompactArray`. `Any` because the tag, not the Python type, says what it is.
    """

    tag: int
    value: Any


class BitString(NamedTuple):
    """A bit-string: its length in bits and its bytes, first bit highest, padding kept."""

    bits: int
    data: bytes


class ArrayType(NamedTuple):
    """Type description of an array inside a compact-array: a fixed count of one type."""

    length: int
    item: "TypeDescription"


class StructureType(NamedTuple):
    """Type description of a structure inside a compact-array."""

    items: "tuple[TypeDescription, ...]"


TypeDescription = int | ArrayType | StructureType


class CompactArray(NamedTuple):
    """An array whose elements share one type description (IEC 62056-5-3, compact-array)."""

    description: TypeDescription
    items: tuple[Value, ...]


def type_name(tag: int) -> str:
    """Return the standard's name of a tag, or `tag N` for an unknown one."""
    return TYPE_NAMES[Tag(tag)] if tag in TYPE_NAMES else f"tag {tag}"
