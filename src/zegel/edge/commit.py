"""Group commit: frames gathered on the loop, made durable together by one thread.

The loop gathers what was taken into one list; a commit swaps that list (on the loop, and
nowhere else), a thread writes and syncs it, and the loop sends the receipts. At least
`commit_ms` lie between two commits: without the wait there is one frame in each (spine trial).
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from zegel.edge.spool import Spool, SpoolUsage
from zegel.errors import StorageError, ZegelError
from zegel.node.config import SpoolConfig
from zegel.node.spool_format import Record, SegmentName

__all__ = ["Committer", "Sender", "Taken", "Worker"]

PROBE_S = 1.0  # between two tries after a failed append
FRAME_COST = 1_000  # bytes that a waiting frame takes beside its own: a flood may be of tiny ones
SEGMENT_RECORDS = 20_000  # sealed at so many too: what a segment costs the store is bounded
AGE_SEALS_UP_TO = 2  # unread segments; above it the store is behind, and small segments no help


class Sender(Protocol):
    """Whoever waits for what becomes of a frame."""

    def settle(self, receipt: bytes | None) -> bool:
        """The frame is durable: send the receipt, if there is one; tell whether it was sent."""

    def fail(self) -> None:
        """The frame could not be made durable: close without a receipt."""


class Taken(NamedTuple):
    """A frame on its way into the spool."""

    record: Record
    sender: Sender | None
    receipt: bytes | None


class Worker:
    """A thread that does one thing after the other and reports on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Callable[..., None]] | None]
        self._work = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[], Any], report: Callable[[Any, ZegelError | None], None]
    ) -> None:
        """Do `work` in the thread, then call `report(result, error)` on the loop."""
        self._work.put((work, report))

    def stop(self) -> None:
        """End the thread after what was submitted."""
        self._work.put(None)
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, report = item
            result: Any = None
            error: ZegelError | None = None
            try:
                result = work()
            except ZegelError as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001 - the receiver must live to say so
                found = f"{type(raised).__name__}: {raised}"
                error = StorageError("spool", expected="no internal failure", found=found)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                self._loop.call_soon_threadsafe(report, result, error)


class Committer:
    """Gathers frames, commits them, seals segments, and survives a full disk.

    `durable` and `failed` get each committed or lost batch; `changed` is called after
    anything that may change `disk_error` or `usage`. All on the loop.
    """

    def __init__(
        self,
        config: SpoolConfig,
        spool: Spool,
        *,
        durable: Callable[[list[Taken]], None],
        failed: Callable[[list[Taken]], None],
        changed: Callable[[], None],
    ) -> None:
        self._config, self._spool = config, spool
        self._durable, self._failed, self._changed = durable, failed, changed
        self._loop = asyncio.get_running_loop()
        self._worker = Worker(self._loop)
        self._waiting: list[Taken] = []
        self._due = False  # a commit is planned or under way
        self._last = 0.0  # loop time at the end of the last one
        self._seal_timer: asyncio.TimerHandle | None = None
        self._seal_late = self._sealing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting_bytes = 0
        self.disk_error: ZegelError | None = None
        self.usage: SpoolUsage = spool.usage

    def add(self, taken: Taken) -> None:
        """Take a frame in for the next commit."""
        self._waiting.append(taken)
        self.waiting_bytes += len(taken.record.frame) + FRAME_COST
        if not self._due and self.disk_error is None:
            self._plan()

    async def release(self, first: int, last: int) -> bool:
        """Drop a sealed segment; False if it was gone."""
        answer: asyncio.Future[bool] = self._loop.create_future()

        def done(result: tuple[bool, SpoolUsage] | None, error: ZegelError | None) -> None:
            if result is not None:
                self.usage = result[1]
                self._seal_if_late()
                self._changed()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result is not None and result[0])

        self._worker.submit(lambda: (self._spool.release(first, last), self._spool.usage), done)
        return await answer

    async def close(self, timeout_s: float) -> None:
        """Commit what waits (as far as the disk lets), seal, and close the spool."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        if self._seal_timer is not None:
            self._seal_timer.cancel()
        closed: asyncio.Future[None] = self._loop.create_future()

        def done(_result: None, _error: ZegelError | None) -> None:
            if not closed.done():
                closed.set_result(None)

        self._worker.submit(self._spool.close, done)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(closed, timeout_s)
        self._worker.stop()

    def _plan(self) -> None:
        self._due = True
        self._idle.clear()
        delay = self._last + self._config.commit_ms / 1000 - self._loop.time()
        if delay > 0:
            self._loop.call_later(delay, self._begin)
        else:
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        records = [taken.record for taken in batch]

        def work() -> SpoolUsage:
            self._spool.append(records)
            return self._spool.usage

        def done(usage: SpoolUsage | None, error: ZegelError | None) -> None:
            self._committed(batch, usage, error)

        self._worker.submit(work, done)

    def _committed(
        self, batch: list[Taken], usage: SpoolUsage | None, error: ZegelError | None
    ) -> None:
        self._due = False
        self._last = self._loop.time()
        self.waiting_bytes -= sum(len(taken.record.frame) + FRAME_COST for taken in batch)
        if usage is not None:
            self.usage = usage
            self._durable(batch)
            self._seal_when_full()
        else:
            self._failed(batch)
            self._lost_disk(error)
        if self._waiting and self.disk_error is None:
            self._plan()
        elif not self._due:
            self._idle.set()
        self._changed()

    def _seal_when_full(self) -> None:
        usage = self.usage
        if usage.open_bytes >= self._config.segment_bytes or usage.open_records >= SEGMENT_RECORDS:
            self._seal()
        elif self.usage.open_records and self._seal_timer is None and not self._seal_late:
            self._seal_timer = self._loop.call_later(self._config.segment_s, self._seal_by_age)

    def _seal_by_age(self) -> None:
        self._seal_timer = None
        self._seal_late = True
        self._seal_if_late()

    def _seal_if_late(self) -> None:
        if self._seal_late and self.usage.unread < AGE_SEALS_UP_TO:
            self._seal()

    def _seal(self) -> None:
        if self._sealing:
            return
        self._sealing, self._seal_late = True, False
        if self._seal_timer is not None:
            self._seal_timer.cancel()
            self._seal_timer = None
        self._worker.submit(lambda: (self._spool.seal(), self._spool.usage), self._sealed)

    def _sealed(
        self, result: tuple[SegmentName | None, SpoolUsage] | None, error: ZegelError | None
    ) -> None:
        self._sealing = False
        if result is not None:
            self.usage = result[1]
            self._seal_when_full()
        else:
            self._lost_disk(error)
        self._changed()

    def _lost_disk(self, error: ZegelError | None) -> None:
        if self.disk_error is None:
            self._loop.call_later(PROBE_S, self._probe)
        self.disk_error = error

    def _probe(self) -> None:
        self._worker.submit(self._spool.probe, self._probed)

    def _probed(self, _result: None, error: ZegelError | None) -> None:
        self.disk_error = error
        if error is not None:
            self._loop.call_later(PROBE_S, self._probe)
        else:
            if self._waiting and not self._due:
                self._plan()
            self._seal_when_full()
        self._changed()
