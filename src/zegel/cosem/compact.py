"""Compact arrays: one type description, then untagged contents (IEC 62056-5-3, compact-array)."""

from zegel.cosem.length import decode_length, encode_length
from zegel.cosem.scalars import MAX_DEPTH, min_width, read_content, write_scalar
from zegel.cosem.types import ArrayType, CompactArray, StructureType, Tag, TypeDescription, Value
from zegel.errors import MalformedError

__all__ = ["decode", "encode"]

ARRAY, STRUCTURE = int(Tag.ARRAY), int(Tag.STRUCTURE)
VALUES_PER_BYTE = 4  # null-data takes no byte here: what one byte may unfold to
VALUES_FREE = 1024


def decode(data: bytes, at: int) -> tuple[CompactArray, int]:
    """Read a compact-array whose type description begins at `at` (behind tag 19).

    Raises:
        MalformedError: a description or content that cannot be, contents that end inside an
            element, or that would unfold to far more values than there are bytes.
    """
    description, at = _read_description(data, at, 0)
    length, at = decode_length(data, at)
    end = at + length
    if end > len(data):
        found = f"{len(data) - at} bytes"
        raise MalformedError("compact-array", at=at, expected=f"{length} bytes", found=found)
    if length and not _width(description):
        raise MalformedError("compact-array", at=at, expected="no contents", found=length)
    reader = _Contents(data[:end], at, VALUES_PER_BYTE * length + VALUES_FREE)
    items = []
    while reader.at < end:
        items.append(reader.read(description))
    return CompactArray(description, tuple(items)), end


def encode(array: CompactArray) -> bytes:
    """Write a compact-array without its tag; the inverse of `decode`.

    Raises:
        MalformedError: elements that do not fit the description.
    """
    contents = b"".join(_write(array.description, item) for item in array.items)
    if array.items and not _width(array.description):
        raise MalformedError("compact-array", expected="elements with bytes", found="none")
    return _write_description(array.description, 0) + encode_length(len(contents)) + contents


def _width(description: TypeDescription) -> int:
    """Return the fewest bytes that an element takes; what stands under a count of 0 is skipped."""
    if isinstance(description, ArrayType):
        return description.length and description.length * _width(description.item)
    if isinstance(description, StructureType):
        return sum(map(_width, description.items))
    return min_width(description) or 0


def _read_description(data: bytes, at: int, depth: int) -> tuple[TypeDescription, int]:
    if depth > MAX_DEPTH:
        raise MalformedError("nesting", at=at, expected=f"<= {MAX_DEPTH}", found=depth)
    if at >= len(data):
        raise MalformedError("type description", at=at, expected="1 byte", found="end of data")
    tag = data[at]
    if tag == ARRAY:
        if at + 3 > len(data):
            raise MalformedError("array count", at=at + 1, expected="2 bytes", found="end of data")
        count = int.from_bytes(data[at + 1 : at + 3], "big")
        item, end = _read_description(data, at + 3, depth + 1)
        if count and not _width(item):  # else one byte could unfold to 65535 values
            raise MalformedError("array type", at=at, expected="items with bytes", found="none")
        return ArrayType(count, item), end
    if tag == STRUCTURE:
        count, end = decode_length(data, at + 1)
        if count > len(data) - end:
            found = f"{len(data) - end} bytes"
            raise MalformedError(
                "structure type", at=at + 1, expected=f"{count} types", found=found
            )
        items = []
        for _ in range(count):
            item, end = _read_description(data, end, depth + 1)
            items.append(item)
        return StructureType(tuple(items)), end
    if min_width(tag) is None:
        raise MalformedError("type description", at=at, expected="a COSEM type", found=f"{tag:02x}")
    return tag, at + 1


def _write_description(description: TypeDescription, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise MalformedError("nesting", expected=f"<= {MAX_DEPTH}", found=depth)
    if isinstance(description, ArrayType):
        if not 0 <= description.length <= 0xFFFF:
            raise MalformedError("array count", expected="0..65535", found=description.length)
        count = description.length.to_bytes(2, "big")
        return b"\x01" + count + _write_description(description.item, depth + 1)
    if isinstance(description, StructureType):
        items = b"".join(_write_description(item, depth + 1) for item in description.items)
        return b"\x02" + encode_length(len(description.items)) + items
    if min_width(description) is None:
        raise MalformedError("type description", expected="a COSEM type", found=description)
    return bytes((description,))


class _Contents:
    """Reads elements one after another, within a bound on the values they unfold to."""

    __slots__ = ("at", "data", "left")

    def __init__(self, data: bytes, at: int, left: int) -> None:
        self.data, self.at, self.left = data, at, left

    def read(self, description: TypeDescription) -> Value:
        self.left -= 1
        if self.left < 0:
            raise MalformedError("compact-array", at=self.at, expected="fewer empty values")
        if isinstance(description, ArrayType):
            room = len(self.data) - self.at
            if _width(description) > room:
                found = f"{room} bytes"
                raise MalformedError(
                    "array", at=self.at, expected=f"{description.length} items", found=found
                )
            items = tuple([self.read(description.item) for _ in range(description.length)])
            return Value(ARRAY, items)
        if isinstance(description, StructureType):
            return Value(STRUCTURE, tuple([self.read(item) for item in description.items]))
        content, self.at = read_content(description, self.data, self.at)
        return Value(description, content)


def _write(description: TypeDescription, value: Value) -> bytes:
    if isinstance(description, int):
        if value.tag != description:
            raise MalformedError("compact-array item", expected=description, found=value.tag)
        return write_scalar(description, value.value)
    if isinstance(description, ArrayType):
        tag, types = ARRAY, (description.item,) * description.length
    else:
        tag, types = STRUCTURE, description.items
    if value.tag != tag or len(value.value) != len(types):
        raise MalformedError("compact-array item", expected=f"{len(types)} values of tag {tag}")
    return b"".join(map(_write, types, value.value))
