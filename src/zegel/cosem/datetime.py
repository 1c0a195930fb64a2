"""COSEM date-time, date and time (IEC 62056-6-2, 4.1.6): typed, wildcards kept.

UTC = local time + deviation. Deviation 0x8000 says nothing: a configured zone and the
daylight bit of the clock status take its place.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

from zegel.errors import MalformedError

__all__ = ["CosemDate", "CosemDateTime", "CosemTime"]

ANY = 0xFF
ANY_YEAR = 0xFFFF
DEVIATION_UNSET = -0x8000
DEVIATIONS = range(-720, 841)  # minutes
DST = 0x80
STATUS_UNSET = 0xFF
MONTHS = {*range(1, 13), 0xFD, 0xFE, ANY}  # FD/FE: daylight saving end/begin
DAYS = {*range(1, 32), 0xFD, 0xFE, ANY}  # FD/FE: second last and last day of the month


@dataclass(frozen=True, slots=True)
class CosemDate:
    """A date of 5 bytes; 0xFFFF and 0xFF are wildcards, 0xFD and 0xFE special months and days."""

    year: int
    month: int
    day: int
    day_of_week: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 5 bytes.

        Raises:
            MalformedError: another length, or a field out of range.
        """
        _length("date", data, 5)
        date = cls(int.from_bytes(data[:2], "big"), data[2], data[3], data[4])
        date.check()
        return date

    def check(self) -> None:
        """Refuse fields out of range.

        Raises:
            MalformedError: it names the field. Day of week 0 is let through: Aidon writes it.
        """
        _field("year", 0, self.year, range(ANY_YEAR + 1))
        _field("month", 2, self.month, MONTHS)
        _field("day", 3, self.day, DAYS)
        _field("day of week", 4, self.day_of_week, {*range(8), ANY})

    def encode(self) -> bytes:
        """Write 5 bytes."""
        return self.year.to_bytes(2, "big") + bytes((self.month, self.day, self.day_of_week))

    @property
    def definite(self) -> bool:
        """Whether year, month and day name one day."""
        return self.year != ANY_YEAR and self.month <= 12 and self.day <= 31

    def __str__(self) -> str:
        year = "*" if self.year == ANY_YEAR else f"{self.year:04}"
        return f"{year}-{_two(self.month)}-{_two(self.day)}"


