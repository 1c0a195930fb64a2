"""Load for a node: a new fleet, its frames made beforehand, sent at a fixed rate."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from zegel.cli.client import Api
from zegel.cli.demo.api import NodeApi
from zegel.errors import UsageError
from zegel.meter.fleet import KEY_BYTES, Fleet, make_fleet
from zegel.meter.frames import Push, day_pushes
from zegel.meter.intake import take_in
from zegel.meter.sender import Sender
from zegel.meter.truth import TruthBlock
from zegel.meter.world import CHUNK, houses, simulate

__all__ = ["Load", "LoadResult", "text"]

ZONE = ZoneInfo("Europe/Amsterdam")
OPERATOR = 8  # beyond the demo's three
FIRST_METER = 1 << 33  # new meters get a random place below it
MOST_PUSHES, MOST_DAYS = 1_000_000, 366  # 3 kB each: they are made beforehand
CLOSED_LOOP_RATE = 12_000  # pushes a second to prepare for when no rate is given


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a load run did. Latencies from the moment a push was due to its receipt."""

    schema: Literal["zegel.fleet_run/1"] = "zegel.fleet_run/1"
    meters: int
    pushes: int
    rate: float
    sent: int
    confirmed: int
    resent: int
    failed: int
    seconds: float
    confirmed_per_second: float
    latency_ms: dict[str, float]
    generator_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """What to push. `run` takes the fleet in, makes the frames, sends them.

    Raises:
        UsageError: numbers that make no load, or too many pushes to make beforehand.
    """

    meters: int
    rate: float
    seconds: float
    seed: int
    suite: int
    keep_open: bool = False
    udp: bool = False

    def __post_init__(self) -> None:
        if self.meters < 1 or self.rate < 0 or self.seconds <= 0:
            found = f"{self.meters}, {self.rate}, {self.seconds}"
            expected = "--meters >= 1, --rate >= 0, --seconds > 0"
            raise UsageError("load", expected=expected, found=found)
        if self.suite not in KEY_BYTES:
            raise UsageError("--suite", expected="0, 1 or 2", found=self.suite)
        if self.pushes > MOST_PUSHES:
            raise UsageError("pushes", expected=f"<= {MOST_PUSHES}", found=self.pushes)
        if self.days > MOST_DAYS:
            expected = f">= {ceil(self.pushes / MOST_DAYS)} for so many pushes"
            raise UsageError("--meters", expected=expected, found=self.meters)

    @property
    def pushes(self) -> int:
        """How many pushes there are at most."""
        return ceil((self.rate or CLOSED_LOOP_RATE) * self.seconds)

    @property
    def days(self) -> int:
        """How many days each meter pushes."""
        return ceil(self.pushes / self.meters)

    def run(self, host: str, port: int, api: Api) -> LoadResult:
        """Push at the node whose edge is `host:port` and whose API is `api`."""
        fleet = make_fleet(
            self.seed, OPERATOR, secrets.randbelow(FIRST_METER), self.meters, self.suite
        )
        take_in(fleet, NodeApi(api), segment="load")
        made = list(self._frames(fleet))
        sender = Sender(host, port, rate=self.rate, keep_open=self.keep_open, udp=self.udp)
        began = time.process_time()
        stats = sender.run(self._timed(made))
        return LoadResult(
            meters=self.meters,
            pushes=len(made),
            rate=self.rate,
            sent=stats.sent,
            confirmed=stats.confirmed,
            resent=stats.resent,
            failed=stats.failed,
            seconds=round(stats.seconds, 3),
            confirmed_per_second=round(stats.confirmed / stats.seconds, 1),
            latency_ms=stats.percentiles(),
            generator_cpu_seconds=round(time.process_time() - began, 3),
        )

    def _timed(self, made: list[Push]) -> Iterator[Push]:
        """Stop a closed loop when its time is over; a fixed rate ends by itself."""
        until = time.monotonic() + self.seconds
        for push in made:
            if not self.rate and time.monotonic() > until:
                return
            yield push

    def _frames(self, fleet: Fleet) -> Iterator[Push]:
        """Make all frames: the days before today, so that none lies in the future."""
        now = datetime.now(ZONE)
        start, left = now.date() - timedelta(days=self.days), self.pushes
        for first in range(0, self.meters, CHUNK):
            serials = fleet.serials[first : first + CHUNK]
            built = houses(self.seed, fleet.first + first, len(serials))
            for number, day in enumerate(simulate(built, start, self.days, ZONE)):
                block = TruthBlock(
                    day.day.ordinal, serials, day.day.t, day.import_wh, day.export_wh
                )
                for push in day_pushes(fleet, block, number, int(now.timestamp()), ZONE):
                    if not left:
                        return
                    left -= 1
                    yield push


def text(result: LoadResult) -> str:
    """Return the result for people."""
    latency = ", ".join(f"{name} {value:g} ms" for name, value in result.latency_ms.items())
    done = f"{result.confirmed} of {result.pushes} confirmed in {result.seconds:.1f} s"
    lines = [
        f"pushes    {done}: {result.confirmed_per_second:.0f}/s",
        f"resends   {result.resent}; without a receipt {result.failed}",
        f"receipt   {latency or 'none'}",
        f"generator {result.generator_cpu_seconds:.1f} s of CPU",
    ]
    return "\n".join(lines)
