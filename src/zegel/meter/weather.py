"""Sun and cold over the Netherlands, one weather for all houses of a world.

Sun by the usual formulas of declination and hour angle at 52.1 N 5.2 E; clouds and temperature
by chance. Results are whole numbers, so that a truth file is the same on every machine.
"""

from dataclasses import dataclass
from math import cos, pi, radians, sin

import numpy as np
from numpy.typing import NDArray

from zegel.meter.calendar import QUARTER_S, LocalDay
from zegel.meter.chance import below, meter_seeds

__all__ = ["Weather", "weather_of"]

LATITUDE, LONGITUDE = 52.1, 5.2  # degrees, De Bilt
TILT_GAIN = 1.15  # a roof faces the sun better than flat ground does
WEATHER_SEED = -1  # the index before the first meter
CLOUD, STEP, COLD = 1, 2, 3  # subjects of chance


@dataclass(frozen=True, slots=True, eq=False)
class Weather:
    """One day: `sun` (q,) int64, per mille of a panel's peak power; `cold` in K below 18 °C."""

    sun: NDArray[np.int64]
    cold: int


def weather_of(seed: int, day: LocalDay) -> Weather:
    """Return the weather of a day in the world of `seed`."""
    seeds = meter_seeds(seed, WEATHER_SEED, 1)
    clear = int(below(seeds, CLOUD, 150, 1000, day.ordinal)[0])  # per mille
    gusts = below(seeds, STEP, 700, 1001, day.t // QUARTER_S)[0]
    sun = _clear_sky(day) * clear * gusts // 1_000_000
    season = cos(2 * pi * (day.date.timetuple().tm_yday - 20) / 365)  # coldest in late January
    cold = max(0, round(8 + 8 * season) + int(below(seeds, COLD, -4, 5, day.ordinal)[0]))
    return Weather(sun, cold)


def _clear_sky(day: LocalDay) -> NDArray[np.int64]:
    """Return per mille of peak power under a clear sky, in the middle of each quarter: (q,)."""
    days = day.date.timetuple().tm_yday
    tilt = radians(-23.44) * cos(2 * pi * (days + 10) / 365)
    north = radians(LATITUDE)
    found = []
    for end in day.t.tolist():
        solar_hour = (end - QUARTER_S / 2) % 86_400 / 3600 + LONGITUDE / 15
        angle = radians(15 * (solar_hour - 12))
        height = sin(north) * sin(tilt) + cos(north) * cos(tilt) * cos(angle)
        found.append(min(1000, round(1000 * TILT_GAIN * height)) if height > 0 else 0)
    return np.array(found, "i8")
