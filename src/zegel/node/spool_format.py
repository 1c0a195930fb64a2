"""The form of spool segments: what the edge writes and the store reads (docs/reference/spool.md).

A segment is blocks end to end; a block is one group commit. All numbers are little-endian:

    block   "ZSP1" | u32 n | u32 length | u32 crc32 | f64 received | body (length bytes)
    body    n record heads | n contexts end to end | n frames end to end
    head    u32 frame length | u8 source | u8 mark | u16 peer port | 16 B peer address
            | u16 context length                                      (26 bytes)

The CRC covers n, length, received and the body, so that no run of zeros is a block. A record
has no identifier of its own: the name of its segment gives the first, and they count up.
Pure functions of bytes; no file is opened here.
"""

import ipaddress
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

from zegel.errors import DamagedError

__all__ = [
    "EPOCH_BITS",
    "NUMBER_BITS",
    "RECORD_HEAD",
    "Block",
    "Mark",
    "Record",
    "Segment",
    "SegmentName",
    "Source",
    "block_parts",
    "encode_block",
    "frame_id",
    "iter_blocks",
    "open_name",
    "pack_address",
    "parse_name",
    "parse_open_name",
    "read_segment",
    "show_address",
    "whole_blocks",
]

MAGIC = b"ZSP1"
HEAD = struct.Struct("<4sIIId")  # magic, n, length of the body, crc32, received (UTC seconds)
SUMMED = struct.Struct("<IId")  # the part of the head that the CRC covers
RECORD_HEAD = struct.Struct("<IBBH16sH")
NUMBER_BITS = 40  # frame_id = edge epoch << 40 | running number in that epoch
EPOCH_BITS = 24
MAX_CONTEXT = 0xFFFF
V4_MAPPED = bytes(10) + b"\xff\xff"
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})\.seg")
_OPEN_NAME = re.compile(r"([0-9a-f]{16})\.open")


class Source(IntEnum):
    """How a frame came to the node."""

    PUSH_TCP = 0
    PUSH_UDP = 1
    PULL = 2


class Mark(IntEnum):
    """What the edge saw of the transport frame. Unless NONE, `frame` holds raw bytes as seen."""

    NONE = 0
    FRAMING = 1
    TOO_LARGE = 2


class Record(NamedTuple):
    """One received frame, as it goes into the spool and comes out of it.

    `frame` is the APDU without its wrapper header; with a mark it is the raw bytes from the
    start of that header, bounded. `address` is 16 bytes (IPv6, or IPv4 mapped into it).
    """

    frame: bytes
    source: int = Source.PUSH_TCP
    mark: int = Mark.NONE
    port: int = 0
    address: bytes = bytes(16)
    context: bytes = b""


@dataclass(frozen=True, slots=True)
class Block:
    """One group commit. `start` and `end` are its bytes in the segment."""

    start: int
    end: int
    received: float  # UTC seconds, when the block was written
    records: list[Record]


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What the name of a sealed segment says: its first frame id and its number of frames."""

    first: int
    count: int

    @property
    def last(self) -> int:
        """Frame id of the last frame."""
        return self.first + self.count - 1

    def __str__(self) -> str:
        return f"{self.first:016x}-{self.count:08x}.seg"


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed segment, read and checked. Frame `i` of `records` has the id `name.first + i`."""

    name: SegmentName
    records: list[Record]
    received: list[float]  # UTC seconds, one per record


def frame_id(epoch: int, number: int) -> int:
    """Return the identifier of record `number` of the edge's `epoch`."""
    return epoch << NUMBER_BITS | number


def open_name(first: int) -> str:
    """Return the file name of a segment that is being written."""
    return f"{first:016x}.open"


