"""The measuring process of `zegel.cli.bench.core`: makes frames, measures ours, prints JSON.

Usage: python -m zegel.cli.bench.core_trial FRAMES.jsonl SECONDS
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cryptography
import numpy as np
import pyarrow as pa

from zegel.cosem.apdu import DataNotification
from zegel.cosem.batch import BatchDecoder
from zegel.cosem.push import PushRows, build_bodies, device_name, read_push
from zegel.cosem.seal import associated_data, open_split, seal, split

__all__ = ["Trial", "main"]

ZONE = ZoneInfo("Europe/Amsterdam")
DAY_START = 1_782_856_800  # 2026-07-01 00:00 in Amsterdam
QUARTERS, BATCH, METERS = 96, 256, 1024
WRITTEN = 512  # frames that peers may read
FEW = 64  # frames of a slice of the general decoder


class Trial:
    """Frames of a fleet, each meter with its own keys, and the steps of the path over them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        start = rng.integers(0, 2**31, (METERS, 2, 1))
        self._registers = start + rng.integers(0, 400, (METERS, 2, QUARTERS)).cumsum(axis=2)
        self._t = DAY_START + 900 * np.arange(1, QUARTERS + 1)
        self._names = np.array([device_name(number) for number in range(METERS)], "S16")
        self.plaintexts = [row.tobytes() for row in self.build()]
        self._titles = [b"ZGL%05d" % number for number in range(METERS)]
        self._keys = [(os.urandom(16), os.urandom(16)) for _ in range(METERS)]
        self._ring = {
            title: (key, associated_data(0x30, auth_key))
            for title, (key, auth_key) in zip(self._titles, self._keys, strict=True)
        }
        self.frames = self.seal()
        self.decoder = BatchDecoder(zone=ZONE.key)

    def build(self) -> np.ndarray:
        """Write every meter's plaintext."""
        imports, exports = self._registers[:, 0], self._registers[:, 1]
        counters = np.arange(1, METERS + 1)
        pushed = int(self._t[-1])
        return build_bodies(self._names, counters, pushed, self._t, imports, exports, zone=ZONE)

    def seal(self) -> list[bytes]:
        """Seal every plaintext."""
        parts = zip(self.plaintexts, self._keys, self._titles, strict=True)
        return [
            seal(plain, *keys, title, counter)
            for counter, (plain, keys, title) in enumerate(parts, 1)
        ]

    def open(self, frame: bytes) -> bytes:
        """Open one frame as the vault does: split, look the keys up, check, decipher."""
        title, _, counter, start = split(frame)
        key, aad = self._ring[title]
        return open_split(frame, start, title + counter.to_bytes(4, "big"), key, aad)

    def to_arrow(self, opened: Sequence[bytes]) -> pa.Table:
        """Decode a batch to an Arrow table, without a copy of its columns."""
        lengths = np.fromiter(map(len, opened), "i8", len(opened))
        rows = self.decoder.decode(b"".join(opened), lengths)
        names = ("frame", "t", "import_wh", "export_wh", "status")
        return pa.table({name: pa.array(getattr(rows, name)) for name in names})

    def general(self, frame: bytes) -> DataNotification:
        """Open one frame and decode it to typed values, clocks left as bytes."""
        return DataNotification.decode(self.open(frame))

    def general_columns(self, frame: bytes) -> PushRows:
        """Open one frame and decode it to columns with the general decoder."""
        return read_push(self.open(frame), zone=ZONE, period_s=900)

    def whole(self, frames: Sequence[bytes]) -> pa.Table:
        """Open and decode a batch to an Arrow table."""
        return self.to_arrow([self.open(frame) for frame in frames])

    def sums(self) -> list[int]:
        """Return the sum of all registers of each frame, from the Arrow columns."""
        table = self.whole(self.frames)
        both = table["import_wh"].to_numpy() + table["export_wh"].to_numpy()
        sums: list[int] = both.reshape(METERS, QUARTERS).sum(axis=1).tolist()
        return sums

    def write(self, path: Path) -> None:
        """Write frames for the peers, one JSON object a line."""
        parts = zip(self.frames, self._keys, self.plaintexts, strict=True)
        lines = [
            {"frame": frame, "key": key, "auth_key": auth_key, "plaintext": plain}
            for frame, (key, auth_key), plain in list(parts)[:WRITTEN]
        ]
        hexed = [{name: raw.hex() for name, raw in line.items()} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in hexed), encoding="ascii")

    def speeds(self, seconds: float) -> dict[str, float]:
        """Return frames a second of CPU time, of each step and of the whole."""
        frames, plain = _slices(self.frames, BATCH), _slices(self.plaintexts, BATCH)
        few, few_plain = _slices(self.frames, FEW), _slices(self.plaintexts, FEW)
        measured: dict[str, tuple[Step, list[Slice]]] = {
            "open": (_each(self.open), frames),
            "decode": (self.to_arrow, plain),
            "open+decode to Arrow": (self.whole, frames),
            "general decoder": (_each(DataNotification.decode), few_plain),
            "open+general decoder": (_each(self.general), few),
            "open+general decoder to columns": (_each(self.general_columns), few),
        }
        speeds = {name: _speed(*step, seconds) for name, step in measured.items()}
        speeds["build"] = _speed(lambda _: self.build(), [self.plaintexts], seconds)
        speeds["seal"] = _speed(lambda _: self.seal(), [self.plaintexts], seconds)
        return speeds


Slice = Sequence[bytes]
Step = Callable[[Slice], object]


def _slices(items: Slice, size: int) -> list[Slice]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _each(step: Callable[[bytes], object]) -> Step:
    """Return a step that keeps none of its results: kept objects are the collector's work."""

    def every(items: Slice) -> None:
        for item in items:
            step(item)

    return every


def _speed(step: Step, slices: Sequence[Slice], at_least: float) -> float:
    """Return items a second of the fastest of the slices, taken in turn for `at_least` seconds."""
    best, spent = 0.0, 0.0
    for part in cycle(slices):
        start = time.process_time()
        step(part)
        took = time.process_time() - start
        best, spent = max(best, len(part) / took), spent + took
        if spent > at_least:
            break
    return best


def main(path: Path, seconds: float) -> dict[str, Any]:
    """Measure; return what `zegel.cli.bench.core` makes its results of."""
    trial = Trial()
    trial.whole(trial.frames)  # the layout is learnt here
    trial.write(path)
    return {
        "frame_bytes": len(trial.frames[0]),
        "plaintext_bytes": len(trial.plaintexts[0]),
        "batch": BATCH,
        "frames_per_s": trial.speeds(seconds),
        "sums": trial.sums(),
        "on_fast_path": trial.decoder.cache.on,
        "off_fast_path": dict(trial.decoder.cache.off),
        "versions": {
            "cryptography": cryptography.__version__,
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), float(sys.argv[2]))))
