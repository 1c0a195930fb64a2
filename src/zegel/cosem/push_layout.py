"""The push as a layout: where its columns lie in a matrix of frames, and the day's known clocks.

Needs NumPy: import this module by its own name.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zegel.cosem.apdu import DataNotification
from zegel.cosem.layouts import Layout, compile_layout
from zegel.cosem.push import ID_MASK
from zegel.cosem.stamps import CLOCK, doubtful, utc_seconds
from zegel.errors import UnsupportedError

__all__ = ["PushLayout", "Times", "compile_push"]

MAX_STATUS = 0xFF
INT64_MAX = np.uint64(2**63 - 1)
# t and doubt, (k, rows) each, and which frames' clocks are good, (k,)
Times = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(slots=True, eq=False)
class PushLayout:
    """A layout of the push, with where its columns lie and the stamps met last.

    `template` is the layout with one day's clocks as constants; a frame that matches it has the
    times `template_t` (rows,) and doubts `template_doubt` (rows,): no clock work is left.
    """

    layout: Layout
    rows: int
    stamped: int  # rows that carry a clock: all, or only the first
    runs: tuple[tuple[str, slice], ...]  # name of the run and its rows
    template: Layout | None = None
    template_t: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, "i8"))
    template_doubt: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, "?"))

    def times(self, frames: NDArray[np.uint8], period_s: int) -> Times:
        """Return `t` and doubt (k, rows), and which frames' clocks are good (k,)."""
        k = len(frames)
        if not self.rows:
            return np.empty((k, 0), "i8"), np.empty((k, 0), "?"), np.ones(k, "?")
        clocks = self.layout.view(frames)["body"]["c2"]["r0"]["c0"]["v"]
        t, good = utc_seconds(clocks)
        doubt = doubtful(clocks["status"])
        if self.stamped < self.rows:  # null clocks: a period each behind the first
            t = t + np.arange(self.rows) * period_s
            doubt = np.repeat(doubt, self.rows, axis=1)
        return t, doubt, np.asarray(good.all(axis=1))

    def known(self, k: int) -> Times:
        """Return the template's `times` for k frames that match it."""
        t, doubt = np.empty((k, self.rows), "i8"), np.empty((k, self.rows), "?")
        t[:], doubt[:] = self.template_t, self.template_doubt
        return t, doubt, np.ones(k, "?")

    def learn(self, frames: NDArray[np.uint8], times: Times, *, of: int) -> None:
        """Keep the clocks of the first good frame of `frames` as the template.

        Only if these frames, which missed the template, are at least half of the `of` that came
        with them: one odd meter shall not take it from all others.
        """
        t, doubt, good = times
        if 2 * len(frames) < of or not self.rows or not good.any():
            return
        first = int(good.argmax())
        clocks = self.layout.mask("body", "c2", "r0", "c0", "v")
        self.template = self.layout.pinned(frames[first], clocks)
        self.template_t, self.template_doubt = t[first].copy(), doubt[first].copy()

    def values(
        self, frames: NDArray[np.uint8]
    ) -> tuple[np.ndarray, NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return status (k, rows) u1, both registers (k, rows) int64, and where they hold (k,)."""
        rows = self.layout.view(frames)["body"]["c2"]
        shape, good = (len(frames), self.rows), np.ones(len(frames), "?")
        status = np.empty(shape, "u1")
        registers = np.empty(shape, "i8"), np.empty(shape, "i8")
        for run, span in self.runs:
            raw = rows[run]["c1"]["v"]
            if raw.dtype != np.uint8:
                good &= ((raw >= 0) & (raw <= MAX_STATUS)).all(axis=1)
            status[:, span] = raw
            for name, register in zip(("c2", "c3"), registers, strict=True):
                raw = rows[run][name]["v"]
                if raw.dtype == np.dtype(">u8"):
                    good &= (raw <= INT64_MAX).all(axis=1)
                register[:, span] = raw
        return status, *registers, good

    def names(self, frames: NDArray[np.uint8]) -> tuple[np.ndarray, np.ndarray]:
        """Return device names (k, 16) u1 and invoke-ids (k,) u4."""
        invoke = frames[:, 1:5].view(">u4")[:, 0] & ID_MASK
        return self.layout.view(frames)["body"]["c0"]["v"], invoke


def compile_push(apdu: bytes) -> PushLayout:
    """Compile the layout of a push that the general decoder has read.

    Raises:
        UnsupportedError: regular enough for the general decoder only: clocks or types that
            change from row to row, null values, numbers that are no integers.
        MalformedError: as `compile_layout`.
    """
    _, tagged, body_at = DataNotification.split_date_time(apdu)
    head = bytearray(body_at)  # tag and date-time's length are constants
    head[0] = head[5] = 0xFF
    head[5 : 6 + tagged] = b"\xff" * (1 + tagged)
    layout = compile_layout(apdu, head=bytes(head))
    profile = layout.mask("body", "c1", "v")
    layout = layout.pinned(np.frombuffer(apdu, "u1"), profile)
    runs, at = [], 0
    rows = layout.dtype["body"]["c2"]
    stamped = 0
    for name in rows.names or ():
        row, (count,) = rows[name].subdtype or (rows[name], (1,))
        _check_row(row)
        if (row["c0"].names or ()) == ("v",):
            stamped += count
        runs.append((name, slice(at, at + count)))
        at += count
    all_stamped = len(runs) <= 1 and stamped == at
    if not all_stamped and not (len(runs) == 2 and stamped == 1 and runs[0][1] == slice(0, 1)):
        raise UnsupportedError("push layout", expected="regular rows", found=f"{len(runs)} runs")
    return PushLayout(layout, at, stamped, tuple(runs))


def _check_row(row: np.dtype[np.void]) -> None:
    for name in ("c1", "c2", "c3"):
        if (row[name].names or ()) != ("v",) or row[name]["v"].kind not in "iu":
            raise UnsupportedError("push layout", where=name, expected="an integer")
    if row["c0"].names and row["c0"]["v"] != CLOCK:
        raise UnsupportedError("push layout", where="c0", expected="a clock")
