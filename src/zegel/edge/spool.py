"""The spool: what was received, durable, until the store has it (docs/reference/spool.md).

A sealed segment is the batch: it never changes, the store reads it whole, and releasing it is
unlinking it. Nothing here is asynchronous; one thread at a time calls (`zegel.edge.commit`).
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zegel.errors import DamagedError, StorageError
from zegel.node import switches
from zegel.node.spool_format import (
    EPOCH_BITS,
    NUMBER_BITS,
    Block,
    Record,
    Segment,
    SegmentName,
    block_parts,
    frame_id,
    open_name,
    parse_name,
    parse_open_name,
    read_segment,
    whole_blocks,
)

__all__ = ["FileSpool", "Spool", "SpoolUsage"]

LOCK, EPOCH = "edge.lock", "EDGE.epoch"
INITIALISED = b"zegel spool\n"  # in the lock file once an epoch was written
DIRECTORY_MODE, FILE_MODE = 0o2750, 0o640
PROBE_BYTES = 65_536
IOV_MAX = 1024  # parts of one writev, Linux
FIRST_EPOCH_SINCE = 1_735_689_600  # 2025-01-01T00:00Z
FIRST_EPOCH_STEP = 300  # seconds; ids stay below 2**63 for 79 years
MAX_FIRST_EPOCH = (1 << EPOCH_BITS - 1) - (1 << 20)  # leaves room for starts, whatever the clock is


@dataclass(frozen=True, slots=True)
class SpoolUsage:
    """How full a spool is. `unread`: sealed and waiting for the store, oldest first."""

    open_records: int
    open_bytes: int
    unread: int
    unread_bytes: int
    syncs: int


class Spool(Protocol):
    """A durable log of records, cut into segments. `check_spool` says how it behaves."""

    @property
    def alarms(self) -> Sequence[str]:
        """What was found damaged at the start, one sentence each."""

    @property
    def usage(self) -> SpoolUsage:
        """How full it is."""

    def append(self, records: Sequence[Record]) -> range:
        """Make records durable together and return their frame ids.

        Raises:
            StorageError: none of them is in the spool; nothing may be confirmed.
        """

    def seal(self) -> SegmentName | None:
        """End the open segment so that the store may read it; None if it holds nothing."""

    def unread(self) -> Sequence[SegmentName]:
        """Return the sealed segments that are not released, oldest first."""

    def read(self, name: SegmentName) -> Segment:
        """Read a sealed segment.

        Raises:
            DamagedError: it is not what was written.
            StorageError: it is not there.
        """

    def release(self, first: int, last: int) -> bool:
        """Drop a sealed segment for good; False if there is none of that first and last."""

    def probe(self) -> None:
        """Try whether an append could succeed.

        Raises:
            StorageError: not yet.
        """

    def close(self) -> None:
        """Seal what is open and give the spool free."""


class FileSpool:
    """A spool of segment files in one folder, which it locks.

    Raises:
        StorageError: another edge holds the folder, it cannot be written, or its start
            counter is lost: without that, identifiers would repeat.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._open_first = self._size = self._count = self._number = self._syncs = 0
        self._dirty = False  # bytes of a failed append may stand behind _size
        self._sealed: dict[SegmentName, int] = {}  # bytes, oldest first
        self._released = 0  # highest frame id that was released
        self.alarms: list[str] = []
        try:
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(DIRECTORY_MODE)
            self._lock = _lock(folder / LOCK)
        except OSError as error:
            raise _failed(folder, error) from error
        try:
            self._epoch = _next_epoch(folder, self._lock)
            self._recover()
        except OSError as error:
            os.close(self._lock)
            raise _failed(folder, error) from error
        except StorageError:
            os.close(self._lock)
            raise

    @property
    def usage(self) -> SpoolUsage:
        """How full it is. A segment passed over by later releases does not count as unread."""
        unread = [size for name, size in self._sealed.items() if name.first > self._released]
        return SpoolUsage(self._count, self._size, len(unread), sum(unread), self._syncs)

    def append(self, records: Sequence[Record]) -> range:
        """Make records durable together; see `Spool.append`."""
        first = frame_id(self._epoch, self._number)
        if not records:
            return range(first, first)
        parts = block_parts(records, switches.now())
        try:
            self._ready_to_write()
            switches.step("append.before")
            _write(self._fd, parts)
            switches.step("append.after")
            switches.step("sync.before")
            os.fdatasync(self._fd)
            switches.step("sync.after")
        except OSError as error:
            self._cut_back()
            raise _failed(self._open_path, error) from error
        self._syncs += 1
        self._size += sum(map(len, parts))
        self._count += len(records)
        self._number += len(records)
        return range(first, first + len(records))

    def seal(self) -> SegmentName | None:
        """End the open segment; see `Spool.seal`."""
        if not self._count:
            return None
        name = SegmentName(self._open_first, self._count)
        try:
            if self._dirty:
                self._ready_to_write()
            self._open_path.rename(self._folder / str(name))
            self._sealed[name] = self._size
            os.close(self._fd)
            self._fd, self._size, self._count = -1, 0, 0
            _sync_folder(self._folder)
        except OSError as error:
            raise _failed(self._folder / str(name), error) from error
        return name

    def unread(self) -> Sequence[SegmentName]:
        """Return the sealed segments that are not released, oldest first."""
        return list(self._sealed)

    def read(self, name: SegmentName) -> Segment:
        """Read a sealed segment; see `Spool.read`."""
        path = self._folder / str(name)
        try:
            return read_segment(path.read_bytes(), name)
        except OSError as error:
            raise _failed(path, error) from error

    def release(self, first: int, last: int) -> bool:
        """Unlink a sealed segment; see `Spool.release`."""
        name = SegmentName(first, last - first + 1)
        if name not in self._sealed:
            return False
        path = self._folder / str(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(path, error) from error
        del self._sealed[name]
        self._released = max(self._released, last)
        return True

    def probe(self) -> None:
        """Write and sync a scratch file in the same folder; see `Spool.probe`."""
        path = self._folder / "probe.tmp"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
            try:
                _write(fd, [bytes(PROBE_BYTES)])
                os.fdatasync(fd)
            finally:
                os.close(fd)
                path.unlink()
        except OSError as error:
            raise _failed(path, error) from error

    def close(self) -> None:
        """Seal what is open and unlock the folder."""
        try:
            self.seal()
        finally:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            os.close(self._lock)

    @property
    def _open_path(self) -> Path:
        return self._folder / open_name(self._open_first)

    def _ready_to_write(self) -> None:
        """See that the open segment exists and ends where its last whole block ends."""
        if self._dirty:
            os.ftruncate(self._fd, self._size)
            self._dirty = False
        if self._fd >= 0:
            return
        self._open_first = frame_id(self._epoch, self._number)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._open_path, flags, FILE_MODE)
        try:
            os.fchmod(fd, FILE_MODE)
            _sync_folder(self._folder)
        except OSError:
            os.close(fd)
            self._open_path.unlink()
            raise
        self._fd = fd

    def _cut_back(self) -> None:
        """Take a failed append out of the file again; if even that fails, before the next one."""
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._dirty = True

    def _recover(self) -> None:
        """Seal what an earlier edge left open, up to its last whole block; list what is sealed."""
        for path in sorted(self._folder.glob("*.tmp")):
            path.unlink()
        for path in sorted(self._folder.iterdir()):
            first = parse_open_name(path.name)
            if first is not None:
                self._recover_open(path, first)
        _sync_folder(self._folder)
        for path in sorted(self._folder.iterdir()):
            name = parse_name(path.name)
            if name is not None:
                self._sealed[name] = path.stat().st_size

    def _recover_open(self, path: Path, first: int) -> None:
        """Turn one open segment into a sealed one, or drop it where nothing in it is whole."""
        data = path.read_bytes()
        blocks = whole_blocks(data)
        if not blocks:
            path.unlink()
            return
        sealed = self._folder / str(SegmentName(first, sum(len(b.records) for b in blocks)))
        end = _contiguous_end(blocks)
        if end == blocks[-1].end:
            _shorten(path, end)
            path.rename(sealed)
            return
        whole = b"".join(data[block.start : block.end] for block in blocks)
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(whole)
        scratch.chmod(FILE_MODE)
        _shorten(scratch, len(whole))
        scratch.rename(sealed)
        damaged = path.with_suffix(".damaged")
        path.rename(damaged)
        error = DamagedError("spool segment", where=f"{damaged}, byte {end}", expected="a block")
        self.alarms.append(str(error))


