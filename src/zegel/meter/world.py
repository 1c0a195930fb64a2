"""The simulated world: houses and their registers, quarter hour by quarter hour.

Every house has a standby load, a fridge, people with habits (morning and evening peaks, another
weekend, absences); some have solar panels, an electric car, a heat pump. What a house takes or
gives back adds up in two registers that never go back. All of it is whole numbers and hashes of
seed, meter and time: equal seeds give equal worlds, and meter k is the same in every fleet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from zegel.meter.calendar import QUARTER_S, LocalDay, local_day
from zegel.meter.chance import below, chance, hash32, meter_seeds
from zegel.meter.weather import Weather, weather_of

__all__ = ["CHUNK", "DayReadings", "Houses", "houses", "simulate"]

CHUNK = 4096  # meters at a time: a day of them stays within 20 MB
QUARTERS = 96

# People's use through the day in per mille of the evening peak, by hour of the wall clock.
WORKDAY = (90, 60, 50, 50, 60, 130, 380, 620, 480, 300, 260, 280,
           340, 300, 260, 280, 400, 720, 1000, 960, 840, 700, 480, 230)  # fmt: skip
WEEKEND = (140, 90, 60, 50, 50, 60, 110, 260, 480, 640, 660, 640,
           680, 600, 540, 540, 620, 800, 960, 900, 800, 720, 560, 320)  # fmt: skip
HEATING = (600, 600, 600, 600, 700, 900, 1200, 1300, 1100, 950, 900, 850,
           850, 850, 900, 950, 1050, 1150, 1200, 1150, 1100, 1000, 800, 650)  # fmt: skip
CAR_POWER = (3700, 7400, 11_000)  # W

# Subjects of chance, one for each thing that is drawn.
(STANDBY, FRIDGE, FRIDGE_PHASE, FRIDGE_PERIOD, PEOPLE, HABIT, HAS_PANELS, PANELS, HAS_CAR,
 CAR, CAR_DAY, CAR_START, CAR_LENGTH, HAS_PUMP, PUMP, AWAY_WEEK, AWAY_DAY, USE, FIRST_IMPORT,
 FIRST_EXPORT) = range(10, 30)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Houses:
    """What `n` houses are, by column; powers in W, each (n,) int64 unless said.

    `first` is the index of the first of them in the world. `habit` shifts their day by
    quarters; `import_wh` and `export_wh` are their registers when the world begins.
    """

    seed: int
    first: int
    seeds: NDArray[np.uint64]
    standby: NDArray[np.int64]
    fridge: NDArray[np.int64]
    fridge_phase: NDArray[np.int64]
    fridge_period: NDArray[np.int64]
    people: NDArray[np.int64]
    habit: NDArray[np.int64]
    panels: NDArray[np.int64]
    car: NDArray[np.int64]
    pump: NDArray[np.int64]  # W for each K of cold
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True, slots=True, eq=False)
class DayReadings:
    """One local day of `n` meters: registers at the end of each of its `q` quarter hours.

    `first` is the index of the first meter; `import_wh` and `export_wh` (n, q) int64, cumulative.
    """

    first: int
    day: LocalDay
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]


def houses(seed: int, first: int, count: int) -> Houses:
    """Build the houses with index `first` .. `first + count - 1` of the world of `seed`."""
    seeds = meter_seeds(seed, first, count)

    def owns(subject: int, per_mille: int) -> NDArray[np.int64]:
        return chance(seeds, subject, per_mille).astype("i8")

    panels = below(seeds, PANELS, 5, 22) * 375 * owns(HAS_PANELS, 350)
    return Houses(
        seed,
        first,
        seeds,
        standby=below(seeds, STANDBY, 35, 160),
        fridge=below(seeds, FRIDGE, 60, 130),
        fridge_phase=below(seeds, FRIDGE_PHASE, 0, 64),
        fridge_period=below(seeds, FRIDGE_PERIOD, 3, 7),
        people=below(seeds, PEOPLE, 200, 1300),
        habit=below(seeds, HABIT, -6, 7),
        panels=panels,
        car=np.array(CAR_POWER, "i8")[below(seeds, CAR, 0, 3)] * owns(HAS_CAR, 220),
        pump=below(seeds, PUMP, 35, 110) * owns(HAS_PUMP, 180),
        import_wh=below(seeds, FIRST_IMPORT, 500_000, 45_000_000),
        export_wh=np.where(panels > 0, below(seeds, FIRST_EXPORT, 10_000, 20_000_000), 0),
    )


def simulate(built: Houses, start: date, days: int, zone: ZoneInfo) -> Iterator[DayReadings]:
    """Let the houses live `days` local days from `start`; one `DayReadings` for each day.

    Call it for at most `CHUNK` houses at a time to bound memory; chunks do not depend on
    each other.
    """
    taken = built.import_wh * 1000  # mWh, so that nothing is lost to rounding
    given = built.export_wh * 1000
    for number in range(days):
        day = local_day(start + timedelta(days=number), zone)
        net = _load(built, day, weather_of(built.seed, day))
        step = QUARTER_S * 1000 // 3600  # mWh for each W
        taken_by = np.cumsum(np.maximum(net, 0) * step, axis=1, dtype="i8") + taken[:, None]
        given_by = np.cumsum(np.maximum(-net, 0) * step, axis=1, dtype="i8") + given[:, None]
        taken, given = taken_by[:, -1].copy(), given_by[:, -1].copy()
        taken_by //= 1000
        given_by //= 1000
        yield DayReadings(built.first, day, taken_by, given_by)


def _load(built: Houses, day: LocalDay, weather: Weather) -> NDArray[np.int64]:
    """Return what each house takes from the grid on average in each quarter: (n, q), W."""
    quarter = day.t // QUARTER_S
    on = (quarter[None, :] + built.fridge_phase[:, None]) % built.fridge_period[:, None] < 2
    load: NDArray[np.int64] = built.standby[:, None] + built.fridge[:, None] * on
    load += _people(built, day, quarter)
    load += _car(built, day)
    heat = _by_slot(HEATING)[day.slot] * weather.cold
    load += built.pump[:, None] * heat[None, :] // 1000
    load -= built.panels[:, None] * weather.sun[None, :] // 1000
    return load


def _people(built: Houses, day: LocalDay, quarter: NDArray[np.int64]) -> NDArray[np.int64]:
    shape = _by_slot(WEEKEND if day.weekend else WORKDAY)
    slots = (day.slot[None, :] + built.habit[:, None]) % QUARTERS
    # between a quarter and almost twice of the habit: 1/1024 steps
    whim = (hash32(built.seeds, USE, quarter) >> np.uint32(21)).astype("i8")
    wanted = built.people[:, None] * shape[slots] * (whim + 256)
    used: NDArray[np.int64] = wanted // (1000 * 1280)
    used[_away(built, day)] = 0
    return used


def _away(built: Houses, day: LocalDay) -> NDArray[np.bool_]:
    """Tell which houses stand empty that day: (n,). More of them in summer."""
    holiday = 160 if day.date.month in (7, 8) else 25
    weeks = chance(built.seeds, AWAY_WEEK, holiday, (day.ordinal + 3) // 7)
    away: NDArray[np.bool_] = weeks | chance(built.seeds, AWAY_DAY, 30, day.ordinal)
    return away


def _car(built: Houses, day: LocalDay) -> NDArray[np.int64]:
    """Return the power of charging cars: (n, q). A session may run on after midnight."""
    place = np.arange(len(day.t), dtype="i8")[None, :]
    power = np.zeros((len(built), len(day.t)), "i8")
    for ordinal, shift in ((day.ordinal, 0), (day.ordinal - 1, QUARTERS)):
        plugged = chance(built.seeds, CAR_DAY, 400, ordinal)
        begin = below(built.seeds, CAR_START, 64, 95, ordinal) - shift
        length = below(built.seeds, CAR_LENGTH, 4, 24, ordinal) * plugged
        charging = (place >= begin[:, None]) & (place < (begin + length)[:, None])
        power = np.maximum(power, charging * built.car[:, None])
    return power


def _by_slot(by_hour: tuple[int, ...]) -> NDArray[np.int64]:
    """Spread 24 hourly values over 96 quarters, straight from hour to hour."""
    hours = np.array(by_hour, "i8")
    part = np.arange(4, dtype="i8")[None, :]
    spread = (hours[:, None] * (4 - part) + np.roll(hours, -1)[:, None] * part) // 4
    flat: NDArray[np.int64] = spread.ravel()
    return flat
