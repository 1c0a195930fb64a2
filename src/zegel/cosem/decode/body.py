"""COSEM values as JSON: a tree that keeps every type."""

import math
from typing import Any

from zegel.cosem.types import (
    ArrayType,
    BitString,
    CompactArray,
    StructureType,
    Tag,
    TypeDescription,
    Value,
    type_name,
)

__all__ = ["plain", "tree"]

WIDE = (Tag.INT64, Tag.UINT64)


def tree(value: Value) -> dict[str, Any]:
    """Return `{"type": name, "value": …}`; containers hold a list of such trees.

    A compact-array adds `description`, a bit-string `bits`.
    """
    name, content = type_name(value.tag), value.value
    if value.tag in (Tag.ARRAY, Tag.STRUCTURE):
        return {"type": name, "value": [tree(item) for item in content]}
    if isinstance(content, CompactArray):
        items = [tree(item) for item in content.items]
        return {"type": name, "description": _description(content.description), "value": items}
    if isinstance(content, BitString):
        return {"type": name, "bits": content.bits, "value": content.data.hex()}
    return {"type": name, "value": plain(value)}


def plain(value: Value) -> bool | int | float | str | None:
    """Return a scalar's content for JSON: bytes as hex, 64-bit numbers as strings."""
    content: Any = value.value
    if isinstance(content, BitString):
        return content.data.hex()
    if isinstance(content, bytes):
        return content.hex()
    if value.tag in WIDE or (isinstance(content, float) and not math.isfinite(content)):
        return str(content)
    plain_content: bool | int | float | None = content
    return plain_content


def _description(description: TypeDescription) -> Any:
    if isinstance(description, ArrayType):
        items = _description(description.item)
        return {"type": "array", "length": description.length, "item": items}
    if isinstance(description, StructureType):
        return {"type": "structure", "items": [_description(item) for item in description.items]}
    return type_name(description)
