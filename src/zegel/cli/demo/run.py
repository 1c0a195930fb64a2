"""One run of the demo: world, truth, intake, pushes, and the comparison of every reading."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from zegel.calls.store import FatesReport
from zegel.cli.client import Api
from zegel.cli.demo.api import NodeApi, least_isolation
from zegel.cli.demo.check import REGISTERS, Counts, compare
from zegel.cli.demo.document import Document, FaultResult, Frames, Node, Readings
from zegel.cli.demo.nodes import NAMES, Nodes
from zegel.cli.demo.progress import Display
from zegel.errors import RefusedError, UnreachableError
from zegel.meter.faults import FAULTS, Scene, fault_frames
from zegel.meter.fleet import Fleet, make_fleet, split_evenly
from zegel.meter.frames import Push, day_pushes
from zegel.meter.intake import take_in
from zegel.meter.sender import Sender, SendStats
from zegel.meter.truth import Truth, TruthWriter, truth_sha256
from zegel.meter.world import CHUNK, houses, simulate

__all__ = ["ZONE", "Demo", "Operator", "Settings", "run"]

ZONE = ZoneInfo("Europe/Amsterdam")
SETTLE_S, FRAMES_A_SECOND = 60.0, 200  # how long the store may take: at least, and per frame
STILL_S = 5.0  # without a new frame for so long, no more will come
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for."""

    meters: int
    days: int
    start: date
    seed: int
    suite: int
    fault: str | None


@dataclass(slots=True)
class Operator:
    """One operator: its fleet, its truth file, its node's API, and what it sent."""

    name: str
    fleet: Fleet
    truth_path: Path
    pushed: int  # UTC seconds: the moment that all its pushes name
    api: NodeApi | None = None
    push_port: int = 0
    stats: SendStats = field(default_factory=SendStats)

    @property
    def node(self) -> NodeApi:
        """Its node's API.

        Raises:
            UnreachableError: asked for before the node is up.
        """
        if self.api is None:
            raise UnreachableError("node", where=self.name, expected="a running node")
        return self.api

    def truth(self) -> Truth:
        """Open the truth file."""
        return Truth(self.truth_path)

    def pushes(self, truth: Truth, number: int) -> Iterator[Push]:
        """Seal the fleet's pushes of day `number` of the demo, from what the truth file says."""
        for block in truth.blocks(truth.days[number]):
            yield from day_pushes(self.fleet, block, number, self.pushed, ZONE)


