"""Local days and their quarter hours: 92, 96 or 100 of them (design section 10, Time)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUARTER_S", "LocalDay", "local_day"]

QUARTER_S = 900
QUARTERS = 96  # of a day of 24 hours on the wall


@dataclass(frozen=True, slots=True, eq=False)
class LocalDay:
    """One local day.

    `t` (q,) int64 UTC seconds: the *end* of each quarter hour, as a load profile stamps it.
    `slot` (q,) int64 0..95: the quarter on the wall clock in which each interval begins; in
    autumn an hour's slots come twice, in spring they are absent.
    """

    date: date
    t: NDArray[np.int64]
    slot: NDArray[np.int64]

    @property
    def start(self) -> int:
        """Local midnight, UTC seconds."""
        return int(self.t[0]) - QUARTER_S

    @property
    def end(self) -> int:
        """The next local midnight, UTC seconds: the last stamp of the day."""
        return int(self.t[-1])

    @property
    def ordinal(self) -> int:
        """Days since 1970-01-01."""
        return self.date.toordinal() - date(1970, 1, 1).toordinal()

    @property
    def weekend(self) -> bool:
        """Saturday or Sunday."""
        return self.date.weekday() >= 5


def local_day(day: date, zone: ZoneInfo) -> LocalDay:
    """Lay out the quarter hours of a local day."""
    first = datetime.combine(day, time(), zone)
    last = datetime.combine(day + timedelta(days=1), time(), zone)
    start, end = int(first.timestamp()), int(last.timestamp())
    begins = np.arange(start, end, QUARTER_S, dtype="i8")
    walls = [datetime.fromtimestamp(int(at), UTC).astimezone(zone) for at in begins]
    slot = np.array([wall.hour * 4 + wall.minute // 15 for wall in walls], "i8")
    return LocalDay(day, begins + QUARTER_S, slot)
