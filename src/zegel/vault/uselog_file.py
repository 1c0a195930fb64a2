"""One file of the use log: its records, how they chain, and what a torn or damaged one is."""

import hashlib
import struct
from dataclasses import dataclass, field

import msgspec

__all__ = [
    "FIRST_HEAD",
    "MAX_RECORD",
    "Damage",
    "Entry",
    "Scan",
    "Start",
    "Sums",
    "encode",
    "first_record",
    "scan",
]

_HASH_BYTES = 32
FIRST_HEAD = bytes(_HASH_BYTES)  # stands before the first record of all
_LENGTHS = struct.Struct(">II")  # of the body, and with every bit turned over
_HEAD_BYTES = _LENGTHS.size
_MAX_BODY = 65_536
MAX_RECORD = _HEAD_BYTES + _MAX_BODY + _HASH_BYTES


class Sums(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Sums over entries. `highest` is the highest frame id among them."""

    entries: int = 0
    opened: int = 0
    refused: int = 0
    reopened: int = 0
    highest: int = 0


class Start(msgspec.Struct, frozen=True, array_like=True, tag=0, forbid_unknown_fields=True):
    """First record of a file: where the log stood.

    `previous` is the hash of the last good record before this file, `opened` the highest
    frame id opened in each epoch, `damaged` (file, byte, what) why the file before ended.
    """

    time_ms: int
    number: int
    previous: bytes
    sums: Sums
    opened: list[tuple[int, int]]
    damaged: tuple[str, int, str] | None


class Entry(msgspec.Struct, frozen=True, array_like=True, tag=1, forbid_unknown_fields=True):
    """One call that opened frames.

    `ranges` first and last frame ids of its runs; if `exact` is false there were too many and
    one range covers them all. `opened` is the highest frame id opened in each epoch.
    `verdicts` counts by `OpenVerdict`. `digest` is the SHA-256 of 21 bytes a frame: frame id
    (little-endian u64), title, counter (big-endian u32), verdict.
    """

    time_ms: int
    caller: str
    ranges: list[tuple[int, int]]
    exact: bool
    opened: list[tuple[int, int]]
    verdicts: list[int]
    reopened: int
    digest: bytes

    @property
    def highest(self) -> int:
        """Highest frame id."""
        return max((last for _, last in self.ranges), default=0)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file of the log, and at which byte."""

    file: str
    at: int
    what: str

    def __str__(self) -> str:
        return f"use log damaged at byte {self.at} of {self.file}: {self.what}"


@dataclass(slots=True)
class Scan:
    """What is good in a file, from its start to byte `size`; `torn` bytes follow it."""

    start: Start | None = None
    entries: list[tuple[Entry, bytes]] = field(default_factory=list)  # each with its hash
    head: bytes = FIRST_HEAD
    size: int = 0
    torn: int = 0
    damage: Damage | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Start | Entry] = msgspec.msgpack.Decoder(Start | Entry)


def encode(record: Start | Entry, head: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of a record behind `head`, and its hash."""
    body = _ENCODER.encode(record)
    framed = _LENGTHS.pack(len(body), len(body) ^ 0xFFFFFFFF) + body
    after = hashlib.sha256(head + framed).digest()
    return framed + after, after


def scan(data: bytes, name: str) -> Scan:
    """Read a file to its end, or to the first record that is torn or damaged.

    Torn is only the very last record, cut short or with zeros where its hash should be: what
    a dying process or machine leaves of a record that was not yet synced. All else is damage.
    """
    found = Scan()
    while found.size < len(data):
        at = found.size
        end = _end(data, at)
        if end is None:
            found.torn = len(data) - at
            break
        what = "its length is wrong" if end < 0 else _take(found, data, at, end)
        if what:
            found.damage = Damage(name, at, what)
            break
    if found.start is None and found.damage is None:
        found.damage = Damage(name, 0, "it has no start")
    return found


def first_record(data: bytes) -> bytes:
    """Return the first record of a file of which `data` is the beginning; empty if torn."""
    return data[: _end(data, 0) or 0]


def _end(data: bytes, at: int) -> int | None:
    """Return where the record at byte `at` ends; None if it is torn, -1 if damaged."""
    if len(data) - at < _HEAD_BYTES or not any(data[at:]):
        return None
    length, turned = _LENGTHS.unpack_from(data, at)
    if length ^ 0xFFFFFFFF != turned or length > _MAX_BODY:
        return -1
    end: int = at + _HEAD_BYTES + length + _HASH_BYTES
    if end > len(data) or (end == len(data) and not any(data[end - _HASH_BYTES :])):
        return None
    return end


def _take(found: Scan, data: bytes, at: int, end: int) -> str:
    """Add a record to what was found; return what is wrong with it, or nothing."""
    framed, after = data[at : end - _HASH_BYTES], data[end - _HASH_BYTES : end]
    try:
        record = _DECODER.decode(framed[_HEAD_BYTES:])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "a record cannot be read"
    if isinstance(record, Start) != (at == 0):
        return "a start stands only at the start"
    head = record.previous if isinstance(record, Start) else found.head
    if hashlib.sha256(head + framed).digest() != after:
        return "a hash does not fit"
    if isinstance(record, Start):
        found.start = record
    else:
        found.entries.append((record, after))
    found.head, found.size = after, end
    return ""