class Demo:
    """A run of the demo on three nodes. A context manager; its steps are called in order.

    Every step blocks; `stop` ends the one that is under way. `began` is the monotonic time at
    which the demo was asked for.
    """

    def __init__(self, settings: Settings, nodes: Nodes, display: Display, *, began: float) -> None:
        self.settings, self._display, self._began = settings, display, began
        self.stop = threading.Event()
        first, self.operators = 0, []
        for number, share in enumerate(split_evenly(settings.meters, len(NAMES))):
            fleet = make_fleet(settings.seed, number, first, share, settings.suite)
            name = NAMES[number]
            path = nodes.folder / f"{name}.truth"
            self.operators.append(Operator(name, fleet, path, int(time.time())))
            first += share

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exit_info: object) -> None:
        self.stop.set()

    def write_truth(self) -> str:
        """Let the world live and write it down; nothing has been encoded by then."""
        total, done = self.settings.meters, 0
        for operator in self.operators:
            with TruthWriter(operator.truth_path) as writer:
                for first in range(0, len(operator.fleet), CHUNK):
                    if self.stop.is_set():
                        break
                    serials = operator.fleet.serials[first : first + CHUNK]
                    built = houses(self.settings.seed, operator.fleet.first + first, len(serials))
                    for day in simulate(built, self.settings.start, self.settings.days, ZONE):
                        writer.add(serials, day)
                    done += len(serials)
                    self._display.step("world", done, total)
        return truth_sha256(operator.truth_path for operator in self.operators)

    def connect(self, nodes: Nodes) -> None:
        """Open each node's API and bring its meters and keys in."""
        for number, (operator, node) in enumerate(zip(self.operators, nodes, strict=True)):
            operator.api = NodeApi(Api(node.url, node.token_file))
            operator.push_port = node.push_port
            take_in(operator.fleet, operator.api, segment=f"{operator.name}-1")
            self._display.step("intake", number + 1, len(NAMES))

    def push(self) -> None:
        """Send every meter's push of every day.

        Raises:
            RefusedError: some pushes got no receipt after all tries.
        """
        total = self.settings.meters * self.settings.days
        truths = [operator.truth() for operator in self.operators]
        for number in range(self.settings.days):
            for operator, truth in zip(self.operators, truths, strict=True):
                if len(operator.fleet):
                    self.send(operator, operator.pushes(truth, number), total)

    def send(self, operator: Operator, pushes: Iterator[Push], total: int) -> None:
        """Send pushes to an operator's node and wait for all receipts."""
        before = sum(other.stats.confirmed for other in self.operators)
        sender = Sender("127.0.0.1", operator.push_port)
        stats = sender.run(
            pushes,
            stop=self.stop,
            progress=lambda now: self._display.step("pushes", before + now.confirmed, total),
        )
        operator.stats.add(stats)
        if stats.failed:
            what = "pushes without a receipt"
            raise RefusedError(what, where=operator.name, expected=0, found=stats.failed)

    def fault(self) -> None:
        """Make the fault that was asked for, at the first node's first meter."""
        name, operator, other = self.settings.fault, self.operators[0], self.operators[1]
        if name is None:
            return
        truth, last = operator.truth(), self.settings.days - 1
        if name == "truth":
            truth.change(truth.days[last], 0, 40, by_wh=1)
        block = next(truth.blocks(truth.days[last]))
        theirs = next(other.truth().blocks(truth.days[last]), block)
        scene = Scene(operator.fleet, block, last, operator.pushed, ZONE, other.fleet, theirs)
        frames = fault_frames(name, scene)
        sender = Sender("127.0.0.1", operator.push_port, tries=1, receipt_s=5.0)
        operator.stats.add(sender.run(frames, stop=self.stop))

    def settle(self) -> list[FatesReport]:
        """Wait, for a bounded time, until every frame that was sent has its fate."""
        return [self._settled(operator) for operator in self.operators]

    def _settled(self, operator: Operator) -> FatesReport:
        sent, now = operator.stats.sent, time.monotonic()
        until, moved, seen = now + SETTLE_S + sent / FRAMES_A_SECOND, now, -1
        while True:
            fates = operator.node.fates()
            now = time.monotonic()
            if fates.received != seen or fates.waiting:
                seen, moved = fates.received, now
            self._display.step(f"stored {operator.name}", fates.received, sent)
            enough = fates.received >= operator.stats.confirmed and now - moved > STILL_S
            done = fates.received >= sent and not fates.waiting
            if done or enough or now > until or self.stop.is_set():
                return fates
            time.sleep(POLL_S)

    def read_back(self, fates: list[FatesReport]) -> Counts:
        """Ask every node for all its readings and compare each with the truth."""
        counts, done = Counts(), 0
        total = len(self.operators) * self.settings.days
        for operator, fate in zip(self.operators, fates, strict=True):
            truth, mine = operator.truth(), Counts()
            for day in truth.days:
                blocks = list(truth.blocks(day))
                start, end = int(blocks[0].t[0]) - 900, int(blocks[0].t[-1])
                mine.add(compare(blocks, operator.node.readings(start, end)))
                done += 1
                self._display.step("readings", done, total)
            # the API gives effective values: a row stored beside another shows in the sum only
            mine.twice += max(0, REGISTERS * fate.rows_stored - mine.stored - mine.twice)
            counts.add(mine)
        return counts

    def document(
        self, before: FatesReport, fates: list[FatesReport], counts: Counts, sha256: str
    ) -> Document:
        """Draw up the result; `before` is the first node's fates before the fault."""
        settings, reasons = self.settings, Counter[str]()
        for fate in fates:
            reasons.update(fate.reasons)
        fleets = [(operator.name, len(operator.fleet)) for operator in self.operators]
        return Document(
            meters=settings.meters,
            days=settings.days,
            start=settings.start.isoformat(),
            seed=settings.seed,
            suite=settings.suite,
            nodes=[Node(name=name, meters=meters) for name, meters in fleets],
            frames=Frames(
                sent=sum(operator.stats.sent for operator in self.operators),
                received=sum(fate.received for fate in fates),
                stored=sum(fate.stored for fate in fates),
                duplicate=sum(fate.duplicate for fate in fates),
                quarantined=sum(fate.quarantined for fate in fates),
                reasons=dict(sorted(reasons.items())),
            ),
            rows_refused=sum(sum(fate.rows_refused.values()) for fate in fates),
            readings=Readings(
                expected=counts.expected,
                stored=counts.stored,
                missing=counts.missing,
                twice=counts.twice,
                wrong=counts.wrong,
            ),
            fault=self._found(before, fates[0], counts),
            truth_sha256=sha256,
            isolation=least_isolation(operator.node.isolation() for operator in self.operators),
            seconds=round(time.monotonic() - self._began, 2),
        )

    def _found(self, before: FatesReport, after: FatesReport, counts: Counts) -> FaultResult | None:
        """Count everything that went otherwise since `before`, at the node of the fault."""
        if self.settings.fault is None:
            return None
        found = Counter(after.reasons)
        found.subtract(before.reasons)
        found["duplicate"] = after.duplicate - before.duplicate
        found["stored"] = after.stored - before.stored
        found["rows_refused"] = sum(after.rows_refused.values())
        for name in ("missing", "twice", "wrong"):
            found[name] = getattr(counts, name)
        fault = FAULTS[self.settings.fault]
        return FaultResult(
            name=fault.name,
            expected=dict(fault.expected),
            found={name: count for name, count in sorted(found.items()) if count},
        )


async def run(demo: Demo, nodes: Nodes) -> Document:
    """Take every step of a demo whose nodes are running."""
    do = asyncio.to_thread
    sha256 = await do(demo.write_truth)
    await do(demo.connect, nodes)
    await do(demo.push)
    fates = await do(demo.settle)
    before = fates[0]
    if demo.settings.fault is not None:
        await do(demo.fault)
        fates = await do(demo.settle)
    counts = await do(demo.read_back, fates)
    return await do(demo.document, before, fates, counts, sha256)
