"""What a process can be seen to hold: its memory, environment, command line and open files.

The scanner of the claim that no zone but the vault holds a key. Needs root: a zone's process is
not dumpable, so nobody else may look.
"""

import os
import re
import signal
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Needles", "found_in_files", "found_in_process"]

PIECE = 16 * 1024 * 1024  # bytes of memory looked at together
OVERLAP = 256  # of two pieces; more than any needle
PAGE = 4096
LEAST = 10_000_000  # bytes that any zone has in memory

Needles = Mapping[str, bytes]  # what it is called: the bytes that must not be seen


def spellings(needles: Needles) -> dict[str, list[bytes]]:
    """Return each needle as it may stand somewhere: raw, and as hexadecimal text."""
    return {name: [raw, raw.hex().encode()] for name, raw in needles.items()}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process still, so that nothing moves while it is looked through."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def found_in_process(pid: int, needles: Needles) -> dict[str, set[str]]:
    """Return which needles a process holds, and in which places; it is stopped meanwhile."""
    wanted = spellings(needles)
    found: dict[str, set[str]] = {}
    with stopped(pid):
        for place, data in _everything(pid):
            for name in _seen(data, wanted):
                found.setdefault(name, set()).add(place)
    return found


def found_in_files(folder: Path, needles: Needles) -> dict[str, set[str]]:
    """Return which needles stand in the files below `folder`, and in which."""
    wanted = spellings(needles)
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            for name in _seen(path.read_bytes(), wanted):
                found.setdefault(name, set()).add(str(path.relative_to(folder)))
    return found


def _seen(data: bytes, wanted: Mapping[str, Iterable[bytes]]) -> Iterator[str]:
    for name, forms in wanted.items():
        if any(form in data for form in forms):
            yield name


def _everything(pid: int) -> Iterator[tuple[str, bytes]]:
    process = Path("/proc") / str(pid)
    yield "environment", (process / "environ").read_bytes()
    yield "command line", (process / "cmdline").read_bytes()
    yield from _open_files(process)
    yield from _memory(process)


def _open_files(process: Path) -> Iterator[tuple[str, bytes]]:
    for entry in sorted((process / "fd").iterdir()):
        if stat.S_ISREG(entry.stat().st_mode):
            yield f"open file {entry.readlink()}", entry.read_bytes()


def _memory(process: Path) -> Iterator[tuple[str, bytes]]:
    """Read every readable segment that has pages, in pieces that overlap by a needle's length."""
    scanned = 0
    with (process / "mem").open("rb", buffering=0) as memory:
        for name, start, end in _segments((process / "smaps").read_text()):
            for at in range(start, end, PIECE):
                data = _read(memory.fileno(), at, min(at + PIECE + OVERLAP, end))
                scanned += len(data)
                yield f"memory {name}", data
    assert scanned > LEAST, f"only {scanned} bytes of a zone were seen"


def _segments(smaps: str) -> Iterator[tuple[str, int, int]]:
    """Return name, start and end of what is readable and has a page in memory or in swap.

    The private, unchanged bytes of a file that the process has loaded are that file's.
    """
    for segment in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
        head, *lines = segment.splitlines()
        span, mode, _, _, _, *names = head.split(maxsplit=5)
        name = names[0] if names else "anonymous"
        pages = {line.split()[0]: line.split()[1] for line in lines}
        loaded = name.startswith("/") and mode.endswith("p") and pages["Anonymous:"] == "0"
        empty = pages["Rss:"] == pages["Swap:"] == "0"
        if mode.startswith("r") and not (loaded or empty or name.startswith("[vvar")):
            start, end = (int(part, 16) for part in span.split("-"))
            yield name, start, end


def _read(memory: int, at: int, end: int) -> bytes:
    """Read what is there; a page that cannot be read (behind the end of its file) is skipped."""
    parts = []
    while at < end:
        try:
            part = os.pread(memory, end - at, at)
        except OSError:
            part = b""
        parts.append(part)
        at += len(part) or PAGE - at % PAGE
    return b"".join(parts)
