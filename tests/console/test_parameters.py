"""Times and frame ids as they come in a request."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.console.api.parameters import frame_id, instant, timestamp
from zegel.errors import UsageError

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-29T00:00:00Z", 1_774_742_400),
        ("2026-03-29", 1_774_738_800),  # 23:00 UTC the day before
        ("2026-03-30", 1_774_738_800 + 92 * 900),
        ("2026-10-25", 1_792_879_200),
        ("2026-10-26", 1_792_879_200 + 100 * 900),
        ("2106-02-07T06:28:15Z", 2**32 - 1),
    ],
)
def test_a_time_is_utc_and_a_date_is_the_start_of_a_local_day(text: str, seconds: int) -> None:
    assert instant(text, "from", AMSTERDAM) == seconds


@given(st.text(max_size=30).filter(lambda text: not text[:4].isdecimal()))
@settings(max_examples=100)
def test_any_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="time; from; expected"):
        instant(text, "from", AMSTERDAM)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_a_timestamp_reads_back(seconds: int) -> None:
    assert instant(timestamp(seconds), "to", AMSTERDAM) == seconds


@pytest.mark.parametrize("text", ["2106-02-07T06:28:16Z", "1969-12-31", "9999-12-31", "0001-01-01"])
def test_a_time_that_the_store_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"1970 to 2105|RFC 3339"):
        instant(text, "to", AMSTERDAM)


def test_milliseconds_stand_only_where_there_are_any() -> None:
    second = datetime(2026, 3, 29, tzinfo=UTC).timestamp()
    assert timestamp(second) == "2026-03-29T00:00:00Z"
    assert timestamp(second + 0.25) == "2026-03-29T00:00:00.250Z"
    assert timestamp(second + 0.9999) == "2026-03-29T00:00:01Z"


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.0", " 1", "\u0661", "18446744073709551616", "1" * 30]
)
def test_what_is_no_frame_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="frame id; cursor"):
        frame_id(text, "cursor")


def test_the_largest_frame_id_is_read() -> None:
    assert frame_id("18446744073709551615", "cursor") == 2**64 - 1
