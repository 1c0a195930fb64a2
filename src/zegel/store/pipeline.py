"""The pipeline: sealed segments in, fates and readings out. One worker thread runs it.

    take      read the oldest sealed segment: it is the batch, a cut of the ledger
    begin     the ledger fixes the cut durably
    open      headers, windows, vault, decoder: every frame gets its fate
    insert    readings, then frames, both synced: a row in `frames` says "all its rows are in"
    ledger    the position moves, the cut ends
    release   the edge unlinks the segment

After a crash, and after any insert that raised, the same cut comes again: what is in is read
back and only what is absent is sent. Arrays in memory change only after the frames are in.
"""

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zegel.calls.edge import Release
from zegel.calls.vault import Opened, OpenFrames
from zegel.errors import ConflictError, StorageError, UnreachableError, ZegelError
from zegel.node.health import HealthState
from zegel.node.link import Blocking
from zegel.node.spool_format import NUMBER_BITS, SegmentName
from zegel.node.switches import guard, step
from zegel.store.batch import Batch, Decision, arrange, frame_columns
from zegel.store.engine import Engine
from zegel.store.fate import REASONS, Fate
from zegel.store.headers import read_headers
from zegel.store.judge import Judge
from zegel.store.lane import Lane
from zegel.store.ledger import Ledger
from zegel.store.quarantine import Kept, Quarantine
from zegel.store.readings import absent
from zegel.store.registry import Registry
from zegel.store.schema import FRAME_COLUMNS, FRAMES, READING_COLUMNS, READINGS
from zegel.store.spool import Taken, sealed, set_aside, take
from zegel.store.window import hash64

__all__ = ["Parts", "Pipeline", "Stopped"]

_IDLE_S = 0.05  # between looks into an empty spool
_RETRY_S = 0.5
_EDGE_S = 10.0
_VAULT_S = 30.0  # for one answer; it is asked again after that
_NOTICE_S = 1.0  # without an answer: say so in health
_DONE = np.dtype([("frame_id", "<u8"), ("fate", "u1")])


class Stopped(Exception):  # noqa: N818 - no error: the zone is asked to stop
    """The pipeline was asked to stop while it waited."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with."""

    engine: Engine
    registry: Registry
    ledger: Ledger
    quarantine: Quarantine
    judge: Judge
    vault: Blocking
    edge: Blocking
    spool: Path
    damaged: Path
    health: HealthState
    log: Any  # a structlog logger


