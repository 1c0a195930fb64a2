"""A-XDR of COSEM data: bytes to typed values and back, byte for byte (IEC 62056-6-1, IEC 61334-6).

`encode(decode(x)) == x`: what could not be written back alike (a length longer than needed)
is refused. Every count is held against the bytes that are left before anything is allocated.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from itertools import chain, repeat
from typing import Any, NamedTuple

from zegel.cosem import compact
from zegel.cosem.length import decode_length, encode_length
from zegel.cosem.scalars import MAX_DEPTH, NUMBERS, READERS, STRINGS, read_content, write_scalar
from zegel.cosem.types import CompactArray, Tag, Value, type_name
from zegel.errors import MalformedError

__all__ = ["MAX_DEPTH", "decode", "decode_all", "encode"]

ARRAY, STRUCTURE, COMPACT_ARRAY = int(Tag.ARRAY), int(Tag.STRUCTURE), int(Tag.COMPACT_ARRAY)
MEMO_TRIES = 4  # how often a row shape may fail within one array before it is given up
_new: Callable[[type[Value], tuple[int, Any]], Value] = tuple.__new__  # skips Value.__new__


class _Open:
    """An array or structure whose elements are still being read."""

    __slots__ = ("count", "items", "start", "tag", "tries")

    def __init__(self, tag: int, count: int, start: int) -> None:
        self.tag, self.count, self.start = tag, count, start
        self.items: list[Value] = []
        self.tries = MEMO_TRIES if tag == ARRAY else 0


def decode(data: bytes, at: int = 0) -> tuple[Value, int]:
    """Read one value at `at`; return it and the index behind it.

    Raises:
        MalformedError: unknown tag, data that ends early, a count or depth (over 32) that
            cannot be, or a length form that is not the shortest.
    """
    stack: list[_Open] = []
    size = len(data)
    while True:
        if at >= size:
            raise MalformedError("data tag", at=at, expected="1 byte", found="end of data")
        start, tag = at, data[at]
        number = READERS.get(tag)
        if number is not None and at + number[1] < size:
            value = _new(Value, (tag, number[0](data, at + 1)[0]))
            at += 1 + number[1]
        elif tag in (STRUCTURE, ARRAY):
            count, at = decode_length(data, at + 1)
            _check_container(tag, count, start, size - at, len(stack))
            if count:
                stack.append(_Open(tag, count, start))
                continue
            value = Value(tag, ())
        elif tag == COMPACT_ARRAY:
            content, at = compact.decode(data, at + 1)
            value = Value(tag, content)
        else:
            content, at = read_content(tag, data, at + 1)
            value = _new(Value, (tag, content))
        while stack:
            parent = stack[-1]
            items = parent.items
            items.append(value)
            if parent.tries and value.tag == STRUCTURE and len(items) < parent.count:
                at = _more_rows(data, at, value, parent)
            if len(items) < parent.count:
                break
            value = _new(Value, (parent.tag, tuple(items)))
            stack.pop()
        else:
            return value, at


def decode_all(data: bytes) -> Value:
    """Read one value that fills `data` to its last byte.

    Raises:
        MalformedError: as `decode`, or bytes are left over.
    """
    value, end = decode(data)
    if end != len(data):
        raise MalformedError("data end", at=end, expected=end, found=f"{len(data)} bytes")
    return value


def encode(value: Value) -> bytes:
    """Write a value; the inverse of `decode`.

    Raises:
        MalformedError: content that does not fit its tag, or nesting over 32.
    """
    out: list[bytes] = []
    _write(value, out, 0)
    return b"".join(out)


def _write(value: Value, out: list[bytes], depth: int) -> None:
    tag, content = value
    if tag in (ARRAY, STRUCTURE):
        if depth >= MAX_DEPTH:
            raise MalformedError("nesting", expected=f"<= {MAX_DEPTH}", found=depth + 1)
        if not isinstance(content, tuple | list):
            raise MalformedError(type_name(tag), expected="values", found=type(content).__name__)
        out.append(bytes((tag,)) + encode_length(len(content)))
        for item in content:
            _write(item, out, depth + 1)
    elif tag == COMPACT_ARRAY:
        if not isinstance(content, CompactArray):
            found = type(content).__name__
            raise MalformedError("compact-array", expected="CompactArray", found=found)
        out.append(b"\x13" + compact.encode(content))
    else:
        out.append(bytes((tag & 0xFF,)) + write_scalar(tag, content))


def _check_container(tag: int, count: int, at: int, left: int, depth: int) -> None:
    """Refuse a count that the bytes left cannot hold (one each at least), or too deep a tree."""
    if count > left:
        found = f"{left} bytes"
        raise MalformedError(
            f"{type_name(tag)} count", at=at + 1, expected=f"{count} elements", found=found
        )
    if depth >= MAX_DEPTH:
        raise MalformedError("nesting", at=at, expected=f"<= {MAX_DEPTH}", found=depth + 1)


class _Row(NamedTuple):
    """How every row of one shape lies: constants (tags, lengths) and values in turn."""

    layout: struct.Struct
    constants: tuple[bytes, ...]
    tags: tuple[int, ...]


@lru_cache(maxsize=256)
def _row_layout(shape: tuple[tuple[int, int], ...]) -> _Row | None:
    """Compile rows of (tag, length) columns; None if a column's width is not constant."""
    layout, constants = ">", []
    head = b"\x02" + encode_length(len(shape))
    for tag, length in shape:
        if tag in NUMBERS:
            code, head = NUMBERS[tag][0], head + bytes((tag,))
        elif tag in STRINGS:
            code, head = f"{length}s", head + bytes((tag,)) + encode_length(length)
        else:
            return None
        layout += f"{len(head)}s{code}"
        constants.append(head)
        head = b""
    return _Row(struct.Struct(layout), tuple(constants), tuple(tag for tag, _ in shape))


def _more_rows(data: bytes, at: int, row: Value, parent: _Open) -> int:
    """Append the rows behind `row` that have its very shape; return the index behind them."""
    shape = tuple((tag, len(v) if type(v) is bytes else 0) for tag, v in row.value)
    known = _row_layout(shape) if shape else None
    if known is None:
        parent.tries = 0
        return at
    layout, constants, tags = known
    rows = min(parent.count - len(parent.items), (len(data) - at) // layout.size)
    view = memoryview(data)[at : at + rows * layout.size]
    fields = tuple(chain.from_iterable(layout.iter_unpack(view)))
    if fields[::2] != constants * rows:
        parent.tries -= 1
        width = len(constants)
        rows = next(
            row
            for row in range(rows)
            if fields[2 * width * row : 2 * width * (row + 1) : 2] != constants
        )
    contents = fields[1 : 2 * rows * len(tags) : 2]
    cells = map(_new, repeat(Value), zip(tags * rows, contents, strict=True))
    tuples = zip(*[cells] * len(tags), strict=True)
    parent.items.extend(map(_new, repeat(Value), zip(repeat(STRUCTURE), tuples, strict=False)))
    return at + rows * layout.size
