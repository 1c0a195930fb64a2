"""Pushes to decode: fleets, odd encodings and their damage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from zegel.cosem import axdr
from zegel.cosem.apdu import DataNotification
from zegel.cosem.batch import DecodedBatch
from zegel.cosem.push import PROFILE_OBIS, build_bodies, device_name
from zegel.cosem.stamps import local_stamps
from zegel.cosem.types import Tag, Value

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
COLUMNS = ("frame", "t", "import_wh", "export_wh", "status", "clock_doubtful")
PER_FRAME = ("verdict", "identity", "invoke_id", "rows")


def midnight(day: date) -> int:
    return int(datetime.combine(day, time(), AMSTERDAM).timestamp())


def quarters(day: date) -> NDArray[np.int64]:
    """Return the ends of a local day's quarters, UTC seconds."""
    first, after = midnight(day), midnight(day + timedelta(days=1))
    return np.arange(first + 900, after + 1, 900)


@dataclass(frozen=True, slots=True)
class Fleet:
    names: NDArray[np.bytes_]
    counters: NDArray[np.int64]
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    status: NDArray[np.uint8]

    def bodies(self) -> NDArray[np.uint8]:
        return build_bodies(
            self.names,
            self.counters,
            int(self.t[-1]) + np.arange(len(self.names)),
            self.t,
            self.import_wh,
            self.export_wh,
            zone=AMSTERDAM,
            status=self.status,
        )

    def frames(self) -> list[bytes]:
        return [row.tobytes() for row in self.bodies()]


def fleet(meters: int, t: NDArray[np.int64], seed: int = 1) -> Fleet:
    rng = np.random.default_rng(seed)
    shape = (meters, len(t))
    return Fleet(
        np.array([device_name(number) for number in range(meters)], "S16"),
        np.arange(meters) + 0x0100_0000,  # above 24 bits: the invoke-id is the low part
        t,
        rng.integers(0, 2**32, shape),
        rng.integers(0, 2**32, shape),
        rng.integers(0, 256, shape, "u1"),
    )


def join(frames: Sequence[bytes]) -> tuple[bytes, NDArray[np.int64]]:
    return b"".join(frames), np.array([len(frame) for frame in frames], "i8")


def same(one: DecodedBatch, other: DecodedBatch) -> bool:
    """Tell whether two batches are equal in all but the way they were decoded."""
    if one.reason != other.reason:
        return False
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS + PER_FRAME
    )


Row = tuple[Value, Value, Value, Value]


def u32(number: int) -> Value:
    return Value(Tag.UINT32, number)


def clock(t: int, *, tag: Tag = Tag.OCTET_STRING) -> Value:
    return Value(tag, local_stamps(np.array([t], "i8"), AMSTERDAM).tobytes())


def rows(count: int, *, start: int = 1_764_025_200) -> list[Row]:
    status = Value(Tag.UINT8, 3)
    return [
        (clock(start + 900 * index), status, u32(1000 + index), u32(index))
        for index in range(count)
    ]


def push(
    table: Sequence[Sequence[Value]],
    *,
    name: bytes = b"ZGL0000000000042",
    profile: bytes = PROFILE_OBIS,
    array: Value | None = None,
    date_time: bytes = bytes(12),
) -> bytes:
    """Return a push with any rows."""
    if array is None:
        array = Value(Tag.ARRAY, tuple(Value(Tag.STRUCTURE, tuple(row)) for row in table))
    parts = (Value(Tag.OCTET_STRING, name), Value(Tag.OCTET_STRING, profile), array)
    return DataNotification(7, date_time, Value(Tag.STRUCTURE, parts)).encode()


def notification(body: Value) -> bytes:
    return b"\x0f\x00\x00\x00\x07\x00" + axdr.encode(body)