@dataclass(frozen=True, slots=True)
class CosemTime:
    """A time of day of 4 bytes; 0xFF is a wildcard."""

    hour: int
    minute: int
    second: int
    hundredths: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 4 bytes.

        Raises:
            MalformedError: another length, or a field out of range.
        """
        _length("time", data, 4)
        time = cls(*data)
        time.check()
        return time

    def check(self) -> None:
        """Refuse fields out of range.

        Raises:
            MalformedError: it names the field.
        """
        _field("hour", 0, self.hour, {*range(24), ANY})
        _field("minute", 1, self.minute, {*range(60), ANY})
        _field("second", 2, self.second, {*range(60), ANY})
        _field("hundredths", 3, self.hundredths, {*range(100), ANY})

    def encode(self) -> bytes:
        """Write 4 bytes."""
        return bytes((self.hour, self.minute, self.second, self.hundredths))

    @property
    def definite(self) -> bool:
        """Whether hour and minute are given; a wildcard second counts as 0."""
        return ANY not in (self.hour, self.minute)

    def __str__(self) -> str:
        text = ":".join(map(_two, (self.hour, self.minute, self.second)))
        return text if self.hundredths in (0, ANY) else f"{text}.{self.hundredths:02}"


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """A date-time of 12 bytes: date, time, deviation in minutes (None: not given), status."""

    date: CosemDate
    time: CosemTime
    deviation: int | None
    status: int

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 12 bytes.

        Raises:
            MalformedError: another length, or a field out of range.
        """
        _length("date-time", data, 12)
        date, time = CosemDate.decode(data[:5]), CosemTime.decode(data[5:9])
        minutes = int.from_bytes(data[9:11], "big", signed=True)
        if minutes == DEVIATION_UNSET:
            return cls(date, time, None, data[11])
        _field("deviation", 9, minutes, DEVIATIONS)
        return cls(date, time, minutes, data[11])

    def encode(self) -> bytes:
        """Write 12 bytes."""
        minutes = DEVIATION_UNSET if self.deviation is None else self.deviation
        head = self.date.encode() + self.time.encode()
        return head + minutes.to_bytes(2, "big", signed=True) + bytes((self.status,))

    @property
    def dst(self) -> bool | None:
        """The daylight saving bit; None where the status is not given (0xFF)."""
        return None if self.status == STATUS_UNSET else bool(self.status & DST)

    def local(self) -> datetime | None:
        """Return local time without zone, or None if a wildcard leaves it open.

        Raises:
            MalformedError: a day that its month does not have.
        """
        if not (self.date.definite and self.time.definite):
            return None
        second = 0 if self.time.second == ANY else self.time.second
        hundredths = 0 if self.time.hundredths == ANY else self.time.hundredths
        date, time = self.date, self.time
        try:
            return datetime(  # noqa: DTZ001 -- local time: its offset is what follows
                *(date.year, date.month, date.day, time.hour, time.minute, second),
                hundredths * 10_000,
            )
        except ValueError as error:
            raise MalformedError("date", expected="a day of its month", found=date) from error

    def to_utc(self, zone: tzinfo | None = None) -> datetime | None:
        """Return the moment in UTC, or None if wildcards, or no deviation and no zone.

        With deviation 0x8000, `zone` gives the offset and the daylight bit tells the two
        runs of the repeated hour apart.

        Raises:
            MalformedError: a day that its month does not have, or a year out of reach.
        """
        local = self.local()
        if local is None or (self.deviation is None and zone is None):
            return None
        try:
            if self.deviation is not None:
                return (local + timedelta(minutes=self.deviation)).replace(tzinfo=UTC)
            first = local.replace(tzinfo=zone, fold=0)
            second = local.replace(tzinfo=zone, fold=1)
            summer = self.dst is not False
            return (first if summer else second).astimezone(UTC)
        except OverflowError as error:
            raise MalformedError("date", expected="years 1..9999", found=self.date) from error

    @classmethod
    def from_utc(cls, moment: datetime, zone: tzinfo, *, status: int = 0) -> Self:
        """Return the date-time of an aware moment as a clock in `zone` shows it.

        The daylight bit of `status` is set as the zone has it.

        Raises:
            MalformedError: an offset that is no whole minute within -720..840.
        """
        local = moment.astimezone(zone)
        offset = local.utcoffset() or timedelta()
        minutes, rest = divmod(-int(offset.total_seconds()), 60)
        if rest or minutes not in DEVIATIONS:
            raise MalformedError("deviation", expected="minutes, -720..840", found=offset)
        date = CosemDate(local.year, local.month, local.day, local.isoweekday())
        hundredths = local.microsecond // 10_000
        time = CosemTime(local.hour, local.minute, local.second, hundredths)
        return cls(date, time, minutes, status | DST if local.dst() else status & ~DST)

    def __str__(self) -> str:
        return f"{self.date}T{self.time}"


def _length(name: str, data: bytes, length: int) -> None:
    if len(data) != length:
        raise MalformedError(name, expected=f"{length} bytes", found=f"{len(data)} bytes")


def _field(name: str, at: int, found: int, allowed: range | set[int]) -> None:
    if found not in allowed:
        expected = f"{allowed[0]}..{allowed[-1]}" if isinstance(allowed, range) else "its range"
        raise MalformedError(name, at=at, expected=expected, found=found)


def _two(number: int) -> str:
    return "*" if number == ANY else f"{number:02}"
