"""End to end at a fixed rate: sockets, spool, vault, store; the generator on the same cores.

A closed loop would hide a store that falls behind: it slows down with it. At a fixed rate a push
is due at its instant, and its latencies count from there. What is reported of the store is what
its tables hold; a push is queryable from then on.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from zegel.cli.bench import accounts
from zegel.cli.bench.bed import Bed, Look, bed
from zegel.cli.bench.generator import Burst, Go, Prepared, Sent
from zegel.cli.bench.verdict import GROWING, Cpu, Latency, Run, limit
from zegel.node.config import Config, ConsoleConfig, EdgeConfig, NodeConfig
from zegel.node.supervisor import Supervisor

__all__ = ["Case", "Sums", "measure", "one_node", "queryable"]

PUSH_BYTES = 3_100  # of a frame held by the generator, with what Python adds
MEMORY_SHARE = 0.4  # of what is free: as much may be taken by frames made beforehand
PREPARE_S, DRAIN_S = 600.0, 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What to push at: `rate` a second in all, for `seconds`."""

    rate: float
    seconds: float
    keep_open: bool = False
    connections: int = 4096

    @property
    def name(self) -> str:
        """What people call it."""
        kind = "connections kept open" if self.keep_open else "one connection per push"
        return f"{self.rate:g}/s, {kind}"


async def measure(beds: Sequence[Bed], case: Case, say: Say) -> Run:
    """Push one case at all beds together and wait until everything is stored.

    A store that takes longer than `DRAIN_S` is left behind, and its figures say so.
    """
    case = _within_memory(case)
    say(f"{case.name}: making {case.rate * case.seconds:.0f} pushes")
    order = Burst(
        port=0,
        rate=case.rate / len(beds),
        seconds=case.seconds,
        in_flight=case.connections // len(beds),
        keep_open=case.keep_open,
    )
    await asyncio.gather(
        *(
            one.generator.ask(
                msgspec.structs.replace(order, port=one.push_port), Prepared, PREPARE_S
            )
            for one in beds
        )
    )
    say(f"{case.name}: pushing for {case.seconds:g} s")
    pids = _pids(beds)
    restarts = _restarts(beds)
    for one in beds:
        one.looks.clear()
        await one.look()
    watching = [asyncio.create_task(one.watch()) for one in beds]
    try:
        begun = accounts.take(pids)
        window = asyncio.create_task(_snapshot_after(case.seconds, pids))
        asked = (one.generator.ask(Go(), Sent, case.seconds * 10 + 60) for one in beds)
        sent = await asyncio.gather(*asked)
        in_window = await window
        await _drained(beds, sent, watching)
        ended = accounts.take(pids)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    used = _cpu(ended.since(begun), in_window.since(begun), sum(one.pushes for one in sent))
    run = _run(beds, case, sent, used, in_window.since(begun), _restarts(beds) - restarts)
    say(f"{case.name}: {run.stored_in_window} stored in the window; {run.limited_by}")
    return run