class Pipeline:
    """Works segment by segment until it is stopped. Nothing it meets ends it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._stale = True  # the arrays are to be rebuilt from the tables
        self._released: set[SegmentName] = set()
        self._releasing: dict[SegmentName, tuple[Release, Any]] = {}
        self._poison: dict[int, str] = {}
        self.waiting = 0
        self.position = parts.ledger.position

    def stop(self) -> None:
        """Ask the pipeline to end after what it is doing; may be called from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped."""
        self._tell_damages()
        while not self._stop.is_set():
            try:
                idle = not self.work()
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - told in health, tried again
                self._trouble(error)
                self._stop.wait(_RETRY_S)
            else:
                if idle:
                    self._stop.wait(_IDLE_S)

    def work(self) -> bool:
        """Work on the oldest sealed segment. Return whether there was one.

        Raises:
            ZegelError: the segment stays, and comes again.
        """
        parts = self._parts
        names = sealed(parts.spool)
        self._released &= set(names)
        for name in list(self._releasing):
            self._released_now(name, wait_s=0)
        gone = self._released | set(self._releasing)
        names = [name for name in names if name not in gone]
        self.waiting = len(names)
        parts.health.gauge("segments_waiting", len(names))
        parts.health.set("spool", None)
        self._check_open_cut(names)
        if not names:
            parts.health.set("pipeline", None)
            return False
        cut = parts.ledger.open_cut
        name = next((name for name in names if (name.first, name.last) == cut), names[0])
        if name.count and name.last <= parts.ledger.position_of(name.first):
            self._release(name, Lane())  # committed before; an unlink that was not synced
            return True
        self._one(name)
        for key in ("pipeline", "engine"):
            parts.health.set(key, None)
        return True

    def _one(self, name: SegmentName) -> None:
        """Bring one segment to its end."""
        parts = self._parts
        step("take.before")
        taken = take(parts.spool, name)
        step("take.after")
        self._check_gap(name)
        step("begin.before")
        again = parts.ledger.begin(name.first, name.last)
        step("begin.after")
        lane = self._process(taken, again=again) if taken.records else Lane()
        if taken.damage is not None:
            set_aside(parts.spool, name, parts.damaged)
            parts.ledger.note_damage(taken.damage)
            parts.log.error("damaged segment", segment=str(name), what=taken.damage.what)
            self._tell_damages()
        step("ledger.before")
        if name.count:
            parts.ledger.commit(name.last)
        else:
            parts.ledger.abandon()
        step("ledger.after")
        self.position = parts.ledger.position
        self._poison.clear()
        parts.health.count("segments")
        step("release.before")
        self._release(name, lane)
        step("release.after")

    def _process(self, taken: Taken, *, again: bool) -> Lane:
        """Decide, insert, and return who authenticated."""
        parts = self._parts
        cut = (taken.name.first, taken.name.last)
        read_back = again and guard("store.readback")
        self._refresh()
        done = self._done(cut) if read_back else np.zeros(0, _DONE)
        batch = self._batch(taken, done["frame_id"])
        self._stale = True  # until the arrays hold what the tables hold
        step("open.before")
        decision = self._decide(batch)
        step("open.after")
        rows = absent(decision.rows, parts.engine.writer, cut) if read_back else decision.rows
        step("insert_readings.before")
        if len(rows.t):
            parts.engine.writer.insert(READINGS, READING_COLUMNS, rows.columns())
        step("insert_readings.after")
        self._keep_bodies(batch, decision)
        step("insert_frames.before")
        if len(batch):
            parts.engine.writer.insert(FRAMES, FRAME_COLUMNS, frame_columns(batch, decision))
        step("insert_frames.after")
        self._note(batch, decision)
        self._stale = False
        return Lane.of(taken, batch, decision, done)

    def _batch(self, taken: Taken, done: NDArray[np.uint64]) -> Batch:
        """Return the frames whose fate is not known yet."""
        ids = np.asarray(taken.frame_ids, "u8")
        places = np.flatnonzero(~np.isin(ids, done))
        headers = read_headers(taken.records)
        index = self._parts.registry.index
        meter = np.where(headers.reason == 0, index.find(headers.title), np.uint64(0))
        return arrange(taken, places.tolist(), headers, meter)

    def _decide(self, batch: Batch) -> Decision:
        """Decide; a frame that breaks the decision itself is isolated by halving."""
        try:
            return self._try(batch, self._poison)
        except (ZegelError, Stopped, MemoryError):
            raise
        except Exception as error:
            self._parts.log.exception("decision failed", frames=len(batch))
            self._isolate(batch, set(batch.frame_id.tolist()), error)
            return self._try(batch, self._poison)

    def _isolate(self, batch: Batch, suspects: set[int], error: Exception) -> None:
        """Find the frames of `suspects` that break the decision; raises if none does alone."""
        if len(suspects) == 1:
            what = f"decision failed: {type(error).__name__}"
            self._poison[suspects.pop()] = what
            return
        ordered = sorted(suspects)
        found = False
        for half in (set(ordered[: len(ordered) // 2]), set(ordered[len(ordered) // 2 :])):
            others = {frame: "left out" for frame in batch.frame_id.tolist() if frame not in half}
            try:
                self._try(batch, {**others, **self._poison})
            except (ZegelError, Stopped, MemoryError):
                raise
            except Exception as inner:  # noqa: BLE001 - see _decide
                found = True
                self._isolate(batch, half, inner)
        if not found:
            raise error

    def _try(self, batch: Batch, poison: dict[int, str]) -> Decision:
        parts = self._parts
        index = parts.registry.index
        parts.judge.windows.grow(index.largest)
        parts.judge.highs.grow(index.largest)
        return parts.judge.decide(batch, index, self._ask_vault, parts.engine.writer, poison)

    def _refresh(self) -> None:
        """Rebuild the arrays from the tables, if they may not be what the tables hold."""
        if not self._stale:
            return
        parts = self._parts
        largest = parts.registry.index.largest
        parts.judge.windows.rebuild(parts.engine.writer, largest)
        parts.judge.highs.rebuild(parts.engine.writer, largest, parts.judge.days)
        self._stale = False

    def _done(self, cut: tuple[int, int]) -> np.ndarray:
        """Read back which frames of a cut have their fate."""
        return self._parts.engine.writer.rows(
            "SELECT frame_id, fate FROM frames "
            "WHERE frame_id BETWEEN {first:UInt64} AND {last:UInt64}",
            _DONE,
            {"first": cut[0], "last": cut[1]},
        )

    def _keep_bodies(self, batch: Batch, decision: Decision) -> None:
        kept = [
            Kept(
                int(batch.frame_id[at]),
                _address(batch, at),
                REASONS[decision.reason[at]],
                decision.what.get(at, ""),
                batch.records[at].frame,
            )
            for at in np.flatnonzero(decision.fate == Fate.QUARANTINED).tolist()
        ]
        kept.sort(key=lambda frame: frame.frame_id)
        self._parts.quarantine.keep(kept)

    def _note(self, batch: Batch, decision: Decision) -> None:
        """Bring the arrays to what the tables hold now, and count."""
        stored = np.flatnonzero(decision.stored())
        stored = stored[np.argsort(batch.frame_id[stored])]
        parts, rows = self._parts, decision.rows
        parts.judge.windows.add(
            batch.meter[stored],
            decision.version[stored],
            batch.headers.counter[stored],
            hash64(batch.digest)[stored],
        )
        parts.judge.highs.raise_to(rows.meter, rows.t)
        for fate in Fate:
            frames = int(np.count_nonzero(decision.fate == fate))
            parts.health.count(f"frames_{fate.name.lower()}", frames)
        parts.health.count("rows_stored", len(rows.t))
        parts.health.count("rows_refused", int(rows.clock_ahead.sum() + rows.implausible.sum()))
        off = int(np.count_nonzero(decision.stored() & (decision.fast == 0)))
        parts.health.count("frames_off_fast_path", off)

    def _ask_vault(self, call: OpenFrames) -> Opened:
        """Have frames opened; wait as long as it takes, and say so in health."""
        since = time.monotonic()
        while True:
            try:
                answer: Opened = self._wait(
                    self._parts.vault.begin(call, timeout_s=_VAULT_S), since
                )
            except UnreachableError:
                self._tell_waiting(since)
                if self._stop.wait(_RETRY_S):
                    raise Stopped from None
            else:
                self._parts.health.set("vault", None)
                return answer

    def _wait(self, future: Any, since: float) -> Any:
        while True:
            try:
                return future.result(timeout=_NOTICE_S)
            except TimeoutError:
                if self._stop.is_set():
                    future.cancel()
                    raise Stopped from None
                self._tell_waiting(since)

    def _tell_waiting(self, since: float) -> None:
        seconds = time.monotonic() - since
        with contextlib.suppress(StorageError):
            self.waiting = len(sealed(self._parts.spool))
        self._parts.health.gauge("segments_waiting", self.waiting)
        self._parts.health.set(
            "vault", f"vault does not answer for {seconds:.0f} s; {self.waiting} segments wait"
        )

    def _release(self, name: SegmentName, lane: Lane) -> None:
        """Tell the edge. An edge that does not answer holds nobody up: it is told again later."""
        call = Release(
            first=name.first,
            last=name.last,
            authenticated=lane.titles,
            addresses=lane.addresses,
        )
        self._releasing[name] = (call, self._parts.edge.begin(call, timeout_s=_EDGE_S))
        self._released_now(name, wait_s=_NOTICE_S)

    def _released_now(self, name: SegmentName, *, wait_s: float) -> None:
        """Look whether a segment is released; ask again where the edge did not answer."""
        call, future = self._releasing[name]
        try:
            future.result(timeout=wait_s)
        except TimeoutError:
            self._parts.health.set("edge", f"edge does not answer: {name} is not released")
        except ZegelError as error:
            self._parts.health.set("edge", f"{name} is not released: {error}")
            self._releasing[name] = (call, self._parts.edge.begin(call, timeout_s=_EDGE_S))
        else:
            self._parts.health.set("edge", None)
            del self._releasing[name]
            self._released.add(name)

    def _check_gap(self, name: SegmentName) -> None:
        """Segments of an epoch follow on one another; frames that never came are named."""
        epoch = name.first >> NUMBER_BITS
        expected = max(self._parts.ledger.position_of(name.first) + 1, epoch << NUMBER_BITS)
        if name.count and name.first != expected:
            what = f"spool: frames {expected} to {name.first - 1} of epoch {epoch} never came"
            self._parts.health.set(f"gap-{expected}", what)
            self._parts.log.error("gap in the spool", expected=expected, found=name.first)

    def _check_open_cut(self, names: list[SegmentName]) -> None:
        """A cut that was begun must still be there: only we release it."""
        cut = self._parts.ledger.open_cut
        if cut is None or any((name.first, name.last) == cut for name in names):
            self._parts.health.set("cut", None)
            return
        what = f"spool: the segment of frames {cut[0]} to {cut[1]} is gone before it was committed"
        self._parts.health.set("cut", what)
        later = [name for name in names if name.first > cut[1]]
        if later:  # the sequence went on: it will not come back
            self._parts.health.set(f"lost-{cut[0]}", what)
            self._parts.log.error("segment is gone", first=cut[0], last=cut[1])
            self._parts.ledger.abandon()

    def _tell_damages(self) -> None:
        for damage in self._parts.ledger.damages():
            last = damage.lost_first + damage.lost - 1
            lost = f"frames {damage.lost_first} to {last} lost" if damage.lost else "no frame lost"
            self._parts.health.set(
                f"damage-{damage.segment}",
                f"damaged segment {damage.segment} set aside: {damage.what}; {lost}",
            )

    def _trouble(self, error: Exception) -> None:
        if isinstance(error, ConflictError):
            key = "cut"
        elif isinstance(error, StorageError):
            key = "spool" if "spool" in error.what else "engine"
        else:
            key = "pipeline"
        text = str(error) if isinstance(error, ZegelError) else f"{type(error).__name__}: {error}"
        self._parts.health.set(key, text)
        self._parts.health.count("retries")
        self._parts.log.error("pipeline waits", error=text, exc_info=error)


def _address(batch: Batch, place: int) -> str:
    return batch.records[place].address.hex()