def _contiguous_end(blocks: list[Block]) -> int:
    """Return where the first run of blocks without a hole ends."""
    end = 0
    for block in blocks:
        if block.start != end:
            break
        end = block.end
    return end


def _shorten(path: Path, size: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, size)
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, parts: Sequence[bytes]) -> None:
    """Write all parts, one after the other; a full disk may take some of it first."""
    left = [memoryview(part) for part in parts if part]
    at = 0
    while at < len(left):
        written = os.writev(fd, left[at : at + IOV_MAX])
        while at < len(left) and written >= len(left[at]):
            written -= len(left[at])
            at += 1
        if written:
            left[at] = left[at][written:]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StorageError(
            "spool in use", where=str(path), expected="one edge", found="another edge"
        ) from error
    return fd


def _next_epoch(folder: Path, lock: int) -> int:
    """Count this start, durably. Never from the clock: identifiers must not repeat.

    Only in a new spool, where nothing is known, the count begins at the number of five minutes
    since 2025: one in place of a lost spool goes on above it, and no identifier comes again.
    """
    path = folder / EPOCH
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        text = "" if os.pread(lock, 1, 0) else str(_first_epoch() - 1)
    if not text.isdecimal() or int(text) + 1 >= 1 << EPOCH_BITS:
        expected, found = f"a start counter below {1 << EPOCH_BITS}", text[:40] or "no file"
        raise StorageError("spool epoch", where=str(path), expected=expected, found=found)
    names = [parse_name(entry.name) for entry in folder.iterdir()]
    opens = [parse_open_name(entry.name) for entry in folder.iterdir()]
    firsts = [name.first for name in names if name] + [first for first in opens if first]
    epoch = max([int(text), *[first >> NUMBER_BITS for first in firsts]]) + 1
    scratch = folder / "epoch.tmp"
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        _write(fd, [f"{epoch}\n".encode()])
        os.fsync(fd)
    finally:
        os.close(fd)
    scratch.rename(path)
    _sync_folder(folder)
    os.pwrite(lock, INITIALISED, 0)
    return epoch


def _first_epoch() -> int:
    steps = int(switches.now() - FIRST_EPOCH_SINCE) // FIRST_EPOCH_STEP
    return min(max(steps, 1), MAX_FIRST_EPOCH)


def _failed(path: Path, error: OSError) -> StorageError:
    name = errno_name(error)
    return StorageError("spool", where=str(path), expected="a disk that takes it", found=name)


def errno_name(error: OSError) -> str:
    """Return what the system says, with its symbol: `No space left on device (ENOSPC)`."""
    symbol = errno.errorcode.get(error.errno or 0, str(error.errno))
    return f"{error.strerror} ({symbol})"
