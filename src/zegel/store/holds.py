"""Segments that stand still, so that the others go on."""

import time
from collections import Counter
from collections.abc import Sequence

from zegel.node.health import HealthState
from zegel.node.spool_format import SegmentName

__all__ = ["Holds"]


class Holds:
    """Used by the pipeline's thread. Lives in memory: at a restart everything is tried again."""

    def __init__(self, health: HealthState) -> None:
        self._health = health
        self._held: dict[SegmentName, float] = {}  # monotonic time at which it is tried again
        self._tries: Counter[SegmentName] = Counter()

    def look(self, names: Sequence[SegmentName]) -> set[SegmentName]:
        """Return which stand still now; forget those that are not in the spool any more."""
        there, now = set(names), time.monotonic()
        for name in [name for name in (*self._held, *self._tries) if name not in there]:
            self.end(name)
        return {name for name, until in self._held.items() if now < until}

    def failed(self, name: SegmentName) -> int:
        """Count a try that failed; return how many did."""
        self._tries[name] += 1
        return self._tries[name]

    def hold(self, name: SegmentName, why: str | None = None, *, for_s: float = 1e9) -> None:
        """Let a segment stand still; `why` is said in health as long as it does."""
        self._held[name] = time.monotonic() + for_s
        self._health.set(f"held-{name}", why)

    def end(self, name: SegmentName) -> None:
        """Forget a segment: it is done, or not there any more."""
        self._held.pop(name, None)
        self._tries.pop(name, None)
        self._health.set(f"held-{name}", None)

    def behind(self, expected: int) -> int:
        """Return the frame that follows on `expected` and the held segments from there on."""
        for name in sorted(self._held, key=lambda name: name.first):
            if name.first == expected:
                expected = name.last + 1
        return expected
