"""The meters as arrays: what the pipeline looks up. Never changed, only replaced."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["SERIAL_BYTES", "MeterIndex", "Meters"]

SERIAL_BYTES = 32
IDENTITY_BYTES = 16  # a COSEM logical device name


@dataclass(frozen=True, slots=True, eq=False)
class Meters:
    """Meters as columns.

    `meter_id` (m,) u8; `title` (m,) u8, the 8 bytes as they stand; `serial` (m,) S32; `floor`
    (m,) i8 counter floor; `alive` (m,) bool: frames are taken.
    """

    meter_id: NDArray[np.uint64]
    title: NDArray[np.uint64]
    serial: np.ndarray
    floor: NDArray[np.int64]
    alive: NDArray[np.bool_]


class MeterIndex:
    """Meters by id, title and serial.

    Arrays by meter id (ids are dense; row 0 is no meter): `floor` i8, `identity` V16: the
    device name that a push of this meter bears.
    """

    def __init__(self, meters: Meters) -> None:
        size = int(meters.meter_id.max(initial=0)) + 1
        self.largest = size - 1
        self._serial = np.zeros(size, f"S{SERIAL_BYTES}")
        self._title = np.zeros(size, "u8")
        self.floor = np.full(size, -1, "i8")
        self._alive = np.zeros(size, bool)
        at = meters.meter_id
        self._serial[at], self._title[at] = meters.serial, meters.title
        self.floor[at], self._alive[at] = meters.floor, meters.alive
        self._known = np.zeros(size, bool)
        self._known[at] = True
        self.identity = self._identities()
        alive = np.flatnonzero(self._alive)
        order = np.argsort(self._title[alive])
        self._ids = alive[order].astype("u8")
        self._titles = self._title[self._ids]

    def __len__(self) -> int:
        return int(np.count_nonzero(self._known))

    def find(self, titles: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the meter ids of system titles, (n,) u8; 0 where frames are not taken."""
        if not len(self._titles):
            return np.zeros(len(titles), "u8")
        place = np.minimum(np.searchsorted(self._titles, titles), len(self._titles) - 1)
        return np.where(self._titles[place] == titles, self._ids[place], np.uint64(0))

    def serial(self, meter_id: int) -> str:
        """Return a meter's serial; empty for an unknown id."""
        return self._serial[meter_id].decode("ascii") if 0 <= meter_id <= self.largest else ""

    def by_serial(self, serial: str) -> int:
        """Return the meter id of a serial, 0 if there is none."""
        data = serial.encode("ascii", "replace")
        if not data or len(data) > SERIAL_BYTES:
            return 0
        serials, ids = self._by_serial
        place = int(np.searchsorted(serials, data))
        return int(ids[place]) if place < len(serials) and serials[place] == data else 0

    def by_title(self, title: bytes) -> int:
        """Return the meter id of a system title whatever its state, 0 if there is none."""
        found = np.flatnonzero((self._title == int.from_bytes(title, "little")) & self._known)
        return int(found[0]) if len(found) else 0

    def ids(self) -> NDArray[np.uint64]:
        """Return all meter ids, ascending."""
        return np.flatnonzero(self._known).astype("u8")

    def serials(self, ids: NDArray[np.uint64]) -> list[str]:
        """Return the serials of meter ids."""
        return [serial.decode("ascii") for serial in self._serial[ids].tolist()]

    def meters(self) -> Meters:
        """Return the meters as columns."""
        at = self.ids()
        return Meters(at, self._title[at], self._serial[at], self.floor[at], self._alive[at])

    @cached_property
    def _by_serial(self) -> tuple[np.ndarray, NDArray[np.uint64]]:
        ids = self.ids()
        order = np.argsort(self._serial[ids])
        return self._serial[ids[order]], ids[order]

    def _identities(self) -> np.ndarray:
        """Return serials of exactly 16 characters as device names; others match none."""
        whole = np.char.str_len(self._serial) == IDENTITY_BYTES
        names = self._serial.view("u1").reshape(-1, SERIAL_BYTES)[:, :IDENTITY_BYTES]
        names = np.where(whole[:, None], names, 0xFF).astype("u1")
        return np.ascontiguousarray(names).view(f"V{IDENTITY_BYTES}")[:, 0]