def parse_name(name: str) -> SegmentName | None:
    """Return what the name of a sealed segment says; None if it is no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return SegmentName(int(match[1], 16), int(match[2], 16))


def parse_open_name(name: str) -> int | None:
    """Return the first frame id of a segment being written; None if it is no such name."""
    match = _OPEN_NAME.fullmatch(name)
    return None if match is None else int(match[1], 16)


def pack_address(host: str) -> bytes:
    """Return the 16 bytes of an IP address; IPv4 is mapped (::ffff:a.b.c.d), no scope is kept.

    What is no IP address becomes 16 zero bytes: a peer that was gone before it was asked.
    """
    try:
        return V4_MAPPED + socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        pass
    try:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        return bytes(16)


def show_address(address: bytes) -> str:
    """Return the text of a 16-byte address, IPv4 in its own form; empty for 16 zero bytes."""
    if not any(address):
        return ""
    if address[:12] == V4_MAPPED:
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))


def block_parts(records: Sequence[Record], received: float) -> list[bytes]:
    """Return one block in parts to be written one after the other; frames are not copied.

    At least one record, contexts of at most 65 535 bytes.
    """
    pack = RECORD_HEAD.pack
    heads = b"".join(
        [
            pack(len(frame), source, mark, port, address, len(context))
            for frame, source, mark, port, address, context in records
        ]
    )
    parts = [heads, *[r.context for r in records if r.context], *[r.frame for r in records]]
    n, length = len(records), sum(map(len, parts))
    crc = crc32(SUMMED.pack(n, length, received))
    for part in parts:
        crc = crc32(part, crc)
    return [HEAD.pack(MAGIC, n, length, crc, received), *parts]


def encode_block(records: Sequence[Record], received: float) -> bytes:
    """Write one block; see `block_parts`."""
    return b"".join(block_parts(records, received))


def iter_blocks(data: bytes, start: int = 0) -> Iterator[Block]:
    """Give the blocks of a segment from byte `start` on, each checked before it is given.

    Raises:
        DamagedError: at the first block that is cut or not what was written. Whatever was
            given before is right. In a sealed segment: set the file aside; in one that was
            being written: the torn tail, of which nothing was confirmed.
    """
    view = memoryview(data)
    while start < len(data):
        block = _read_block(data, view, start)
        yield block
        start = block.end


def whole_blocks(data: bytes) -> list[Block]:
    """Return the whole blocks of a segment that was being written when its edge died.

    Behind a block that is not whole, reading goes on only where that block's own length
    leads: bytes that a meter chose are never searched for something like a block.
    """
    blocks: list[Block] = []
    start = 0
    while start < len(data):
        try:
            for block in iter_blocks(data, start):
                blocks.append(block)
                start = block.end
        except DamagedError:
            if len(data) - start < HEAD.size or not data.startswith(MAGIC, start):
                break
            start += HEAD.size + int(HEAD.unpack_from(data, start)[2])
    return blocks


def read_segment(data: bytes, name: SegmentName) -> Segment:
    """Read a sealed segment whole.

    Raises:
        DamagedError: a block is not what was written, or the records are not as many as the
            name says. Nothing of it may be used as if it were complete: set the file aside.
    """
    records: list[Record] = []
    received: list[float] = []
    try:
        for block in iter_blocks(data):
            records += block.records
            received += [block.received] * len(block.records)
    except DamagedError as error:
        where = f"{name}, {error.where}"
        raise DamagedError(
            error.what, where=where, expected=error.expected, found=error.found
        ) from error
    if len(records) != name.count:
        raise DamagedError(
            "spool segment", where=str(name), expected=f"{name.count} frames", found=len(records)
        )
    return Segment(name, records, received)


def _read_block(data: bytes, view: memoryview, start: int) -> Block:
    """Read and check the block at byte `start`; the sum is checked before anything is used."""
    if len(data) - start < HEAD.size:
        found = f"{len(data) - start} bytes"
        raise DamagedError("spool block head", at=start, expected=f"{HEAD.size} bytes", found=found)
    magic, n, length, crc, received = HEAD.unpack_from(data, start)
    if magic != MAGIC:
        raise DamagedError("spool block", at=start, expected=MAGIC.hex(), found=magic.hex())
    begin, end = start + HEAD.size, start + HEAD.size + length
    if end > len(data):
        found = f"{len(data) - begin} bytes"
        raise DamagedError("spool block body", at=begin, expected=f"{length} bytes", found=found)
    summed = crc32(view[begin:end], crc32(SUMMED.pack(n, length, received)))
    if summed != crc:
        raise DamagedError(
            "spool block crc32", at=start, expected=f"{crc:08x}", found=f"{summed:08x}"
        )
    return Block(start, end, received, _read_records(data, begin, end, n))


def _read_records(data: bytes, begin: int, end: int, n: int) -> list[Record]:
    """Cut the body of a block into its records."""
    context_at = begin + n * RECORD_HEAD.size
    if n == 0 or context_at > end:
        found = f"{n} records in {end - begin} bytes"
        raise DamagedError("spool block", at=begin, expected="at least one record", found=found)
    heads = list(RECORD_HEAD.iter_unpack(memoryview(data)[begin:context_at]))
    frame_at = context_at + sum(head[5] for head in heads)
    if frame_at + sum(head[0] for head in heads) != end:
        expected = f"records that fill {end - begin} bytes"
        raise DamagedError("spool block", at=begin, expected=expected, found="others")
    records: list[Record] = []
    for length, source, mark, port, address, size in heads:
        frame = data[frame_at : frame_at + length]
        context = data[context_at : context_at + size] if size else b""
        records.append(Record(frame, source, mark, port, address, context))
        frame_at += length
        context_at += size
    return records
