"""The store's side of the spool: find sealed segments and read them.

The store may only read the spool's folder; a segment is unlinked by the edge, on `Release`.
"""

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from zegel.errors import DamagedError, StorageError
from zegel.node.spool_format import (
    Record,
    SegmentName,
    parse_name,
    read_segment,
    whole_blocks,
)
from zegel.store.ledger import Damage

__all__ = ["Identity", "Taken", "UnreadableError", "identity", "keep", "sealed", "take"]

MOST_BYTES = 64_000_000  # of a segment; the edge ends one at a fifth of this at most
_PIECE = 1 << 24
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
Identity = tuple[int, int, int]  # device, inode, time of change in ns


class UnreadableError(StorageError):
    """A segment is in the spool, and its bytes cannot be had."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The frames of a segment: all of them, or the good ones of a damaged segment."""

    name: SegmentName
    frame_ids: list[int]
    records: list[Record]
    received: list[float]  # UTC seconds
    damage: Damage | None = None
    data: bytes = b""  # the whole file, of a damaged segment
    file: Identity = (0, 0, 0)


def sealed(folder: Path) -> list[SegmentName]:
    """Return the sealed segments, oldest first.

    Raises:
        StorageError: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - called all the time; names are all we need
    except OSError as error:
        raise StorageError("spool folder", where=str(folder), found=error.strerror) from error
    parsed = [name for name in map(parse_name, names) if name is not None]
    return sorted(parsed, key=lambda name: name.first)


def take(folder: Path, name: SegmentName) -> Taken:
    """Read a sealed segment; of a damaged one, what is good of it.

    Raises:
        StorageError: the file is gone.
        UnreadableError: it cannot be read, is no regular file, or is larger than any segment.
    """
    data, file = _read(folder / str(name))
    try:
        segment = read_segment(data, name)
    except DamagedError as error:
        return replace(_good_part(data, name, error), data=data, file=file)
    ids = list(range(name.first, name.first + name.count))
    return Taken(name, ids, segment.records, segment.received, file=file)


def identity(folder: Path, name: SegmentName) -> Identity | None:
    """Tell the file of a segment from another of that name; None if there is none."""
    try:
        return _identity((folder / str(name)).lstat())
    except OSError:
        return None


def keep(path: Path, data: bytes) -> None:
    """Write a file whole and synced; its folder is made if absent.

    Raises:
        StorageError: it cannot be written.
    """
    draft = path.with_suffix(".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        for folder in (path.parent, path.parent.parent):
            _sync_folder(folder)
    except OSError as error:
        raise StorageError("damaged segment", where=str(path), found=error.strerror) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path) -> tuple[bytes, Identity]:
    """Read a file that another zone made; never wait for it and follow no link."""
    try:
        fd = os.open(path, _FLAGS)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableError(
                    "spool segment",
                    where=str(path),
                    expected="a regular file",
                    found=stat.filemode(found.st_mode),
                )
            if found.st_size > MOST_BYTES:
                raise UnreadableError(
                    "spool segment",
                    where=str(path),
                    expected=f"<= {MOST_BYTES} bytes",
                    found=found.st_size,
                )
            parts = []
            left = MOST_BYTES
            while left > 0 and (part := os.read(fd, min(left, _PIECE))):
                parts.append(part)
                left -= len(part)
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise StorageError("spool segment", where=str(path), found=error.strerror) from error
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, str(error.errno))
        what = f"{code}, {error.strerror}"
        raise UnreadableError("spool segment", where=str(path), found=what) from error
    return b"".join(parts), _identity(found)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _good_part(data: bytes, name: SegmentName, error: DamagedError) -> Taken:
    """Keep the blocks that are whole, where their place in the sequence is certain.

    Blocks before the damage count up from the segment's first frame. Those behind it count
    down from its last one, if the damage is one stretch: of two, nobody knows how many frames
    were lost in each.
    """
    blocks = whole_blocks(data)
    ends = [0, *(block.end for block in blocks)]
    gaps = [i for i, block in enumerate(blocks) if block.start != ends[i]]
    torn_end = ends[-1] != len(data)
    head = blocks[: gaps[0]] if gaps else blocks
    tail = blocks[gaps[0] :] if len(gaps) == 1 and not torn_end else []
    records = [record for block in head for record in block.records][: name.count]
    behind = [record for block in tail for record in block.records]
    lost = name.count - len(records) - len(behind)
    if lost < 0:
        lost, behind, tail = name.count - len(records), [], []
    ids = list(range(name.first, name.first + len(records)))
    ids += range(name.first + name.count - len(behind), name.first + name.count)
    received = [block.received for block in head for _ in block.records][: len(records)]
    received += [block.received for block in tail for _ in block.records]
    what = f"{error.what}, {error.where}"
    damage = Damage(str(name), what, name.first + len(records), lost)
    return Taken(name, ids, records + behind, received, damage)
