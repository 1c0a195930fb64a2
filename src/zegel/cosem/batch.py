"""Decode pushes by the hundred: plaintexts in, columns out, no Python object per value.

Frames of a known layout become columns together; the others go one by one through the general
decoder (`zegel.cosem.push.read_push`) with the same result. One bad frame harms no other.
Needs NumPy: import this module by its own name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from zegel.cosem.layouts import LayoutCache
from zegel.cosem.push import PushRows, read_push
from zegel.cosem.push_layout import PushLayout, Times, compile_push
from zegel.errors import MalformedError, UnsupportedError, ZegelError

__all__ = ["BatchDecoder", "DecodedBatch", "Fate", "Verdict"]

CHUNK = 1024  # frames at once: what is in work stays in the processor's cache
COLUMN_TYPES = ("i8", "i8", "i8", "u1", "?")  # t, import, export, status, doubt
Columns = tuple[np.ndarray, ...]


class Verdict(IntEnum):
    """What became of a frame."""

    OK = 0
    MALFORMED = 1
    UNSUPPORTED = 2


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBatch:
    """The readings of n frames as columns of R rows, in the order of the frames.

    Per row: `frame` (R,) int32 index of the frame; `t` (R,) int64 UTC seconds; `import_wh` and
    `export_wh` (R,) int64; `status` (R,) uint8 AMR status; `clock_doubtful` (R,) bool.
    Per frame: `verdict` (n,) uint8 `Verdict`; `reason` the error line of those not OK;
    `identity` (n,) V16 COSEM logical device name; `invoke_id` (n,) uint32; `rows` (n,) int32;
    `fast` (n,) bool, decoded by a layout. No column is a view of the plaintexts.
    """

    frame: NDArray[np.int32]
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    status: NDArray[np.uint8]
    clock_doubtful: NDArray[np.bool_]
    verdict: NDArray[np.uint8]
    reason: dict[int, str]
    identity: NDArray[np.void]
    invoke_id: NDArray[np.uint32]
    rows: NDArray[np.int32]
    fast: NDArray[np.bool_]


class BatchDecoder:
    """Decodes batches of plaintext pushes; keeps the layouts that it has learnt.

    Args:
        zone: local zone of clocks without a deviation.
        period_s: seconds from row to row where clocks are null.
        cache: layouts and counts of frames on and off the fast path.
    """

    def __init__(
        self,
        *,
        zone: str = "Europe/Amsterdam",
        period_s: int = 900,
        cache: LayoutCache[PushLayout] | None = None,
    ) -> None:
        self._zone, self._period_s = ZoneInfo(zone), period_s
        self.cache: LayoutCache[PushLayout] = LayoutCache() if cache is None else cache

    def decode(self, plaintexts: memoryview | bytes, lengths: np.ndarray) -> DecodedBatch:
        """Decode n frames that stand end to end in `plaintexts`; `lengths` (n,) integers.

        Raises:
            MalformedError: the lengths do not add up to the plaintexts: nothing is decoded.
        """
        lengths = np.asarray(lengths, "i8")
        n, total = len(lengths), int(lengths.sum())
        if total != len(plaintexts) or (n and int(lengths.min()) < 0):
            raise MalformedError("batch lengths", expected=len(plaintexts), found=total)
        sink = _Sink(n)
        if total and total == n * lengths.max():  # nearly always: all of one length
            frames = np.frombuffer(plaintexts, "u1").reshape(n, -1)
            self._group(frames, np.arange(n), sink)
            return sink.batch()
        view, starts = memoryview(plaintexts), np.cumsum(lengths) - lengths
        for length, index in _by_length(lengths):
            self._group(_matrix(view, starts[index], length), index, sink)
        return sink.batch()

    def _group(self, frames: NDArray[np.uint8], index: NDArray[np.intp], sink: "_Sink") -> None:
        """Decode frames of one length: by their layouts, then one by one what is left."""
        fate = np.full(len(index), NO_LAYOUT, "u1")
        for entry in self.cache.candidates(frames.shape[1]):
            self._by_layout(entry, frames, index, fate, sink)
            if not fate.any():
                return
        while fate.any():
            for at in np.flatnonzero(fate):
                learnt = self._general(frames[at].tobytes(), int(index[at]), Fate(fate[at]), sink)
                fate[at] = DONE
                if learnt is not None:  # the frames behind it need not go one by one
                    self._by_layout(learnt, frames, index, fate, sink)
                    break

    def _by_layout(
        self,
        entry: PushLayout,
        frames: NDArray[np.uint8],
        index: NDArray[np.intp],
        fate: NDArray[np.uint8],
        sink: "_Sink",
    ) -> None:
        """Decode those that have the layout among the frames not done; write each one's fate."""
        starts = range(0, len(fate), CHUNK)
        if (fate == NO_LAYOUT).all():  # nearly always
            parts: list[slice | NDArray[np.intp]] = [slice(at, at + CHUNK) for at in starts]
        else:
            left = np.flatnonzero((fate == NO_LAYOUT) | (fate == SHAPE))
            parts = [left[at : at + CHUNK] for at in starts]
        for part in parts:
            fate[part] = found = self._chunk(entry, frames[part], index[part], sink)
            self.cache.on += len(found) - int(np.count_nonzero(found))
        self.cache.used(entry)

    def _chunk(
        self, entry: PushLayout, frames: NDArray[np.uint8], index: NDArray[np.intp], sink: "_Sink"
    ) -> NDArray[np.uint8]:
        """Decode frames by the known clocks, then by arithmetic; return each one's fate."""
        fate = np.full(len(frames), SHAPE, "u1")
        if entry.template is not None and len(frames):
            hit = entry.template.match(frames)
            if hit.all():
                return _emit(entry, frames, index, entry.known(len(frames)), sink)
            known = np.flatnonzero(hit)
            if len(known):
                times = entry.known(len(known))
                fate[known] = _emit(entry, frames[known], index[known], times, sink)
        rest = np.flatnonzero(fate == SHAPE)
        rest = rest[entry.layout.match(_take(frames, rest))]
        if len(rest):
            rows = _take(frames, rest)
            times = entry.times(rows, self._period_s)
            fate[rest] = _emit(entry, rows, index[rest], times, sink)
            entry.learn(rows, times, of=len(frames))
        return fate

    def _general(self, apdu: bytes, place: int, fate: "Fate", sink: "_Sink") -> PushLayout | None:
        """Decode one frame by the general decoder; return the layout learnt from it, if any."""
        self.cache.off[fate.name.lower()] += 1
        try:
            push = read_push(apdu, zone=self._zone, period_s=self._period_s)
        except UnsupportedError as error:
            sink.refuse(place, Verdict.UNSUPPORTED, error)
        except ZegelError as error:
            sink.refuse(place, Verdict.MALFORMED, error)
        else:
            sink.add_one(place, push)
            if fate in (NO_LAYOUT, SHAPE):
                return self.cache.meet(apdu, compile_push)
        return None


