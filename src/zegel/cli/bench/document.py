"""What a benchmark run found: one JSON document (zegel.bench/1), or a table for people."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

import zegel

__all__ = ["Document", "Machine", "Must", "Result", "git_commit", "machine", "met", "rounded"]

Must = tuple[Literal["value", "ratio"], Literal[">=", "<="], float]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures were taken on. Memory in bytes."""

    cpu: str
    cores: int
    memory: int
    kernel: str
    python: str
    openssl: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `limit` is what bounds it, or what the `peer` reached, in the same run.

    `ratio` is `value / limit`. `must` is what is asked of value or ratio, and `met` whether it
    was reached: for people to read, no exit code follows from it.
    """

    stage: str
    name: str
    value: float
    unit: str
    peer: str | None = None
    limit: float | None = None
    ratio: float | None = None
    must: str | None = None
    met: bool | None = None
    note: str | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. `load_before` are the load averages when it began."""

    schema: Literal["zegel.bench/1"] = "zegel.bench/1"
    build: str = zegel.__version__
    commit: str | None
    command: str
    started: str
    seconds: float
    load_before: tuple[float, float, float]
    machine: Machine
    missing: list[str]  # peers that were asked for and are not there
    failed: dict[str, str]  # stages that came to no end, and why
    results: list[Result]
    details: dict[str, Any]


def result(
    stage: str,
    name: str,
    value: float,
    unit: str,
    *,
    peer: str | None = None,
    limit: float | None = None,
    must: Must | None = None,
    note: str | None = None,
) -> Result:
    """Return one figure with its ratio and whether it reached what is asked."""
    ratio = value / limit if limit else None
    return Result(
        stage=stage,
        name=name,
        value=rounded(value),
        unit=unit,
        peer=peer,
        limit=None if limit is None else rounded(limit),
        ratio=None if ratio is None else rounded(ratio, 3),
        must=None if must is None else f"{must[0]} {must[1]} {must[2]:g}",
        met=None if must is None else met(must, value, ratio),
        note=note,
    )


def met(must: Must, value: float, ratio: float | None) -> bool:
    """Tell whether a figure reached what is asked of it."""
    which, sign, wanted = must
    found = value if which == "value" else ratio
    if found is None:
        return False
    return found >= wanted if sign == ">=" else found <= wanted


def rounded(value: float, digits: int = 4) -> float:
    """Round to `digits` significant digits, but never a digit before the point."""
    return float(round(value)) if abs(value) >= 10**digits else float(f"{value:.{digits}g}")


def machine() -> Machine:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory=memory,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        openssl=_first_line(("openssl", "version")) or "none",
    )


def git_commit() -> str | None:
    """Return the commit of the tree that this program runs from; None if installed without."""
    folder = Path(zegel.__file__).parent
    if not shutil.which("git"):
        return None
    commit = _first_line(("git", "-C", str(folder), "rev-parse", "HEAD"))
    changed = _first_line(("git", "-C", str(folder), "status", "--porcelain", "--", "."))
    return f"{commit} and changes" if commit and changed else commit


def _first_line(command: Iterable[str]) -> str | None:
    try:
        done = subprocess.run(list(command), check=True, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    return lines[0].strip() if lines else None


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor()
    match = re.search(r"model name\s*:\s*(.*)", text)
    return match.group(1) if match else platform.processor()
