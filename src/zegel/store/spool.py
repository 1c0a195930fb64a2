"""The store's side of the spool: find sealed segments, read them, set damaged ones aside.

The store may only read the spool's folder; a segment is unlinked by the edge, on `Release`.
"""

import os
import shutil
from dataclasses import dataclass
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

__all__ = ["Taken", "sealed", "set_aside", "take"]


@dataclass(frozen=True, slots=True)
class Taken:
    """The frames of a segment: all of them, or the good ones of a damaged segment."""

    name: SegmentName
    frame_ids: list[int]
    records: list[Record]
    received: list[float]  # UTC seconds
    damage: Damage | None = None


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
        StorageError: the file is gone or cannot be read.
    """
    path = folder / str(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError("spool segment", where=str(path), found=error.strerror) from error
    try:
        segment = read_segment(data, name)
    except DamagedError as error:
        return _good_part(data, name, error)
    ids = list(range(name.first, name.first + name.count))
    return Taken(name, ids, segment.records, segment.received)


def set_aside(folder: Path, name: SegmentName, into: Path) -> None:
    """Copy a damaged segment into the store's own folder, synced.

    Raises:
        StorageError: it cannot be read or written.
    """
    target = into / str(name)
    draft = target.with_suffix(".new")
    try:
        into.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(folder / str(name), draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(target)
    except OSError as error:
        raise StorageError("damaged segment", where=str(target), found=error.strerror) from error


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
