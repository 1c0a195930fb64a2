"""The use log (rule V7): what was opened, for whom, hash-chained, without any content.

A folder of files `use-NNNNNNNN.log`. A file is records end to end:

    4  length of the body, big-endian
    4  the same, every bit turned over: a wrong length is seen before it is followed
    …  body: msgpack of `Start` (the first record of a file) or `Entry`
    32 SHA-256 of the last record's SHA-256, then length and body

A `Start` carries the file and hash before it and all sums up to it, so a file can be checked
alone. An entry is synced before the answer it speaks of leaves.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zegel.calls.vault import OpenVerdict, UseReport
from zegel.errors import StorageError, UsageError
from zegel.vault.uselog_file import (
    FIRST_HEAD,
    MAX_RECORD,
    Damage,
    Entry,
    Scan,
    Start,
    Sums,
    encode,
    first_record,
    scan,
)

__all__ = ["FILE_BYTES", "Opening", "UseLog"]

FILE_BYTES = 4_000_000  # then a new file begins
_MAX_EPOCHS = 64  # of which the highest opened frame id is known
_MAX_RANGES = 64  # of frame ids in an entry; more are told as one
_EPOCH_SHIFT = np.uint64(40)  # frame id = epoch of the edge, then running number


@dataclass(frozen=True, slots=True)
class Opening:
    """What one call opened: (n,) arrays, `nonces` (n, 12) u8 of title and counter."""

    caller: str
    time_s: float
    frame_ids: NDArray[np.uint64]
    nonces: NDArray[np.uint8]
    verdicts: NDArray[np.uint8]


class UseLog:
    """Appends entries and sums them up. One thread and one process only."""

    def __init__(self, folder: Path, *, file_bytes: int = FILE_BYTES) -> None:
        self._folder, self._file_bytes = folder, file_bytes
        self._number = 0
        self._handle = -1
        self._size = 0
        self._head = FIRST_HEAD
        self._sums = Sums()
        self._opened: dict[int, int] = {}  # epoch: highest frame id opened
        self.damages: list[Damage] = []
        self.torn_bytes = 0  # cut off at start: a record whose answer never left

    @classmethod
    def open(cls, folder: Path, *, now_s: float, file_bytes: int = FILE_BYTES) -> Self:
        """Open the log: check the newest file, cut a torn tail off, go on behind it.

        Damage is kept in `damages`: the file stays as it is, and a new one begins that
        names it. Older files are checked by `check_older`.

        Raises:
            StorageError: it cannot be read or written.
        """
        log = cls(folder, file_bytes=file_bytes)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            for draft in folder.glob("use-*.new"):
                draft.unlink()
            if log._numbers():
                log._go_on(now_s)
            else:
                log._begin(now_s)
        except OSError as error:
            raise _failed(folder, error) from error
        return log

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @property
    def intact(self) -> bool:
        """Whether no file of the log was found damaged or missing."""
        return not self.damages

    def append(self, opening: Opening) -> int:
        """Write an entry and sync it; return how many frame ids were opened before.

        Raises:
            StorageError: it is not durable, so the answer must not leave. Nothing is kept.
        """
        ids = opening.frame_ids[opening.verdicts == OpenVerdict.OK]
        highest = dict(self._opened)
        reopened, raised = _count_reopened(ids, highest)
        entry = _entry(opening, reopened, raised)
        record, head = encode(entry, self._head)
        try:
            if self._size + len(record) > self._file_bytes:
                self._begin(opening.time_s)
                record, head = encode(entry, self._head)
            self._write(record)
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._head, self._opened = head, highest
        self._sums = _plus(self._sums, entry)
        return reopened

    def summary(self, last: int = 0) -> UseReport:
        """Sum up; `last`: only entries whose frame ids are all at or below it (0: all).

        Raises:
            UsageError: a negative `last`.
            StorageError: a file cannot be read.
        """
        if last < 0:
            raise UsageError("last frame id", expected=">= 0", found=last)
        sums, head = self._sums, self._head
        if last:
            sums, head = self._sums_to(last)
        return UseReport(
            entries=sums.entries,
            opened=sums.opened,
            refused=sums.refused,
            reopened=sums.reopened,
            head=head.hex(),
            intact=self.intact,
        )

    def check_older(self, number: int) -> None:
        """Check a file before the newest, and that the next one begins where it ends.

        What is wrong is added to `damages`.

        Raises:
            StorageError: it cannot be read.
        """
        found, name = self._scan(number), self._path(number).name
        following = self._scan_start(number + 1)
        moved = following is not None and following.previous != found.head
        if found.damage is not None:
            self._found(found.damage)
        elif found.torn or moved:
            self._found(Damage(name, found.size, "the next file does not begin where it ends"))

    def older(self) -> list[int]:
        """Return the numbers of the files before the one that is written to."""
        return [number for number in self._numbers() if number < self._number]

    def _go_on(self, now_s: float) -> None:
        """Continue behind the newest file; bring together what all files say of damage."""
        numbers = self._numbers()
        self._number = numbers[-1]
        for number in range(1, self._number):
            if number not in numbers:
                self._found(Damage(self._path(number).name, 0, "it is missing"))
        for number in numbers:
            start = self._scan_start(number)
            if start is not None and start.damaged:
                self._found(Damage(*start.damaged))
        newest = self._scan(self._number)
        self._stand_at(newest, numbers)
        if newest.damage is not None:
            self._found(newest.damage)
            self._begin(now_s, newest.damage)
            return
        self._handle = os.open(self._path(self._number), os.O_WRONLY | os.O_APPEND)
        self._size, self.torn_bytes = newest.size, newest.torn
        if newest.torn:
            os.ftruncate(self._handle, newest.size)
            os.fdatasync(self._handle)

    def _stand_at(self, newest: Scan, numbers: list[int]) -> None:
        """Take sums, hash and epochs from the newest file that has a good start."""
        found = newest
        for number in reversed(numbers[:-1]):
            if found.start is not None:
                break
            found = self._scan(number)
        if found.start is None:
            return
        self._head, self._sums = found.head, found.start.sums
        self._opened = dict(found.start.opened)
        for entry, _ in found.entries:
            self._sums = _plus(self._sums, entry)
            for epoch, highest in entry.opened:
                _raise(self._opened, epoch, highest)

    def _begin(self, now_s: float, damage: Damage | None = None) -> None:
        """Begin a file: written beside, synced, then named, so it always has its start."""
        number = self._number + 1
        start = Start(
            time_ms=int(now_s * 1000),
            number=number,
            previous=self._head,
            sums=self._sums,
            opened=sorted(self._opened.items()),
            damaged=None if damage is None else (damage.file, damage.at, damage.what),
        )
        record, head = encode(start, self._head)
        draft = self._path(number).with_suffix(".new")
        handle = os.open(draft, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _write_all(handle, record)
            os.fsync(handle)
            draft.rename(self._path(number))
            _sync_folder(self._folder)
        except BaseException:
            os.close(handle)
            raise
        self.close()
        self._handle, self._number, self._size, self._head = handle, number, len(record), head

    def _write(self, record: bytes) -> None:
        try:
            _write_all(self._handle, record)
            os.fdatasync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._size)  # no half record before the next one
            raise
        self._size += len(record)

    def _sums_to(self, last: int) -> tuple[Sums, bytes]:
        """Take off what speaks of later frames; only files that can hold such are read."""
        sums, head, number = self._sums, b"", self._number
        while True:
            found = self._scan(number)
            for entry, after in reversed(found.entries):
                if entry.highest > last:
                    sums = _plus(sums, entry, sign=-1)
                else:
                    head = head or after
            if found.start is None or found.start.sums.highest <= last:
                return sums, head or (found.start.previous if found.start else FIRST_HEAD)
            number -= 1

    def _scan(self, number: int) -> Scan:
        path = self._path(number)
        try:
            return scan(path.read_bytes(), path.name)
        except OSError as error:
            raise _failed(path, error) from error

    def _scan_start(self, number: int) -> Start | None:
        """Read only the start of a file; None if it is damaged or missing."""
        path = self._path(number)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_RECORD)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(path, error) from error
        return scan(first_record(data), path.name).start

    def _found(self, damage: Damage) -> None:
        if damage not in self.damages:
            self.damages.append(damage)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem[4:]) for path in self._folder.glob("use-????????.log"))

    def _path(self, number: int) -> Path:
        return self._folder / f"use-{number:08}.log"


def _entry(opening: Opening, reopened: int, raised: list[tuple[int, int]]) -> Entry:
    """Sum a call up. `opening` holds at least one frame."""
    ids, n = opening.frame_ids, len(opening.frame_ids)
    breaks = np.flatnonzero(np.diff(ids) != 1)
    exact = len(breaks) < _MAX_RANGES
    if exact:
        firsts, lasts = ids[np.append(0, breaks + 1)], ids[np.append(breaks, n - 1)]
        ranges = list(zip(firsts.tolist(), lasts.tolist(), strict=True))
    else:
        ranges = [(int(ids.min()), int(ids.max()))]
    rows = np.empty((n, 21), np.uint8)
    rows[:, :8] = ids.astype("<u8").view(np.uint8).reshape(n, 8)
    rows[:, 8:20] = opening.nonces
    rows[:, 20] = opening.verdicts
    return Entry(
        time_ms=int(opening.time_s * 1000),
        caller=opening.caller,
        ranges=ranges,
        exact=exact,
        opened=raised,
        verdicts=np.bincount(opening.verdicts, minlength=len(OpenVerdict)).tolist(),
        reopened=reopened,
        digest=hashlib.sha256(rows.tobytes()).digest(),
    )


def _count_reopened(
    ids: NDArray[np.uint64], highest: dict[int, int]
) -> tuple[int, list[tuple[int, int]]]:
    """Count the ids that were opened before; raise `highest`, the highest id of each epoch.

    An id at or below the highest of its epoch counts as opened before, and so does every id
    of an epoch so old that it is no longer kept. Returns the raised epochs too.
    """
    ids = np.sort(ids)
    epochs, starts = np.unique(ids >> _EPOCH_SHIFT, return_index=True)
    reopened, raised = 0, []
    for epoch, part in zip(epochs.tolist(), np.split(ids, starts)[1:], strict=True):
        known = highest.get(epoch)
        if known is None and len(highest) >= _MAX_EPOCHS and epoch < min(highest):
            reopened += len(part)
            continue
        new = np.unique(part) if known is None else np.unique(part[part > np.uint64(known)])
        reopened += len(part) - len(new)
        if len(new):
            raised.append((epoch, int(new[-1])))
            _raise(highest, epoch, int(new[-1]))
    return reopened, raised[-_MAX_EPOCHS:]


def _raise(highest: dict[int, int], epoch: int, frame_id: int) -> None:
    """Raise the highest frame id of an epoch; forget the oldest epoch above `_MAX_EPOCHS`."""
    highest[epoch] = max(frame_id, highest.get(epoch, 0))
    if len(highest) > _MAX_EPOCHS:
        del highest[min(highest)]


def _plus(sums: Sums, entry: Entry, sign: int = 1) -> Sums:
    """Return the sums with an entry added, or (`sign` -1) taken off; `highest` only rises."""
    opened = entry.verdicts[OpenVerdict.OK]
    return Sums(
        entries=sums.entries + sign,
        opened=sums.opened + sign * opened,
        refused=sums.refused + sign * (sum(entry.verdicts) - opened),
        reopened=sums.reopened + sign * entry.reopened,
        highest=max(sums.highest, entry.highest),
    )


def _write_all(handle: int, data: bytes) -> None:
    """Write all of it. A short write (a full disk) leads to the error of the next one."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _failed(path: Path, error: OSError) -> StorageError:
    return StorageError("use log", where=str(error.filename or path), found=error.strerror)
