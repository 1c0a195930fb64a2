"""The demo goes on: meters push one after the other, first the days that lie behind, then today.

A push of today holds the quarter hours that are over; what the node has already, it counts as
rows seen twice. No reading is from the future.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from zegel.cli.demo.run import ZONE, Demo, Operator
from zegel.meter.frames import Push, day_pushes
from zegel.meter.sender import Sender
from zegel.meter.truth import TruthBlock
from zegel.meter.world import DayReadings, houses, simulate

__all__ = ["Feed"]

HORIZON = 10_000  # days a meter may live on


@dataclass(slots=True)
class _Life:
    """One meter's life after the demo's days."""

    days: Iterator[DayReadings]
    today: DayReadings
    pushes: int  # since intake


class Feed:
    """The pushes of a live demo: of each operator one meter at a time, in turn."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._lives: dict[tuple[int, int], _Life] = {}
        self._turn = 0

    def push(self) -> None:
        """Let the next meter of each operator push what it has."""
        for number, operator in enumerate(self._demo.operators):
            if len(operator.fleet):
                place = self._turn % len(operator.fleet)
                pushes = self._next(number, operator, place, int(time.time()))
                sender = Sender("127.0.0.1", operator.push_port, tries=3)
                operator.stats.add(sender.run(pushes, stop=self._demo.stop))
        self._turn += 1

    def _next(self, number: int, operator: Operator, place: int, now: int) -> Iterator[Push]:
        """Seal what a meter has that is over: a whole day and on to the next, or part of one."""
        life = self._life(number, operator, place)
        over = int((life.today.day.t <= now).sum())
        if not over:
            return
        block = TruthBlock(
            life.today.day.ordinal,
            operator.fleet.serials[place : place + 1],
            life.today.day.t[:over],
            life.today.import_wh[:, :over],
            life.today.export_wh[:, :over],
        )
        yield from day_pushes(operator.fleet, block, life.pushes, now, ZONE)
        life.pushes += 1
        if over == len(life.today.day.t):
            life.today = next(life.days)

    def _life(self, number: int, operator: Operator, place: int) -> _Life:
        life = self._lives.get((number, place))
        if life is None:
            settings = self._demo.settings
            house = houses(settings.seed, operator.fleet.first + place, 1)
            days = simulate(house, settings.start, settings.days + HORIZON, ZONE)
            for _ in range(settings.days):
                next(days)
            life = _Life(days, next(days), settings.days)
            self._lives[number, place] = life
        return life
