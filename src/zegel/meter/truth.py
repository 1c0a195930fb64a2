"""The truth file: what the world produced, written before a single byte of it is encoded.

    the line ZTRUTH1, then blocks, one for each day of at most `CHUNK` meters:
    day u4 | meters m u4 | quarters q u4 | serials m x 16 bytes | t q x i8 |
    import_wh m x q x i8 | export_wh m x q x i8          all little-endian

`day` counts from 1970-01-01, `t` is the end of a quarter hour in UTC seconds, registers are
cumulative and in Wh. The same world gives the same bytes, on every machine.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from zegel.errors import DamagedError, StorageError, UsageError
from zegel.meter.world import DayReadings

__all__ = ["MAGIC", "SERIAL", "Truth", "TruthBlock", "TruthWriter", "truth_sha256"]

MAGIC = b"ZTRUTH1\n"
SERIAL = np.dtype("S16")
HEAD = struct.Struct("<III")
PIECE = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class TruthBlock:
    """A day of `m` meters: `serials` (m,) S16, `t` (q,) int64, registers (m, q) int64 Wh."""

    day: int
    serials: NDArray[np.bytes_]
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]


class TruthWriter:
    """Write a truth file, block after block. A context manager: leave it before reading.

    Raises:
        StorageError: the file is there already, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("xb")
        except OSError as error:
            raise StorageError("truth file", where=str(path), found=error.strerror) from error
        self._file.write(MAGIC)

    def add(self, serials: NDArray[np.bytes_], readings: DayReadings) -> None:
        """Write a day of the meters named by `serials` (m,) S16."""
        meters, quarters = readings.import_wh.shape
        self._file.write(HEAD.pack(readings.day.ordinal, meters, quarters))
        self._file.write(serials.astype(SERIAL).tobytes())
        for column in (readings.day.t, readings.import_wh, readings.export_wh):
            self._file.write(np.ascontiguousarray(column, "<i8").tobytes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block's content begins, and its size."""

    day: int
    meters: int
    quarters: int
    at: int

    @property
    def registers_at(self) -> int:
        return self.at + self.meters * SERIAL.itemsize + self.quarters * 8

    @property
    def end(self) -> int:
        return self.registers_at + 2 * self.meters * self.quarters * 8


class Truth:
    """Read a truth file; only its index is kept in memory.

    Raises:
        DamagedError: no truth file, or one that is cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places = self._index()

    @property
    def days(self) -> list[int]:
        """The days in the file, in order."""
        return sorted({place.day for place in self._places})

    @property
    def values(self) -> int:
        """How many register values the file holds."""
        return sum(2 * place.meters * place.quarters for place in self._places)

    def blocks(self, day: int | None = None) -> Iterator[TruthBlock]:
        """Read the blocks of a day, or all of them."""
        for place in self._places:
            if day in (None, place.day):
                yield self._read(place)

    def change(self, day: int, meter: int, quarter: int, by_wh: int) -> None:
        """Falsify one import value of the file, in the day's first block: the fault `truth`.

        Raises:
            UsageError: the file has no such value.
        """
        place = next((place for place in self._places if place.day == day), None)
        if place is None or not (meter < place.meters and quarter < place.quarters):
            raise UsageError("truth value", where=f"day {day}, meter {meter}, quarter {quarter}")
        at = place.registers_at + 8 * (meter * place.quarters + quarter)
        with self.path.open("r+b") as file:
            file.seek(at)
            value = int.from_bytes(file.read(8), "little", signed=True)
            file.seek(at)
            file.write((value + by_wh).to_bytes(8, "little", signed=True))

    def _index(self) -> list[_Place]:
        places = []
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise DamagedError("truth file", where=str(self.path), expected="ZTRUTH1")
            at = len(MAGIC)
            while at < size:
                head = file.read(HEAD.size)
                if len(head) < HEAD.size:
                    raise DamagedError("truth file", where=str(self.path), found="cut")
                day, meters, quarters = HEAD.unpack(head)
                place = _Place(day, meters, quarters, at + HEAD.size)
                if place.end > size:
                    raise DamagedError("truth file", where=str(self.path), found="cut")
                places.append(place)
                at = place.end
                file.seek(at)
        return places

    def _read(self, place: _Place) -> TruthBlock:
        with self.path.open("rb") as file:
            file.seek(place.at)
            data = file.read(place.end - place.at)
        meters, quarters = place.meters, place.quarters
        serials = np.frombuffer(data, SERIAL, meters)
        numbers = np.frombuffer(data, "<i8", offset=meters * SERIAL.itemsize).astype("i8")
        t, registers = numbers[:quarters], numbers[quarters:].reshape(2, meters, quarters)
        return TruthBlock(place.day, serials, t, registers[0], registers[1])


def truth_sha256(paths: Iterable[Path]) -> str:
    """Return the SHA-256 over the contents of truth files, one after the other, as hex."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()
