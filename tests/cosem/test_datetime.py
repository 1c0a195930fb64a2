from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.cosem.datetime import CosemDate, CosemDateTime, CosemTime
from zegel.errors import MalformedError

AMSTERDAM = ZoneInfo("Europe/Amsterdam")

# Clocks of real meters (tests/vectors) and the moments they mean.
CLOCKS = {
    "summer, deviation -120": ("07e5091b01092f0f00ff8880", None, "2021-09-27T07:47:15"),
    "winter, deviation -60": ("07e6020405102b1400ffc400", None, "2022-02-04T15:43:20"),
    "hundredths not given": ("07e5031702123200ffffc400", None, "2021-03-23T17:50:00"),
    "deviation 0": ("07e90c0e00100000ff000000", None, "2025-12-14T16:00:00"),
    "no deviation and no zone": ("07e1090f05052128ff800000", None, None),
    "no deviation, the zone in summer": (
        "07e1090f05052128ff800080",
        AMSTERDAM,
        "2017-09-15T03:33:40",
    ),
    "repeated hour, daylight bit set": (
        "07ea0a1907021e00ff800080",
        AMSTERDAM,
        "2026-10-25T00:30:00",
    ),
    "repeated hour, daylight bit clear": (
        "07ea0a1907021e00ff800000",
        AMSTERDAM,
        "2026-10-25T01:30:00",
    ),
    "repeated hour, status not given": (
        "07ea0a1907021e00ff8000ff",
        AMSTERDAM,
        "2026-10-25T00:30:00",
    ),
    "wildcard year": ("ffff0a1907021e00ff800000", AMSTERDAM, None),
    "last day of the month": ("07ea0afe07021e00ffffc400", None, None),
    "wildcard second counts as 0": ("07ea0a1907021eff00ffc400", None, "2026-10-25T01:30:00"),
}


@pytest.mark.parametrize(("raw", "zone", "utc"), CLOCKS.values(), ids=CLOCKS)
def test_utc_is_local_time_plus_deviation(raw: str, zone: ZoneInfo | None, utc: str | None) -> None:
    clock = CosemDateTime.decode(bytes.fromhex(raw))
    expected = None if utc is None else datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert clock.to_utc(zone) == expected
    assert clock.encode().hex() == raw


OUT_OF_RANGE = {
    "length": ("07ea", "date-time"),
    "month 13": ("07ea0d1907021e00ff800000", "month"),
    "month 0": ("07ea001907021e00ff800000", "month"),
    "day 32": ("07ea0a2007021e00ff800000", "day"),
    "day of week 8": ("07ea0a1908021e00ff800000", "day of week"),
    "hour 24": ("07ea0a1907181e00ff800000", "hour"),
    "minute 60": ("07ea0a1907023c00ff800000", "minute"),
    "second 60": ("07ea0a1907021e3cff800000", "second"),
    "hundredths 100": ("07ea0a1907021e0064800000", "hundredths"),
    "deviation 841": ("07ea0a1907021e0000034900", "deviation"),
    "deviation -721": ("07ea0a1907021e0000fd2f00", "deviation"),
}


@pytest.mark.parametrize(("raw", "what"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_field_out_of_range_is_refused_by_name(raw: str, what: str) -> None:
    with pytest.raises(MalformedError) as caught:
        CosemDateTime.decode(bytes.fromhex(raw))
    assert caught.value.what == what


@pytest.mark.parametrize(
    "raw", ["07ea021e07021e0000ffc400", "00000a1907021e0000ffc400", "000101010700000000034800"]
)
def test_a_day_that_does_not_exist_has_no_utc(raw: str) -> None:
    clock = CosemDateTime.decode(bytes.fromhex(raw))
    try:
        assert clock.to_utc() == datetime(1, 1, 1, 14, tzinfo=UTC)
    except MalformedError as error:
        assert error.what == "date"  # noqa: PT017


def test_a_year_that_leaves_the_calendar_is_refused() -> None:
    with pytest.raises(MalformedError, match="years 1"):
        CosemDateTime.decode(bytes.fromhex("000101010700000000ffc400")).to_utc()


@given(moment=st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001
def test_a_moment_survives_the_clock_of_a_dutch_meter(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    clock = CosemDateTime.from_utc(moment, AMSTERDAM)
    assert CosemDateTime.decode(clock.encode()).to_utc() == moment
    unset = CosemDateTime(clock.date, clock.time, None, clock.status)
    assert unset.to_utc(AMSTERDAM) == moment


def test_the_daylight_bit_follows_the_zone() -> None:
    summer = CosemDateTime.from_utc(datetime(2026, 7, 1, tzinfo=UTC), AMSTERDAM, status=1)
    winter = CosemDateTime.from_utc(datetime(2026, 1, 1, tzinfo=UTC), AMSTERDAM, status=0x81)
    assert (summer.status, summer.deviation, summer.dst) == (0x81, -120, True)
    assert (winter.status, winter.deviation, winter.dst) == (0x01, -60, False)
    assert CosemDateTime(winter.date, winter.time, None, 0xFF).dst is None


def test_an_offset_of_odd_seconds_is_refused() -> None:
    zone = timezone(timedelta(seconds=30))
    with pytest.raises(MalformedError, match="deviation"):
        CosemDateTime.from_utc(datetime(2026, 1, 1, tzinfo=UTC), zone)


def test_wildcards_print_as_stars_and_encode_back() -> None:
    clock = CosemDateTime.decode(bytes.fromhex("ffffffffffffffffff8000ff"))
    assert str(clock) == "*-*-*T*:*:*"
    assert clock.encode().hex() == "ffffffffffffffffff8000ff"
    assert str(CosemTime.decode(bytes.fromhex("09080732"))) == "09:08:07.50"
    assert CosemDate.decode(bytes.fromhex("07ea0a1907")).encode().hex() == "07ea0a1907"
    with pytest.raises(MalformedError, match="date"):
        CosemDate.decode(b"")
    with pytest.raises(MalformedError, match="time"):
        CosemTime.decode(b"12345")