def _within_memory(case: Case) -> Case:
    """Shorten a case whose frames would not fit in memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    seconds = min(case.seconds, free * MEMORY_SHARE / (PUSH_BYTES * case.rate))
    return Case(case.rate, float(f"{seconds:.3g}"), case.keep_open, case.connections)


def _pids(beds: Sequence[Bed]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"bench and supervisor": [os.getpid()]}
    for one in beds:
        for name, pid in one.pids().items():
            found.setdefault(name, []).append(pid)
    return found


def _restarts(beds: Sequence[Bed]) -> int:
    return sum(sum(one.supervisor.restarts.values()) for one in beds)


async def _snapshot_after(seconds: float, pids: dict[str, list[int]]) -> accounts.Snapshot:
    await asyncio.sleep(seconds)
    return accounts.take(pids)


async def _drained(
    beds: Sequence[Bed], sent: Sequence[Sent], watching: Sequence["asyncio.Task[None]"]
) -> None:
    """Wait until all that was confirmed is stored, or too long; the watching tasks look."""
    end = time.monotonic() + DRAIN_S
    for one, what in zip(beds, sent, strict=True):
        while one.looks[-1].fated - one.looks[0].fated < what.confirmed:
            for task in watching:
                if task.done():
                    task.result()
            if time.monotonic() > end:
                return
            await asyncio.sleep(0.02)


def _run(
    beds: Sequence[Bed],
    case: Case,
    sent: Sequence[Sent],
    cpu: dict[str, Cpu],
    window: accounts.Snapshot,
    restarted: int,
) -> Run:
    looks = [one.looks for one in beds]
    began = min(one.began for one in sent)
    sums = Sums.over(looks, began, case)
    times = np.concatenate(
        [queryable(one, what, case.rate / len(beds)) for one, what in zip(looks, sent, strict=True)]
    )
    stored = sum(one[-1].stored - one[0].stored for one in looks)
    off = sum(one[-1].off_fast_path - one[0].off_fast_path for one in looks)
    ours = sum(used.share for used in cpu.values())
    run = Run(
        name=case.name,
        rate=case.rate,
        seconds=case.seconds,
        kept_open=case.keep_open,
        nodes=len(beds),
        sent=sum(one.pushes for one in sent),
        confirmed=sum(one.confirmed for one in sent),
        confirmed_in_window=sum(one.confirmed_in_window for one in sent),
        stored=stored,
        stored_in_window=sums.stored,
        resent=sum(one.resent for one in sent),
        failed=sum(one.failed for one in sent),
        took_s=max(one.seconds for one in sent),
        drain_s=max(
            one[-1].at - (what.began + what.seconds) for one, what in zip(looks, sent, strict=True)
        ),
        receipt_ms=_worst_receipts(sent),
        queryable_ms=_latency(times),
        backlog_growth=sums.growth,
        backlog_most=sums.backlog_most,
        segments_most=max(look.segments for one in looks for look in one),
        growing=sums.growth > GROWING * case.rate,
        off_fast_path=off / max(stored, 1),
        cpu=cpu,
        machine_busy=window.busy,
        others_busy=max(window.busy - ours, 0.0),
        memory_mb=_memory(beds),
        disk_bytes_per_reading=_disk(beds),
        zones_restarted=restarted,
        limited_by="",
    )
    return msgspec.structs.replace(run, limited_by=limit(run))


@dataclass(frozen=True, slots=True)
class Sums:
    """Counters added up over all nodes, within the window.

    `growth` is that of the pushes that are due and not stored, fitted to the later two thirds,
    a second: a node that takes fewer than it is offered does not hide behind its store.
    """

    stored: int
    growth: float
    backlog_most: int  # receipted and not stored

    @classmethod
    def over(cls, looks: Sequence[Sequence[Look]], began: float, case: Case) -> "Sums":
        """Add up, at the instants at which the first node was looked at."""
        at = np.array([look.at for look in looks[0]])
        inside = at[(at >= began) & (at <= began + case.seconds)]
        if not len(inside):
            return cls(0, 0.0, 0)

        def column(name: str) -> NDArray[np.float64]:
            total = np.zeros(len(inside))
            for one in looks:
                seen = np.array([getattr(look, name) for look in one], "f8") - getattr(one[0], name)
                total += np.interp(inside, [look.at for look in one], seen)
            return total

        stored, received = column("fated"), column("received")
        late = inside > began + case.seconds / 3
        behind = case.rate * (inside - began) - stored
        growth = float(np.polyfit(inside[late], behind[late], 1)[0]) if late.sum() > 2 else 0.0
        return cls(int(stored[-1]), growth, int((received - stored).max()))


def queryable(looks: Sequence[Look], sent: Sent, rate: float) -> NDArray[np.float64]:
    """Return for each push the ms from when it was due until the tables held it.

    Pushes are stored in the order in which they came, so the k-th that was due is in the
    tables when k are. A look is taken for the instant at which it ended, so this errs upwards,
    by up to the time between two looks.
    """
    at = np.array([look.at for look in looks])
    fated = np.array([look.fated - looks[0].fated for look in looks])
    number = np.arange(sent.confirmed)
    seen = at[np.minimum(np.searchsorted(fated, number + 1), len(at) - 1)]
    times: NDArray[np.float64] = 1000 * (seen - sent.began - number / rate)
    return times


def _latency(times: NDArray[np.float64]) -> Latency:
    if not len(times):
        return Latency(0, 0, 0, 0)
    return Latency(*np.percentile(times, (50, 95, 99, 100)).round(2).tolist())


def _worst_receipts(sent: Sequence[Sent]) -> Latency:
    """Return the receipts' latencies; of several nodes the slowest one's."""
    names = ("p50", "p95", "p99", "max")
    return Latency(*(max(one.latency_ms.get(name, 0.0) for one in sent) for name in names))


def _cpu(whole: accounts.Snapshot, window: accounts.Snapshot, pushes: int) -> dict[str, Cpu]:
    """Tell CPU per push, until all is stored, and shares of the cores within the window."""
    cores = len(os.sched_getaffinity(0))
    return {
        name: Cpu(
            round(1e6 * user / pushes, 1),
            round(1e6 * system / pushes, 1),
            round(sum(window.used[name]) / window.at / cores, 4),
        )
        for name, (user, system) in whole.used.items()
    }


def _memory(beds: Sequence[Bed]) -> dict[str, tuple[float, float]]:
    """Return MB per kind of process, now and at most; of several nodes the largest."""
    found: dict[str, tuple[float, float]] = {}
    for one in beds:
        for name, pid in one.pids().items():
            now, most = (kb / 1000 for kb in accounts.memory_kb(pid))
            before = found.get(name, (0.0, 0.0))
            found[name] = (max(before[0], now), max(before[1], most))
    return found


def _disk(beds: Sequence[Bed]) -> float:
    """Return bytes on the disk per reading; parts that merges replaced are still there."""
    size = sum(accounts.bytes_below(one.supervisor.config.data("store")) for one in beds)
    return size / max(2 * sum(one.looks[-1].rows for one in beds), 1)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zegel-bench-"))
    folder.chmod(0o711)  # the zones' users pass through, and see nothing
    return folder


@asynccontextmanager
async def one_node() -> AsyncIterator[Bed]:
    """Start one node with its defaults on free ports, and a generator; remove all behind them."""
    folder = _folder()
    config = Config(
        node=NodeConfig(name="bench", data_dir=str(folder / "data")),
        edge=EdgeConfig(port=0),
        console=ConsoleConfig(port=0),
    )
    supervisor = Supervisor(config, quiet=True)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        await supervisor.start()
        stack.push_async_callback(supervisor.stop)
        yield await stack.enter_async_context(bed(supervisor))
