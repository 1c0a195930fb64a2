"""Compare what a node gives back with what the world produced: every value, in both ways."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zegel.meter.calendar import QUARTER_S
from zegel.meter.truth import TruthBlock

__all__ = ["Counts", "compare"]

REGISTERS = 2  # 1.8.0 and 2.8.0: a row is two readings


@dataclass(slots=True)
class Counts:
    """Readings (register values) by how they came back.

    `stored`: rows that came back, times two. `twice`: values beyond the first of a meter and
    moment. `wrong`: values that differ from the truth, or that it does not know.
    """

    expected: int = 0
    stored: int = 0
    missing: int = 0
    twice: int = 0
    wrong: int = 0

    def add(self, other: "Counts") -> Self:
        """Add other counts to these."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def compare(truth: Iterable[TruthBlock], batches: Iterable[pa.RecordBatch]) -> Counts:
    """Compare a day of one node: its blocks of the truth with what the API returned for it.

    Args:
        truth: blocks of one day, with equal `t`.
        batches: Arrow record batches with columns serial, t, import_wh, export_wh.
    """
    blocks = list(truth)
    places = {
        bytes(serial).decode(): place
        for place, serial in enumerate(serial for block in blocks for serial in block.serials)
    }
    t = blocks[0].t if blocks else np.zeros(0, "i8")
    imports = _join([block.import_wh for block in blocks])
    exports = _join([block.export_wh for block in blocks])
    seen = np.zeros(len(imports), "i8")
    counts = Counts(expected=REGISTERS * len(imports))
    for batch in batches:
        keys, known = _keys(batch, places, t)
        counts.stored += REGISTERS * len(keys)
        counts.wrong += REGISTERS * int((~known).sum())
        keys = keys[known]
        counts.wrong += int((_integers(batch, "import_wh")[known] != imports[keys]).sum())
        counts.wrong += int((_integers(batch, "export_wh")[known] != exports[keys]).sum())
        np.add.at(seen, keys, 1)
    counts.missing = REGISTERS * int((seen == 0).sum())
    counts.twice = REGISTERS * int(np.maximum(seen - 1, 0).sum())
    return counts


def _join(registers: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([part.ravel() for part in registers]) if registers else np.zeros(0, "i8")


def _keys(
    batch: pa.RecordBatch, places: dict[str, int], t: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return each row's place in the truth, (n,) int64, and whether it has one, (n,) bool."""
    serials = batch.column("serial").dictionary_encode()
    names = [places.get(_text(name), -1) for name in serials.dictionary.to_pylist()]
    meter = np.array([*names, -1], "i8")[serials.indices.to_numpy(zero_copy_only=False)]
    step, rest = np.divmod(_seconds(batch) - (t[0] if len(t) else 0), QUARTER_S)
    known = (meter >= 0) & (rest == 0) & (step >= 0) & (step < len(t))
    return meter * len(t) + step, known


def _text(name: object) -> str:
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)


def _seconds(batch: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the column t as UTC seconds, whether it is a number or a timestamp."""
    column = batch.column("t")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", tz="UTC")).cast(pa.int64())
    found: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype("i8")
    return found


def _integers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    """Return a column as int64; a value that is missing becomes -1, which no register says."""
    column = batch.column(name).fill_null(-1)
    found: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype("i8")
    return found
