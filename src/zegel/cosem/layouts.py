"""Layouts: the shape of a body as a NumPy dtype and a mask, compiled once, used for many frames.

Every tag and length byte of a body is a constant of its shape. A frame whose bytes equal these
constants has the same shape, field for field: the masked compare is the proof, and the fields can
be read as columns. What does not match goes to the general decoder (`zegel.cosem.axdr`).

Needs NumPy: import this module by its own name.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from zegel.cosem.stamps import CLOCK
from zegel.errors import MalformedError, UnsupportedError, ZegelError

__all__ = ["Layout", "LayoutCache", "compile_layout"]

# A-XDR tags of fixed size (IEC 62056-6-2, 4.1.5); 25..27 are date-time, date and time
NUMBERS = {
    3: "u1", 5: ">i4", 6: ">u4", 13: "u1", 15: "i1", 16: ">i2", 17: "u1", 18: ">u2",
    20: ">i8", 21: ">u8", 22: "u1", 23: ">f4", 24: ">f8",
}  # fmt: skip
BLOCKS = {26: 5, 27: 4}
NULL, ARRAY, STRUCTURE, BIT_STRING, OCTET_STRING, DATE_TIME = 0, 1, 2, 4, 9, 25
STRINGS = (OCTET_STRING, 10, 12)
MAX_DEPTH, MAX_RUNS, MAX_VALUES = 8, 8, 1024
STRIDE = 64  # frames compared at once


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """One shape: `length` bytes, fields of `dtype`, constants `want` wherever `keep` is 0xFF.

    `dtype` spans the whole frame: `head` (the bytes before the body) and `body`. A structure has
    fields `c0, c1, ...`, an array `r0, r1, ...`, one for each run of elements of equal shape
    (sub-array dtype), and a value `v`. A twelve-byte octet-string is a `CLOCK`.
    """

    length: int
    dtype: np.dtype[np.void]
    keep: NDArray[np.uint8]  # (length,)
    want: NDArray[np.uint8]  # (length,), already masked
    key: bytes = field(init=False)  # names the shape: a digest of its constants and their places
    _words: tuple[NDArray[np.uint64], NDArray[np.uint64]] = field(init=False)  # keep, want

    def __post_init__(self) -> None:
        word = np.dtype(next(f"u{size}" for size in (8, 4, 2, 1) if self.length % size == 0))
        object.__setattr__(self, "_words", (self.keep.view(word), self.want.view(word)))
        digest = sha256(self.keep.tobytes() + self.want.tobytes()).digest()
        object.__setattr__(self, "key", digest)

    def match(self, frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which frames, (n, length) u1 and contiguous, have this layout: (n,) bool."""
        keep, want = self._words
        words = frames.view(keep.dtype)
        same = np.empty(len(frames), "?")
        for at in range(0, len(frames), STRIDE):  # few at once: the masked copy stays in cache
            part = slice(at, at + STRIDE)
            same[part] = ((words[part] & keep) == want).all(axis=1)
        return same

    def view(self, frames: NDArray[np.uint8]) -> np.ndarray:
        """Return matched frames as (n,) of `dtype`. A view: copy what is to be kept."""
        return frames.view(self.dtype).reshape(len(frames))

    def mask(self, *fields: str) -> NDArray[np.uint8]:
        """Return a mask, (length,) u1, that is 0xFF in the field reached by the names `fields`."""
        mask = np.zeros(self.length, "u1")
        view = self.view(mask.reshape(1, -1))
        for name in fields:
            view = view[name]
        view[...] = np.frombuffer(b"\xff" * view.dtype.itemsize, view.dtype)[0]
        return mask

    def pinned(self, frame: NDArray[np.uint8], mask: NDArray[np.uint8]) -> "Layout":
        """Return this layout with the bytes under `mask` as constants too, as `frame` has them."""
        keep = self.keep | mask
        return Layout(self.length, self.dtype, keep, frame & keep)


