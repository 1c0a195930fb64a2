"""The spool alone: group commits of 30 and 256 frames, beside a bare write and fdatasync."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zegel.edge.spool import FileSpool
from zegel.node.spool_format import Record

__all__ = ["main"]

FRAME_BYTES = 2766  # a push of 96 quarters, sealed
GROUPS = (30, 256)  # frames in one commit: 10 000/s with the node's pause, and a crowd
SEGMENT_BYTES = 8_000_000


def main(seconds: float) -> dict[str, Any]:
    """Measure frames a second by group, ours and the bare write's, in turns of one second."""
    found: dict[str, Any] = {"frame_bytes": FRAME_BYTES, "groups": []}
    frames = [secrets.token_bytes(FRAME_BYTES) for _ in range(max(GROUPS))]
    with TemporaryDirectory(prefix="zegel-bench-") as folder:
        for group in GROUPS:
            ours, bare = 0.0, 0.0
            for turn in range(max(1, round(seconds / 2))):
                path = Path(folder) / f"{group}-{turn}"
                ours = max(ours, _spool(path, frames[:group]))
                bare = max(bare, _bare(path.with_suffix(".bare"), frames[:group]))
            found["groups"].append({"frames": group, "spool_per_s": ours, "bare_per_s": bare})
    return found


def _spool(folder: Path, frames: list[bytes]) -> float:
    """Append, sync, seal and release as the edge does; return frames a second."""
    records = [Record(frame) for frame in frames]
    spool = FileSpool(folder)

    def commit() -> None:
        spool.append(records)
        if spool.usage.open_bytes >= SEGMENT_BYTES:
            name = spool.seal()
            if name is not None:
                spool.release(name.first, name.last)

    try:
        return len(frames) * _per_second(commit)
    finally:
        spool.close()


def _bare(path: Path, frames: list[bytes]) -> float:
    """Write the same bytes to a file and sync it; return frames a second."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    data, size, fd = b"".join(frames), 0, os.open(path, flags, 0o600)

    def commit() -> None:
        nonlocal size, fd
        os.write(fd, data)
        os.fdatasync(fd)
        size += len(data)
        if size >= SEGMENT_BYTES:
            os.close(fd)
            path.unlink()
            size, fd = 0, os.open(path, flags, 0o600)

    try:
        return len(frames) * _per_second(commit)
    finally:
        os.close(fd)


def _per_second(commit: Callable[[], None]) -> float:
    """Return commits a second over one second; a disk's caches come and go, so no best slice."""
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < 1.0 or done < 3:
        commit()
        done += 1
    return done / took
