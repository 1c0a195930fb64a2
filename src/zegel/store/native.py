"""Blocks of columns in ClickHouse's Native format, built from NumPy arrays without a copy per row.

A block is `columns | rows | (name | type | values)…`; counts and the lengths of names, types and
strings are LEB128 numbers, values are little-endian (ClickHouse docs, formats/Native).
"""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["native_block", "strings"]


def native_block(
    types: Mapping[str, str], columns: Mapping[str, "np.ndarray | bytes"]
) -> list[bytes | memoryview]:
    """Return one block as buffers that stand end to end.

    Args:
        types: SQL type by column name, in the order of the block.
        columns: (n,) array of exactly that type's width, or the encoded values themselves
            (`strings`); at least one is an array.
    """
    rows = next(len(column) for column in columns.values() if isinstance(column, np.ndarray))
    parts: list[bytes | memoryview] = [_leb128(len(types)), _leb128(rows)]
    for name, kind in types.items():
        column = columns[name]
        parts += [_text(name), _text(kind)]
        if isinstance(column, np.ndarray):
            flat = np.ascontiguousarray(column)
            parts.append(flat.view("u1").data if flat.size else b"")
        else:
            parts.append(column)
    return parts


def strings(values: Sequence[str]) -> bytes:
    """Encode the values of a String column."""
    return b"".join([_text(value) for value in values])


def _text(text: str) -> bytes:
    data = text.encode()
    return _leb128(len(data)) + data


def _leb128(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