def compile_layout(data: bytes, *, head: bytes) -> Layout:
    """Compile the layout of one frame.

    Args:
        data: the frame: `len(head)` bytes, then one A-XDR value that ends it.
        head: mask of the bytes before the body: 0xFF where they are constant.

    Raises:
        MalformedError: the body is cut, or bytes follow it.
        UnsupportedError: a type without a fixed place (null-data runs beyond `MAX_RUNS`,
            compact array, deltas), or nested too deep. The general decoder may still read it.
    """
    keep = bytearray(len(data))
    keep[: len(head)] = head
    end, body = _Walk(data, keep).value(len(head), 0)
    if end != len(data):
        raise MalformedError("body", at=end, expected="end of the frame", found=len(data) - end)
    dtype = _field([("head", np.dtype(f"V{len(head)}"), 0), ("body", body, len(head))], end)
    mask = np.frombuffer(bytes(keep), "u1")
    return Layout(len(data), dtype, mask, np.frombuffer(data, "u1") & mask)


def _field(parts: list[tuple[str, np.dtype[np.void], int]], size: int) -> np.dtype[np.void]:
    names, formats, offsets = zip(*parts, strict=True) if parts else ((), (), ())
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


class _Walk:
    """One walk over a body: marks its constants in `keep`, builds its dtype."""

    def __init__(self, data: bytes, keep: bytearray) -> None:
        self._data, self._keep, self._values = data, keep, 0

    def value(self, at: int, depth: int) -> tuple[int, np.dtype[np.void]]:
        """Return the end of the value at `at`, and the dtype that spans it."""
        tag = self._byte(at)
        self._keep[at] = 0xFF
        self._values += 1
        if self._values > MAX_VALUES:
            raise UnsupportedError("values in a layout", at=at, expected=f"<= {MAX_VALUES}")
        if tag == NULL:
            return at + 1, _field([], 1)
        if tag in (ARRAY, STRUCTURE):
            return self._many(tag, at, depth)
        count, start = (0, at + 1)
        if tag in STRINGS or tag == BIT_STRING:
            count, start = self._length(at + 1)
        if count > 8 * len(self._data):  # before a dtype of that size is made
            raise MalformedError("value", at=at, expected="bytes for it", found=count)
        kind = self._kind(tag, count, at)
        end = start + kind.itemsize
        if end > len(self._data):
            raise MalformedError("value", at=at, expected=f"{kind.itemsize} bytes", found="the end")
        return end, _field([("v", kind, start - at)], end - at)

    @staticmethod
    def _kind(tag: int, count: int, at: int) -> np.dtype[np.void]:
        if tag in NUMBERS:
            return np.dtype(NUMBERS[tag])
        if tag == DATE_TIME or (tag == OCTET_STRING and count == CLOCK.itemsize):
            return CLOCK
        if tag in STRINGS:
            return np.dtype(("u1", (count,)))
        if tag == BIT_STRING:
            return np.dtype(("u1", ((count + 7) // 8,)))
        if tag in BLOCKS:
            return np.dtype(("u1", (BLOCKS[tag],)))
        raise UnsupportedError("type in a layout", at=at, expected="a fixed place", found=tag)

    def _many(self, tag: int, at: int, depth: int) -> tuple[int, np.dtype[np.void]]:
        count, start = self._length(at + 1)
        if depth >= MAX_DEPTH:
            raise UnsupportedError("layout depth", at=at, expected=f"<= {MAX_DEPTH}")
        if count > len(self._data) - start:
            raise MalformedError("elements", at=at, expected="bytes for each", found=count)
        if tag == STRUCTURE:
            return self._structure(at, start, count, depth)
        return self._array(at, start, count, depth)

    def _structure(
        self, at: int, start: int, count: int, depth: int
    ) -> tuple[int, np.dtype[np.void]]:
        parts: list[tuple[str, np.dtype[np.void], int]] = []
        for index in range(count):
            end, kind = self.value(start, depth + 1)
            parts.append((f"c{index}", kind, start - at))
            start = end
        return start, _field(parts, start - at)

    def _array(self, at: int, start: int, count: int, depth: int) -> tuple[int, np.dtype[np.void]]:
        parts: list[tuple[str, np.dtype[np.void], int]] = []
        while count:
            if len(parts) == MAX_RUNS:
                raise UnsupportedError("runs in an array", at=start, expected=f"<= {MAX_RUNS}")
            end, kind = self.value(start, depth + 1)
            run = self._run(start, end, count)
            parts.append((f"r{len(parts)}", np.dtype((kind, (run,))), start - at))
            self._keep[start : start + run * (end - start)] = self._keep[start:end] * run
            start += run * (end - start)
            count -= run
        return start, _field(parts, start - at)

    def _run(self, start: int, end: int, count: int) -> int:
        """Count the elements from `start` with the shape of the first: equal constants."""
        size = end - start
        most = min(count, (len(self._data) - start) // size)
        mask = np.frombuffer(bytes(self._keep[start:end]), "u1")
        block = np.frombuffer(self._data, "u1", most * size, start).reshape(most, size) & mask
        other = (block != block[0]).any(axis=1)
        return int(other.argmax()) if other.any() else most

    def _byte(self, at: int) -> int:
        if at >= len(self._data):
            raise MalformedError("body", at=at, expected="a byte", found="the end")
        return self._data[at]

    def _length(self, at: int) -> tuple[int, int]:
        """Return the length at `at` and where its contents begin (A-XDR, BER length form)."""
        first = self._byte(at)
        size = first & 0x7F if first & 0x80 else 0
        end = at + 1 + size
        if size > 4 or end > len(self._data) or (first & 0x80 and not size):
            raise MalformedError("length", at=at, expected="1 to 5 bytes", found=f"{first:#04x}")
        self._keep[at:end] = b"\xff" * (end - at)
        return (int.from_bytes(self._data[at + 1 : end]) if size else first), end


class HasLayout(Protocol):
    """What a `LayoutCache` keeps: a layout, with what its user knows about it."""

    @property
    def layout(self) -> Layout:
        """The layout."""
        ...


L = TypeVar("L", bound=HasLayout)


class LayoutCache(Generic[L]):
    """The layouts in use: bounded, least recently used out first, with the counts of frames.

    A shape is taken in only after the general decoder has met it `compile_after` times: else a
    meter with valid keys could drive the others' layouts out with a new shape in every frame.
    `on` counts the frames decoded by a layout, `off` the others by reason.
    """

    PER_LENGTH = 4

    def __init__(self, max_layouts: int = 64, compile_after: int = 8) -> None:
        self.max_layouts, self.compile_after = max_layouts, compile_after
        self.on = 0
        self.off: Counter[str] = Counter()
        self._layouts: OrderedDict[bytes, L] = OrderedDict()
        self._met: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._layouts)

    def candidates(self, length: int) -> list[L]:
        """Return the layouts of frames of `length` bytes, at most `PER_LENGTH`, latest first."""
        return [
            entry for entry in reversed(self._layouts.values()) if entry.layout.length == length
        ]

    def used(self, entry: L) -> None:
        """Note that `entry` was of use: it leaves last."""
        if entry.layout.key in self._layouts:
            self._layouts.move_to_end(entry.layout.key)

    def meet(self, data: bytes, compiler: Callable[[bytes], L]) -> L | None:
        """Note a frame that the general decoder read; return its layout if now taken in.

        `compiler` raises `ZegelError` for a shape that has no layout.
        """
        if not self.max_layouts:
            return None
        try:
            entry = compiler(data)
        except ZegelError:
            return None
        key = entry.layout.key
        self._met[key] = self._met.pop(key, 0) + 1
        while len(self._met) > 4 * self.max_layouts:
            self._met.popitem(last=False)
        if self._met.get(key, 0) < self.compile_after or key in self._layouts:
            return None
        self._take_in(key, entry)
        return entry

    def _take_in(self, key: bytes, entry: L) -> None:
        same_length = self.candidates(entry.layout.length)
        for old in same_length[self.PER_LENGTH - 1 :]:
            del self._layouts[old.layout.key]
        self._layouts[key] = entry
        while len(self._layouts) > self.max_layouts:
            self._layouts.popitem(last=False)
