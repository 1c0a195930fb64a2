from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.meter.calendar import QUARTER_S, local_day
from zegel.meter.weather import weather_of
from zegel.meter.world import houses, simulate

ZONE = ZoneInfo("Europe/Amsterdam")
START = date(2026, 6, 1)


@pytest.mark.parametrize(
    ("day", "quarters"),
    [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (date(2026, 10, 24), 96)],
    ids=["spring", "autumn", "plain"],
)
def test_a_local_day_has_the_quarters_of_its_clock(day: date, quarters: int) -> None:
    laid_out = local_day(day, ZONE)
    assert len(laid_out.t) == quarters
    assert set(np.diff(laid_out.t).tolist()) == {QUARTER_S}
    assert laid_out.end == local_day(day + timedelta(days=1), ZONE).start


def test_slots_of_the_spring_hour_are_absent_and_of_the_autumn_hour_come_twice() -> None:
    spring = local_day(date(2026, 3, 29), ZONE).slot.tolist()
    autumn = local_day(date(2026, 10, 25), ZONE).slot.tolist()
    assert not set(range(8, 12)) & set(spring)
    assert [autumn.count(slot) for slot in range(7, 13)] == [1, 2, 2, 2, 2, 1]


def test_equal_seeds_give_equal_worlds_and_others_do_not() -> None:
    def last(seed: int) -> list[int]:
        *_, day = simulate(houses(seed, 0, 20), START, 2, ZONE)
        return day.import_wh.ravel().tolist()

    assert last(7) == last(7)
    assert last(7) != last(8)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 60), count=st.integers(1, 20))
def test_a_meter_lives_the_same_life_in_every_fleet(first: int, count: int) -> None:
    (whole,) = simulate(houses(3, 0, 80), START, 1, ZONE)
    (part,) = simulate(houses(3, first, count), START, 1, ZONE)
    assert (part.import_wh == whole.import_wh[first : first + count]).all()
    assert (part.export_wh == whole.export_wh[first : first + count]).all()


def test_registers_never_go_back_not_even_over_midnight() -> None:
    days = list(simulate(houses(1, 0, 200), date(2026, 10, 24), 3, ZONE))
    for name in ("import_wh", "export_wh"):
        run = np.concatenate([getattr(day, name) for day in days], axis=1)
        assert run.shape == (200, 96 + 100 + 96)
        assert (np.diff(run, axis=1) >= 0).all()
        assert run.min() >= 0
        assert run.max() < 2**32


def test_houses_differ_and_use_what_dutch_houses_use() -> None:
    (winter,) = simulate(houses(1, 0, 2000), date(2026, 1, 14), 1, ZONE)
    used = (winter.import_wh[:, -1] - winter.import_wh[:, 0]) / 1000
    assert len(set(used.tolist())) > 1500
    assert 4 < used.mean() < 25  # kWh a day, with electric cars and heat pumps among them


def test_panels_give_back_in_summer_by_day_only() -> None:
    (summer,) = simulate(houses(1, 0, 500), date(2026, 6, 20), 1, ZONE)
    given_back = np.diff(summer.export_wh, axis=1).sum(axis=0)
    assert given_back[:12].sum() == 0  # before 03:00
    assert given_back[44:60].sum() > given_back.sum() / 4  # around noon


def test_the_sun_stays_longer_in_june() -> None:
    june = weather_of(1, local_day(date(2026, 6, 21), ZONE)).sun
    december = weather_of(1, local_day(date(2026, 12, 21), ZONE)).sun
    assert (june > 0).sum() > 1.9 * (december > 0).sum() > 0
