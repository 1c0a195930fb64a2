"""The load generator of the benchmarks: a process of its own, so that its share can be told.

It makes a fleet, brings it to a node through the API, and then does what each line on standard
input says; each is answered by one line on standard output:

    TakeIn   make the meters and bring them in
    Burst    make so many frames beforehand; answered when they are ready
    Go       send them; answered with what became of them

Frames are those of the simulated fleet, meters in random order, day after day. Nothing is made
or sealed while it sends.
"""

import gc
import random
import resource
import sys
import time
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from zegel.cli.client import Api
from zegel.cli.demo.api import NodeApi
from zegel.meter.fleet import Fleet, make_fleet
from zegel.meter.frames import Push, day_pushes
from zegel.meter.intake import take_in
from zegel.meter.sender import Sender, SendStats
from zegel.meter.truth import TruthBlock
from zegel.meter.world import CHUNK, houses, simulate

__all__ = ["Burst", "Feed", "Go", "Order", "Prepared", "Sent", "TakeIn", "TakenIn", "main"]

ZONE = ZoneInfo("Europe/Amsterdam")
SEED = 7
OPERATOR = 40  # of the simulated fleets; demo and fleet run use others
MOST_DAYS = 300  # back from today: the store refuses what is older than 13 months


class TakeIn(msgspec.Struct, frozen=True, tag_field="do", tag="take_in"):
    """Make meters and bring them to the node. Without a URL: only make them."""

    meters: int
    operator: int = OPERATOR
    url: str = ""
    token_file: str = ""


class Burst(msgspec.Struct, frozen=True, tag_field="do", tag="burst"):
    """Prepare pushes: `rate` a second for `seconds`; rate 0: `pushes`, in a closed loop."""

    port: int
    rate: float
    seconds: float
    pushes: int = 0
    in_flight: int = 4096
    keep_open: bool = False


class Go(msgspec.Struct, frozen=True, tag_field="do", tag="go"):
    """Send what was prepared."""


class TakenIn(msgspec.Struct, frozen=True):
    """The meters are in; bringing them in took so long."""

    seconds: float


class Prepared(msgspec.Struct, frozen=True):
    """The frames are made."""

    pushes: int
    seconds: float


class Sent(msgspec.Struct, frozen=True):
    """What became of a burst. `began` on the monotonic clock; latencies in ms."""

    began: float
    seconds: float
    pushes: int
    confirmed: int
    confirmed_in_window: int  # within the seconds asked for
    resent: int
    failed: int
    latency_ms: dict[str, float]
    user_s: float
    system_s: float


Order = TakeIn | Burst | Go


class Feed:
    """The pushes of a fleet, day after day, as many as are asked for."""

    def __init__(self, meters: int, operator: int = OPERATOR) -> None:
        self.fleet: Fleet = make_fleet(SEED, operator, 0, meters)
        now = datetime.now(ZONE)
        start, self._pushed = now.date() - timedelta(days=MOST_DAYS), int(now.timestamp())
        self._chunks = [
            (first, simulate(houses(SEED, first, len(serials)), start, MOST_DAYS, ZONE))
            for first in range(0, meters, CHUNK)
            for serials in (self.fleet.serials[first : first + CHUNK],)
        ]
        self._day = 0
        self._ready: list[Push] = []
        self._random = random.Random(SEED)  # noqa: S311 - an order of meters, no secret

    def take(self, count: int) -> list[Push]:
        """Make the next `count` pushes."""
        while len(self._ready) < count:
            self._ready += self._next_day()
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    def _next_day(self) -> list[Push]:
        pushes: list[Push] = []
        for first, days in self._chunks:
            day = next(days)
            serials = self.fleet.serials[first : first + CHUNK]
            block = TruthBlock(day.day.ordinal, serials, day.day.t, day.import_wh, day.export_wh)
            pushes += day_pushes(self.fleet, block, self._day, self._pushed, ZONE)
        self._day += 1
        self._random.shuffle(pushes)
        return pushes


class _Worker:
    """Does the orders one after the other."""

    def __init__(self) -> None:
        self._feed: Feed | None = None
        self._burst = Burst(0, 0.0, 0.0)
        self._pushes: list[Push] = []

    def do(self, order: Order) -> object:
        if isinstance(order, TakeIn):
            return self._take_in(order)
        if isinstance(order, Burst):
            return self._prepare(order)
        return self._send()

    def _take_in(self, order: TakeIn) -> TakenIn:
        self._feed = Feed(order.meters, order.operator)
        began = time.monotonic()
        if order.url:
            api = NodeApi(Api(order.url, Path(order.token_file)))
            take_in(self._feed.fleet, api, segment="bench")
        return TakenIn(time.monotonic() - began)

    def _prepare(self, order: Burst) -> Prepared:
        assert self._feed is not None  # noqa: S101 - a fleet was ordered first
        began = time.monotonic()
        self._burst = order
        self._pushes = self._feed.take(order.pushes or ceil(order.rate * order.seconds))
        gc.collect()
        gc.freeze()  # half a million frames are not to be walked through while it sends
        return Prepared(len(self._pushes), time.monotonic() - began)

    def _send(self) -> Sent:
        order, pushes = self._burst, self._pushes
        sender = Sender(
            "127.0.0.1",
            order.port,
            in_flight=order.in_flight,
            rate=order.rate,
            keep_open=order.keep_open,
            receipt_s=30.0,
        )
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        at, receipts = [0.0], [0]  # seconds since the beginning, receipts by then

        def progress(now: SendStats) -> None:
            at.append(time.monotonic() - began)
            receipts.append(now.confirmed)

        stats = sender.run(pushes, progress=progress)
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._pushes = []
        gc.unfreeze()
        return Sent(
            began=began,
            seconds=stats.seconds,
            pushes=len(pushes),
            confirmed=stats.confirmed,
            confirmed_in_window=int(np.interp(order.seconds, at, receipts)),
            resent=stats.resent,
            failed=stats.failed,
            latency_ms=stats.percentiles(),
            user_s=after.ru_utime - before.ru_utime,
            system_s=after.ru_stime - before.ru_stime,
        )


def main() -> None:
    """Do what standard input says until it ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    worker = _Worker()
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        sys.stdout.buffer.write(msgspec.json.encode(worker.do(order)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