class Fate(IntEnum):
    """Why a frame left the fast path; the names are the keys of `LayoutCache.off`."""

    DONE = 0
    NO_LAYOUT = 1  # none of its length
    SHAPE = 2  # other constants than the layouts of its length
    CLOCK = 3  # a clock that arithmetic does not settle
    REGISTER = 4  # a number outside int64, or a status outside a byte


DONE, NO_LAYOUT, SHAPE = int(Fate.DONE), int(Fate.NO_LAYOUT), int(Fate.SHAPE)


def _emit(
    entry: PushLayout,
    frames: NDArray[np.uint8],
    index: NDArray[np.intp],
    times: Times,
    sink: "_Sink",
) -> NDArray[np.uint8]:
    """Hand the columns of matched frames to `sink`; return each frame's fate."""
    t, doubt, clock_good = times
    status, import_wh, export_wh, good = entry.values(frames)
    good &= clock_good
    columns: Columns = (t, import_wh, export_wh, status, doubt)
    fate = np.zeros(len(frames), "u1")
    if not good.all():
        fate[~good] = Fate.REGISTER
        fate[~clock_good] = Fate.CLOCK
        frames, index = frames[good], index[good]
        columns = tuple(column[good] for column in columns)
    sink.add(index, columns)
    sink.name(index, *entry.names(frames))
    return fate


