"""The pipeline: sealed segments in, fates and readings out. One worker thread runs it.

    take      read the oldest sealed segment: it is the batch, a cut of the ledger
    begin     the ledger fixes the cut durably
    open      headers, windows, vault, decoder: every frame gets its fate
    insert    readings, then frames, both synced: a row in `frames` says "all its rows are in"
    ledger    the position moves, the cut ends
    release   the edge unlinks the segment

After a crash, and after any insert that raised, the same cut comes again: what is in is read
back and only what is absent is sent. Arrays in memory change only after the frames are in.
A segment whose frames may be in, because they are not beyond the position, is read back as well:
it is released only if its very frames are in, by their hash.
"""

import contextlib
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from zegel.store.holds import Holds
from zegel.store.isolate import Stopped, decide_around
from zegel.store.judge import Judge
from zegel.store.lane import Lane
from zegel.store.ledger import Ledger
from zegel.store.notes import Notes
from zegel.store.quarantine import Kept, Quarantine, source_of
from zegel.store.readings import absent
from zegel.store.registry import Registry
from zegel.store.releases import Releases
from zegel.store.schema import FRAME_COLUMNS, FRAMES, READING_COLUMNS, READINGS
from zegel.store.spool import Taken, UnreadableError, sealed, take
from zegel.store.window import hash64

__all__ = ["Parts", "Pipeline", "Stopped"]

