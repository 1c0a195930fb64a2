"""Columns of COSEM date-times: 12 bytes <-> UTC seconds, many at once (IEC 62056-6-2, 4.1.6.1).

UTC = local time + deviation. Needs NumPy: import this module by its own name.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLOCK", "DOUBTFUL_BITS", "DST_BIT", "doubtful", "local_stamps", "utc_seconds"]

CLOCK = np.dtype(
    [
        ("year", ">u2"),
        ("month", "u1"),
        ("day", "u1"),
        ("weekday", "u1"),
        ("hour", "u1"),
        ("minute", "u1"),
        ("second", "u1"),
        ("hundredths", "u1"),
        ("deviation", ">i2"),
        ("status", "u1"),
    ]
)
DST_BIT = 0x80
DOUBTFUL_BITS = 0x03  # clock status: invalid value, doubtful value
NOT_SPECIFIED = 0xFF
FIRST_YEAR, LAST_YEAR = 1970, 2105
DEVIATIONS = (-720, 840)  # minutes; 0x8000, not specified, lies outside
OFFSET_STEP_S = 900  # no zone changes its offset within a quarter hour


def _month_table() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return, per month from January 1970, its first day since 1970-01-01 and its length."""
    months = np.arange(f"{FIRST_YEAR}-01", f"{LAST_YEAR + 1}-02", dtype="M8[M]")
    days = months.astype("M8[D]").astype("i4")
    return days[:-1], np.diff(days).astype("u1")


FIRST_DAY, MONTH_DAYS = _month_table()


def utc_seconds(clocks: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Turn clocks into UTC seconds by arithmetic.

    Args:
        clocks: any shape, dtype `CLOCK`.

    Returns:
        Seconds (same shape, int64) and where they hold (same shape, bool). False stands for what
        only the general decoder may judge: a field out of range or not specified, a deviation
        outside -720..840, a year outside 1970..2105. Seconds are meaningless there.
    """
    # field by field: copying a structured array as it stands is slow
    year, month, day, weekday, hour, minute, second, hundredths, deviation, _ = (
        np.ascontiguousarray(clocks[name]) for name in clocks.dtype.names or ()
    )
    year = year.astype("i4") - FIRST_YEAR
    # before the table is asked: month 13 would be another year's January
    good = (month >= 1) & (month <= 12) & (year >= 0) & (year <= LAST_YEAR - FIRST_YEAR)
    index = np.where(good, year * 12 + month - 1, 0)
    good &= (day >= 1) & (day <= MONTH_DAYS[index])
    good &= (hour < 24) & (minute < 60) & (second < 60)
    good &= (deviation >= DEVIATIONS[0]) & (deviation <= DEVIATIONS[1])
    good &= (weekday <= 7) | (weekday == NOT_SPECIFIED)
    good &= (hundredths < 100) | (hundredths == NOT_SPECIFIED)
    of_day = hour.astype("i4") * 60 + minute + deviation
    of_day *= 60
    of_day += second
    days = FIRST_DAY[index] + day
    days -= 1
    return days * np.int64(86_400) + of_day, good


def doubtful(status: np.ndarray) -> NDArray[np.bool_]:
    """Tell from clock status bytes (any shape, u1) whether the clock called itself doubtful."""
    found: NDArray[np.bool_] = ((status & DOUBTFUL_BITS) != 0) & (status != NOT_SPECIFIED)
    return found


def _offsets(t: NDArray[np.int64], zone: ZoneInfo) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the zone's offset in seconds, and whether summer time holds, at each `t`."""
    steps, inverse = np.unique(t // OFFSET_STEP_S, return_inverse=True)
    moments = [datetime.fromtimestamp(int(step) * OFFSET_STEP_S, UTC) for step in steps]
    local = [moment.astimezone(zone) for moment in moments]
    none = timedelta(0)
    offset = np.array([(at.utcoffset() or none).total_seconds() for at in local], "i8")
    summer = np.array([bool(at.dst()) for at in local], "?")
    inverse = inverse.reshape(t.shape)
    return offset[inverse], summer[inverse]


def local_stamps(
    t: NDArray[np.int64], zone: ZoneInfo, *, status: np.ndarray | int = 0
) -> np.ndarray:
    """Write UTC seconds as local clocks with deviation and DST bit.

    Args:
        t: any shape, int64 UTC seconds, 1970..2105.
        zone: the local zone; its offsets are whole minutes.
        status: further clock status bits, broadcast against `t`.

    Returns:
        Same shape, dtype `CLOCK`.
    """
    t = np.asarray(t, "i8")
    offset, summer = _offsets(t, zone)
    local = t + offset
    days, second = np.divmod(local, 86_400)
    months = days.astype("M8[D]").astype("M8[M]").astype("i8")
    clocks = np.empty(t.shape, CLOCK)
    clocks["year"], clocks["month"] = 1970 + months // 12, months % 12 + 1
    clocks["day"] = days - FIRST_DAY[months] + 1
    clocks["weekday"] = (days + 3) % 7 + 1  # 1970-01-01 was a Thursday; Monday is 1
    clocks["hour"], clocks["minute"] = second // 3600, second // 60 % 60
    clocks["second"], clocks["hundredths"] = second % 60, 0
    clocks["deviation"] = -(offset // 60)
    clocks["status"] = np.where(summer, DST_BIT, 0) | status
    return clocks
