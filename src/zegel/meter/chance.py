"""Chance without state: a number is a hash of seed, meter, subject and time.

So meter k lives the same life whatever the size of the fleet, the order of the work or the
number of processes, and a million meters need no million generators. Whole numbers only: the
outcome is the same on every machine. This is for a simulation; keys come from `secrets`.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["below", "chance", "hash32", "meter_seeds"]

GOLDEN = 0x9E3779B97F4A7C15
MASK_64 = (1 << 64) - 1


def meter_seeds(seed: int, first: int, count: int) -> NDArray[np.uint64]:
    """Return the seeds of meters `first` .. `first + count - 1`: (count,) uint64 (SplitMix64)."""
    origin = _mix64(np.array([seed & MASK_64], "u8"))
    index = np.arange(first + 1, first + count + 1, dtype="u8")
    return _mix64((origin + index * np.uint64(GOLDEN)).astype("u8"))


def hash32(seeds: NDArray[np.uint64], subject: int, at: NDArray[np.int64] | int) -> np.ndarray:
    """Hash seeds (n,) with a subject and moments `at`: a number, or (q,) to give (n, q).

    Returns:
        uint32, uniform; (n,) or (n, q).
    """
    salted = _mix64(seeds + np.uint64((subject * GOLDEN) & MASK_64))
    low = (salted & np.uint64(0xFFFFFFFF)).astype("u4")
    moment = np.asarray(at, "i8").astype("u4") * np.uint32(0x9E3779B1)
    word = low[:, None] ^ moment[None, :] if moment.ndim else low ^ moment
    word = word ^ (word >> np.uint32(16))
    word *= np.uint32(0x85EBCA6B)
    word ^= word >> np.uint32(13)
    word *= np.uint32(0xC2B2AE35)
    word ^= word >> np.uint32(16)
    return word


def below(
    seeds: NDArray[np.uint64], subject: int, low: int, high: int, at: NDArray[np.int64] | int = 0
) -> NDArray[np.int64]:
    """Draw whole numbers `low <= x < high`, int64 of the shape that `hash32` gives."""
    drawn = (hash32(seeds, subject, at).astype("u8") * np.uint64(high - low)) >> np.uint64(32)
    return drawn.astype("i8") + low


def chance(
    seeds: NDArray[np.uint64], subject: int, per_mille: int, at: NDArray[np.int64] | int = 0
) -> NDArray[np.bool_]:
    """Let something happen `per_mille` times in a thousand."""
    happens: NDArray[np.bool_] = below(seeds, subject, 0, 1000, at) < per_mille
    return happens


def _mix64(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