_IDLE_S = 0.05  # between looks into an empty spool
_RETRY_S = 0.5
_TRIES = 3  # to read a segment; then the next ones go on
_HELD_S = 60.0  # until it is tried again
_VAULT_S = 30.0  # for one answer; it is asked again after that
_NOTICE_S = 1.0  # without an answer: say so in health
_DONE = np.dtype([("frame_id", "<u8"), ("fate", "u1"), ("sha256", "V32")])


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
        self._fresh = True  # nothing was said yet of what is noted
        self._said = ""
        self._releases = Releases(parts.edge, parts.spool, parts.health)
        self._holds = Holds(parts.health)
        self._notes = Notes(parts.ledger, parts.damaged, parts.health, parts.log)
        self._poison: dict[int, str] = {}
        self.waiting = 0
        self.position = parts.ledger.position

    @property
    def stopping(self) -> bool:
        """Whether the pipeline was asked to end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the pipeline to end after what it is doing; may be called from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Work until stopped."""
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
        if self._fresh:
            self._notes.begin()
            self._fresh = False
        names = sealed(parts.spool)
        gone = self._releases.look(names) | self._holds.look(names)
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
        step("take.before")
        taken = self._take(name)
        if taken is not None:
            self._one(taken)
            self._said = ""
            for key in ("pipeline", "engine"):
                parts.health.set(key, None)
        return True

    def _take(self, name: SegmentName) -> Taken | None:
        """Read a segment; None if it stands still from now on."""
        if name.last >> 63:
            self._hold(name, f"spool: {name}: no numbers of frames")
            return None
        try:
            return take(self._parts.spool, name)
        except UnreadableError as error:
            if self._holds.failed(name) < _TRIES:
                raise
            what = f"spool: frames {name.first} to {name.last} wait in {name}, not readable"
            self._notes.unread(name, f"{what}: {error.found}")
            self._hold(name, for_s=_HELD_S)
            return None

    def _hold(self, name: SegmentName, why: str | None = None, *, for_s: float = 1e9) -> None:
        """Let a segment stand still: no frame of it is lost, and later ones go on."""
        parts = self._parts
        parts.log.error("segment stands still", segment=str(name), why=why)
        if parts.ledger.open_cut == (name.first, name.last):
            parts.ledger.abandon()
        self._holds.hold(name, why, for_s=for_s)

    def _one(self, taken: Taken) -> None:
        """Bring one segment to its end."""
        parts, name = self._parts, taken.name
        step("take.after")
        late = name.count > 0 and name.first <= parts.ledger.position_of(name.first)
        done = self._done(taken, late=late)
        if _others(taken, done):
            frames = f"frames {name.first} to {name.last}"
            why = f"spool: {frames} were committed with other bytes: the spool was replaced"
            self._hold(name, f"{why}; {name} stands still")
            return
        if late and self._all_in(taken, done):  # committed before; an unlink was not synced
            self._finish(taken, Lane())
            return
        if not late:
            self._check_gap(name)
        step("begin.before")
        again = parts.ledger.begin(name.first, name.last)
        step("begin.after")
        again = again or late or self._notes.about(name)
        lane = self._process(taken, done, again=again) if taken.records else Lane()
        if taken.damage is not None:
            self._notes.damaged(taken.damage, taken.data)
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
        self._finish(taken, lane)
        step("release.after")

    def _finish(self, taken: Taken, lane: Lane) -> None:
        """Release a segment."""
        self._notes.settled(taken.name)
        self._holds.end(taken.name)
        self._releases.release(taken.name, taken.file, lane, wait_s=_NOTICE_S)

    def _all_in(self, taken: Taken, done: np.ndarray) -> bool:
        """Tell whether all frames of a segment have their fate, or are known to be lost."""
        if not np.isin(np.asarray(taken.frame_ids, "u8"), done["frame_id"]).all():
            return False
        whole = len(np.unique(done["frame_id"])) == taken.name.count
        return whole or (taken.damage is not None and self._notes.about(taken.name))

    def _process(self, taken: Taken, done: np.ndarray, *, again: bool) -> Lane:
        """Decide, insert, and return who authenticated."""
        parts = self._parts
        cut = (taken.name.first, taken.name.last)
        read_back = again and guard("store.readback")
        self._refresh()
        batch = self._batch(taken, done["frame_id"])
        self._stale = True  # until the arrays hold what the tables hold
        step("open.before")
        decision = decide_around(batch, self._try, self._poison, parts.log)
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

    def _done(self, taken: Taken, *, late: bool) -> np.ndarray:
        """Read back which frames of a cut have their fate, where some may have."""
        parts, cut = self._parts, (taken.name.first, taken.name.last)
        begun = parts.ledger.open_cut == cut or self._notes.about(taken.name)
        if not (late or (begun and guard("store.readback"))):
            return np.zeros(0, _DONE)
        return parts.engine.writer.rows(
            "SELECT frame_id, fate, sha256 FROM frames "
            "WHERE frame_id BETWEEN {first:UInt64} AND {last:UInt64}",
            _DONE,
            {"first": cut[0], "last": cut[1]},
        )

    def _keep_bodies(self, batch: Batch, decision: Decision) -> None:
        kept = [
            Kept(
                int(batch.frame_id[at]),
                source_of(batch.records[at].address),
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
            except (CancelledError, RuntimeError) as error:  # the loop ends: no frame's fault
                if self._stop.wait(_RETRY_S):
                    raise Stopped from None
                raise UnreachableError("vault", found=type(error).__name__) from error
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

    def _check_gap(self, name: SegmentName) -> None:
        """Segments of an epoch follow on one another; frames that never came are noted."""
        epoch = name.first >> NUMBER_BITS
        expected = max(self._parts.ledger.position_of(name.first) + 1, epoch << NUMBER_BITS)
        expected = self._holds.behind(expected)
        if name.count and name.first > expected:
            self._notes.gap(expected, name.first - 1, epoch)

    def _check_open_cut(self, names: list[SegmentName]) -> None:
        """A cut that was begun must still be there: only we release it."""
        cut = self._parts.ledger.open_cut
        if cut is None or any((name.first, name.last) == cut for name in names):
            self._parts.health.set("cut", None)
            return
        what = f"spool: the segment of frames {cut[0]} to {cut[1]} is gone before it was committed"
        self._parts.health.set("cut", what)
        if any(name.first > cut[1] for name in names):  # the sequence went on without it
            self._notes.gone(*cut, what)
            self._parts.ledger.abandon()
            self._parts.health.set("cut", None)

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
        new, self._said = text != self._said, text
        self._parts.log.error("pipeline waits", error=text, exc_info=error if new else None)


def _others(taken: Taken, done: np.ndarray) -> bool:
    """Tell whether a frame stands in the table with another hash than it has here."""
    here = dict(zip(taken.frame_ids, taken.records, strict=True)) if len(done) else {}
    return any(
        frame_id in here and sha256(here[frame_id].frame).digest() != bytes(digest)
        for frame_id, _, digest in done.tolist()
    )
