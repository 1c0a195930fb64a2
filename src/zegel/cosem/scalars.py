"""The COSEM types that hold no other values, with and without their tag byte."""

import math
import struct
from typing import Any

from zegel.cosem.length import decode_length, encode_length
from zegel.cosem.types import BitString, Tag, type_name
from zegel.errors import MalformedError

__all__ = [
    "MAX_DEPTH",
    "NUMBERS",
    "READERS",
    "STRINGS",
    "min_width",
    "read_content",
    "write_scalar",
]

MAX_DEPTH = 32
# struct code and width in bytes of the numbers that Python's integers hold as they are
NUMBERS: dict[int, tuple[str, int]] = {
    Tag.INT32: ("i", 4),
    Tag.UINT32: ("I", 4),
    Tag.BCD: ("B", 1),
    Tag.INT8: ("b", 1),
    Tag.INT16: ("h", 2),
    Tag.UINT8: ("B", 1),
    Tag.UINT16: ("H", 2),
    Tag.INT64: ("q", 8),
    Tag.UINT64: ("Q", 8),
    Tag.ENUM: ("B", 1),
    Tag.DELTA_INT8: ("b", 1),
    Tag.DELTA_INT16: ("h", 2),
    Tag.DELTA_INT32: ("i", 4),
    Tag.DELTA_UINT8: ("B", 1),
    Tag.DELTA_UINT16: ("H", 2),
    Tag.DELTA_UINT32: ("I", 4),
}
STRINGS = frozenset((int(Tag.OCTET_STRING), int(Tag.VISIBLE_STRING), int(Tag.UTF8_STRING)))
FLOATS: dict[int, tuple[str, int]] = {Tag.FLOAT32: (">f", 4), Tag.FLOAT64: (">d", 8)}
BYTES: dict[int, int] = {Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
EMPTY = frozenset((int(Tag.NULL), int(Tag.DONT_CARE)))
BOOLEAN, BIT_STRING = int(Tag.BOOLEAN), int(Tag.BIT_STRING)

_LAYOUTS = {int(tag): struct.Struct(">" + code) for tag, (code, _) in NUMBERS.items()}
# by tag: unpack_from and width, for callers that check the width themselves
READERS = {tag: (layout.unpack_from, layout.size) for tag, layout in _LAYOUTS.items()}


def min_width(tag: int) -> int | None:
    """Return the fewest content bytes of a scalar tag, or None if it is no scalar."""
    if tag in EMPTY:
        return 0
    if tag in STRINGS or tag in (BOOLEAN, BIT_STRING):
        return 1
    for table in (NUMBERS, FLOATS):
        if tag in table:
            return table[tag][1]
    return BYTES.get(tag)


def read_content(tag: int, data: bytes, at: int) -> tuple[Any, int]:
    """Read the content of a scalar of `tag` that begins at `at` (no tag byte).

    Raises:
        MalformedError: unknown tag, or data that ends early.
    """
    number = READERS.get(tag)
    if number is not None:
        unpack, width = number
        if at + width > len(data):
            raise _cut(tag, at, width, data)
        return unpack(data, at)[0], at + width
    if tag in STRINGS:
        length, at = decode_length(data, at)
        if length > len(data) - at:
            raise _cut(tag, at, length, data)
        return data[at : at + length], at + length
    if tag in EMPTY:
        return None, at
    return _read_rare(tag, data, at)


def _read_rare(tag: int, data: bytes, at: int) -> tuple[Any, int]:
    if tag == BIT_STRING:
        bits, at = decode_length(data, at)
        width = (bits + 7) // 8
        if width > len(data) - at:
            raise _cut(tag, at, width, data)
        return BitString(bits, data[at : at + width]), at + width
    width = min_width(tag) or 0
    if not width:
        raise MalformedError("data tag", at=at - 1, expected="a COSEM type", found=f"{tag:02x}")
    if at + width > len(data):
        raise _cut(tag, at, width, data)
    raw, end = data[at : at + width], at + width
    if tag == BOOLEAN:
        return (raw[0] == 1 if raw[0] < 2 else raw[0]), end
    if tag in FLOATS:
        number = struct.unpack(FLOATS[tag][0], raw)[0]
        return (raw if math.isnan(number) else number), end
    return raw, end


def _cut(tag: int, at: int, width: int, data: bytes) -> MalformedError:
    found = f"{max(0, len(data) - at)} bytes"
    return MalformedError(type_name(tag), at=at, expected=f"{width} bytes", found=found)


def write_scalar(tag: int, content: Any) -> bytes:
    """Write the content of a scalar of `tag`, without its tag byte.

    Raises:
        MalformedError: unknown tag, or content that does not fit it.
    """
    try:
        return _write(tag, content)
    except (struct.error, TypeError, ValueError, AttributeError, OverflowError, KeyError) as error:
        found = f"{type(content).__name__} that does not fit"
        raise MalformedError(type_name(tag), expected="content of its type", found=found) from error


def _write(tag: int, content: Any) -> bytes:
    if tag in NUMBERS:
        out = _LAYOUTS[tag].pack(content)
    elif tag in STRINGS:
        out = encode_length(len(content)) + _bytes(content, len(content))
    elif tag in EMPTY:
        out = b"" if content is None else _bytes(content, 0)
    elif tag == BOOLEAN:
        out = bytes((int(content),))
    elif tag == BIT_STRING:
        out = encode_length(content.bits) + _bytes(content.data, (content.bits + 7) // 8)
    elif tag in FLOATS and isinstance(content, float):
        out = struct.pack(FLOATS[tag][0], content)
    elif tag in FLOATS:
        out = _bytes(content, FLOATS[tag][1])
    else:
        out = _bytes(content, BYTES[tag])
    return out


def _bytes(content: Any, width: int) -> bytes:
    if not isinstance(content, bytes) or len(content) != width:
        raise ValueError(width)
    return content
