"""A zone's view of itself: reasons why it is not well, and counters."""

import os
import sys
import time
from collections import Counter

import zegel
from zegel.calls.base import HealthReport
from zegel.node import switches

__all__ = ["HealthState"]


class HealthState:
    """Reasons and counters of one zone. Safe to use from several threads."""

    def __init__(self, zone: str, *, isolation: str = "none") -> None:
        self.zone = zone
        self.isolation = isolation
        self.counters: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._started = time.time()

    def set(self, key: str, reason: str | None) -> None:
        """Say that something named `key` is not well, or (None) that it is well again."""
        if reason is None:
            self._reasons.pop(key, None)
        else:
            self._reasons[key] = reason

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] += n

    def gauge(self, name: str, value: int) -> None:
        """Set a figure that goes up and down."""
        self.counters[name] = value

    @property
    def reasons(self) -> list[str]:
        """What is not well, in the order in which it was said."""
        return list(self._reasons.values())

    def report(self) -> HealthReport:
        """Return the answer to a `Health` call."""
        reasons = self.reasons
        return HealthReport(
            zone=self.zone,
            ok=not reasons,
            reasons=reasons,
            pid=os.getpid(),
            uid=os.getuid(),
            isolation=self.isolation,
            test=switches.is_test(),
            build=zegel.__version__,
            started=self._started,
            modules=sorted(name for name in sys.modules if name.split(".")[0] == "zegel"),
            counters=dict(self.counters),
            guards_off=list(switches.current().guard_off),
        )
