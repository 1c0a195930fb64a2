"""A fleet: who the simulated meters of one operator are, and the keys they were born with.

Serials, titles and connections follow from the meter's index in the world and the operator's
number, so three operators never share one. Keys are random, whatever the seed.
"""

import secrets
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zegel.errors import UsageError
from zegel.meter.chance import below, meter_seeds

__all__ = ["KEY_BYTES", "Fleet", "KeyRing", "check_digit", "ean_of", "make_fleet", "split_evenly"]

KEY_BYTES = {0: 16, 1: 16, 2: 32}  # by security suite
TITLE_PREFIX = b"ZGM"  # maker of the simulated meters (three letters, IEC 62056-5-3)
EAN_PREFIX = "8716"  # the Netherlands' grid operators
KINDS = (
    ("Zuiderzee Meters", "ZM-1F", "core 1.4.2"),
    ("Zuiderzee Meters", "ZM-3F", "core 1.4.2"),
    ("Zuiderzee Meters", "ZM-3F", "core 1.5.0"),
    ("Waddenwerk", "W60-A", "core 2.0.7"),
    ("Waddenwerk", "W60-B", "core 2.1.0"),
)
FLOOR, KIND = 1, 2  # subjects of chance
METER_BITS, MOST_OPERATORS = 34, 63  # of the 40 bits behind the prefix of a title
LOWEST_FLOOR, HIGHEST_FLOOR = 64, 4096


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """Global unicast encryption and authentication keys of `count` meters; `repr` shows none."""

    count: int
    size: int  # bytes of one key
    _encryption: bytes = field(repr=False)
    _authentication: bytes = field(repr=False)

    @classmethod
    def draw(cls, count: int, suite: int) -> "KeyRing":
        """Draw new random keys."""
        size = KEY_BYTES[suite]
        draw = secrets.token_bytes
        return cls(count, size, draw(count * size), draw(count * size))

    def encryption(self, place: int) -> bytes:
        """Return the encryption key (GUEK) of the meter at `place`."""
        return self._encryption[place * self.size : (place + 1) * self.size]

    def authentication(self, place: int) -> bytes:
        """Return the authentication key (GAK) of the meter at `place`."""
        return self._authentication[place * self.size : (place + 1) * self.size]

    def __reduce__(self) -> str:
        raise TypeError("a KeyRing is not pickled")


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """The `n` meters of one operator; columns in the order of their index in the world.

    `serials` (n,) S16, also the COSEM logical device names; `titles` (n, 8) u1; `floors` (n,)
    int64, the invocation counter each had used before intake.
    """

    operator: int  # 0, 1, 2
    first: int  # index in the world of the first of them
    suite: int
    serials: NDArray[np.bytes_]
    titles: NDArray[np.uint8]
    floors: NDArray[np.int64]
    kinds: NDArray[np.int64]  # (n,) index in KINDS
    keys: KeyRing

    def __len__(self) -> int:
        return len(self.serials)

    def serial(self, place: int) -> str:
        """Return the serial of the meter at `place`."""
        return bytes(self.serials[place]).decode("ascii")

    def title(self, place: int) -> bytes:
        """Return the system title of the meter at `place`."""
        return bytes(self.titles[place])

    def ean(self, place: int) -> str:
        """Return the connection of the meter at `place`."""
        return ean_of((self.operator + 1) * 10**11 + self.first + place)

    def kind(self, place: int) -> tuple[str, str, str]:
        """Return maker, model and firmware of the meter at `place`."""
        return KINDS[int(self.kinds[place])]


def make_fleet(seed: int, operator: int, first: int, count: int, suite: int = 0) -> Fleet:
    """Make the meters `first` .. `first + count - 1` of the world, owned by an operator.

    Raises:
        UsageError: a suite that is not 0, 1 or 2, or numbers too large for a serial.
    """
    if suite not in KEY_BYTES:
        raise UsageError("security suite", expected="0, 1 or 2", found=suite)
    if not (0 <= operator < MOST_OPERATORS and first >= 0 and first + count < 1 << METER_BITS):
        expected = f"{MOST_OPERATORS} operators of 2**{METER_BITS} meters"
        raise UsageError("fleet", expected=expected, found=f"{operator}, {first + count}")
    numbers = range(first + 1, first + count + 1)
    serials = np.array([b"ZGL%02d%011d" % (operator + 1, number) for number in numbers], "S16")
    places = np.arange(first + 1, first + count + 1, dtype="u8")
    places |= np.uint64((operator + 1) << METER_BITS)
    titles = places.astype(">u8").view("u1").reshape(-1, 8)
    titles[:, :3] = np.frombuffer(TITLE_PREFIX, "u1")
    seeds = meter_seeds(seed, first, count)
    floors = below(seeds, FLOOR, LOWEST_FLOOR, HIGHEST_FLOOR)
    kinds = below(seeds, KIND, 0, len(KINDS))
    keys = KeyRing.draw(count, suite)
    return Fleet(operator, first, suite, serials, titles, floors, kinds, keys)


def ean_of(number: int) -> str:
    """Return an EAN of 18 digits: prefix, a number of 13 digits, check digit."""
    digits = f"{EAN_PREFIX}{number:013d}"
    return f"{digits}{check_digit(digits)}"


def check_digit(digits: str) -> int:
    """Return the check digit behind `digits`: weights 3 and 1 from the right (GS1, 7.9)."""
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits)))
    return -total % 10


def split_evenly(total: int, parts: int) -> list[int]:
    """Split meters over nodes, the first ones get one more: 10 over 3 gives 4, 3, 3."""
    share, rest = divmod(total, parts)
    return [share + (part < rest) for part in range(parts)]
