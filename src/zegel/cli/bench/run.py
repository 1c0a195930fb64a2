"""A whole run of the benchmark: the stages one after the other, one document at the end."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from zegel.cli.bench.document import Document, Result, git_commit, machine
from zegel.cli.bench.stages import STAGES, Asked
from zegel.errors import ZegelError

__all__ = ["run", "text"]


def run(stages: Sequence[str], asked: Asked) -> Document:
    """Run the named stages, or all of them, in their order."""
    load, began, started = os.getloadavg(), time.monotonic(), datetime.now(UTC)
    results: list[Result] = []
    details: dict[str, Any] = {}
    missing: list[str] = []
    failed: dict[str, str] = {}
    for name, stage in STAGES.items():
        if stages and name not in stages:
            continue
        asked.say(f"{name}: {(stage.__doc__ or '').partition(chr(10))[0]}")
        try:
            found = stage(asked)
        except ZegelError as error:  # the figures of the other stages are not lost for it
            failed[name] = error.line()
            asked.say(f"{name}: {error.line()}")
            continue
        results += found.results
        details[name] = found.details
        missing += found.missing
    return Document(
        commit=git_commit(),
        command=shlex.join(["zegel", *sys.argv[1:]]),
        started=started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(time.monotonic() - began, 1),
        load_before=load,
        machine=machine(),
        missing=missing,
        failed=failed,
        results=results,
        details=details,
    )


def text(document: Document) -> list[tuple[str, ...]]:
    """Return the rows of a table for people."""
    rows: list[tuple[str, ...]] = []
    for line in document.results:
        asked = "" if line.must is None else f"{line.must}: {'yes' if line.met else 'NO'}"
        beside = "" if line.limit is None else f"{line.limit:g} ({line.peer})"
        ratio = "" if line.ratio is None else f"{line.ratio:g}"
        rows.append((line.stage, line.name, f"{line.value:g} {line.unit}", beside, ratio, asked))
    return rows