def _take(array: np.ndarray, index: NDArray[np.intp]) -> np.ndarray:
    """Return `array[index]` for an ascending index; without a copy if it is all or one stretch."""
    if len(index) and index[-1] - index[0] + 1 == len(index):
        return array[index[0] : index[-1] + 1]
    return array[index]


def _by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each length with the indexes of its frames, ascending."""
    order = np.argsort(lengths, kind="stable")
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    for index in np.split(order, cuts):
        if len(index):
            yield int(lengths[index[0]]), index


def _matrix(data: memoryview, starts: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
    """Return the frames at `starts` as (k, length) u1; a view if they are one stretch."""
    k, first = len(starts), int(starts[0])
    if starts[-1] - first == (k - 1) * length:
        block: memoryview | bytes = data[first : first + k * length]
    else:
        block = b"".join([data[at : at + length] for at in starts.tolist()])
    return np.frombuffer(block, "u1").reshape(k, length)


class _Sink:
    """Gathers columns in any order; `batch` puts them in the order of the frames."""

    def __init__(self, n: int) -> None:
        self._verdict = np.zeros(n, "u1")
        self._reason: dict[int, str] = {}
        self._identity = np.zeros(n, "V16")
        self._invoke_id = np.zeros(n, "u4")
        self._rows = np.zeros(n, "i4")
        self._fast = np.zeros(n, "?")
        self._parts: list[tuple[NDArray[np.intp], Columns]] = []

    def add(self, index: NDArray[np.intp], columns: Columns) -> None:
        """Take columns of shape (k, rows) of the frames `index` (k,), decoded by a layout."""
        self._parts.append((index, columns))
        self._rows[index] = columns[0].shape[1]
        self._fast[index] = True

    def name(self, index: NDArray[np.intp], identity: np.ndarray, invoke: np.ndarray) -> None:
        """Take identities (k, 16) u1 and invoke-ids (k,) of the frames `index`."""
        self._identity.view("u1").reshape(-1, 16)[index] = identity
        self._invoke_id[index] = invoke

    def add_one(self, place: int, push: PushRows) -> None:
        """Take one frame from the general decoder."""
        columns = (push.t, push.import_wh, push.export_wh, push.status, push.clock_doubtful)
        self._parts.append((np.array([place]), tuple(column[None, :] for column in columns)))
        self._rows[place] = len(push.t)
        self._identity[place] = np.void(push.name)
        self._invoke_id[place] = push.invoke_id

    def refuse(self, place: int, verdict: Verdict, error: ZegelError) -> None:
        """Note a frame without readings."""
        self._verdict[place] = verdict
        self._reason[place] = error.line()

    def batch(self) -> DecodedBatch:
        """Return everything, rows in the order of the frames."""
        t, import_wh, export_wh, status, doubt = self._columns()
        return DecodedBatch(
            np.repeat(np.arange(len(self._rows), dtype="i4"), self._rows),
            t,
            import_wh,
            export_wh,
            status,
            doubt,
            self._verdict,
            self._reason,
            self._identity,
            self._invoke_id,
            self._rows,
            self._fast,
        )

    def _columns(self) -> Columns:
        parts = [part for part in self._parts if part[1][0].size]
        if len(parts) == 1:  # nearly always: one layout, all of it
            return tuple(np.ascontiguousarray(column).reshape(-1) for column in parts[0][1])
        starts = np.cumsum(self._rows) - self._rows
        columns = tuple(np.empty(int(self._rows.sum()), kind) for kind in COLUMN_TYPES)
        for index, values in parts:
            span = np.arange(values[0].shape[1])
            places = starts[index][:, None] + span
            for column, value in zip(columns, values, strict=True):
                column[places] = value
        return columns
