"""Local days as columns: to which day an interval belongs, and until when it is not late."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

__all__ = ["LocalDays"]

_FIRST, _LAST = date(1990, 1, 1), date(2106, 1, 1)  # DateTime holds up to 7 February 2106
_LATE_HOUR = 6
_EPOCH = date(1970, 1, 1)


class LocalDays:
    """The days of one zone as a table of UTC instants: 92, 96 or 100 quarters are all days."""

    def __init__(self, zone: str) -> None:
        local = ZoneInfo(zone)
        count = (_LAST - _FIRST).days
        days = [_FIRST + timedelta(days=k) for k in range(count + 2)]
        self._first = (_FIRST - _EPOCH).days
        self._midnights = np.array([_seconds(day, 0, local) for day in days], "i8")
        self._mornings = np.array([_seconds(day, _LATE_HOUR, local) for day in days], "i8")

    @property
    def earliest(self) -> int:
        """UTC seconds of the first instant that has a day here."""
        return int(self._midnights[0]) + 1

    @property
    def latest(self) -> int:
        """UTC seconds of the last instant that has a day here."""
        return int(self._midnights[-2])

    def of_interval_ends(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the local day, in days since 1970, of intervals that end at `t`.

        An interval that ends at midnight belongs to the day before: the day of t - 1 s.
        """
        place = np.searchsorted(self._midnights, t, side="left") - 1
        days: NDArray[np.int64] = place + self._first
        return days

    def late_from(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return from when on a reading of `days` is late: 06:00 local of the day after."""
        late: NDArray[np.int64] = self._mornings[days - self._first + 1]
        return late

    def bounds(self, day: int) -> tuple[int, int]:
        """Return start and end, UTC seconds, of a local day given in days since 1970."""
        place = day - self._first
        return int(self._midnights[place]), int(self._midnights[place + 1])


def _seconds(day: date, hour: int, zone: ZoneInfo) -> int:
    local = datetime(day.year, day.month, day.day, hour, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp())
