"""Frames of a fleet: the same codec and the same ciphers that the node reads them with."""

from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from zegel.cosem.push import build_bodies, wrap
from zegel.cosem.seal import seal
from zegel.meter.fleet import Fleet
from zegel.meter.truth import TruthBlock

__all__ = ["BATCH", "Push", "counters_of", "day_pushes", "plaintexts", "sealed_push"]

BATCH = 256  # plaintexts made at once: a matrix of 0.7 MB
ID_MASK = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Push:
    """One push as it stands on the wire, and the invoke-id that its receipt names.

    `cut`: our side of the connection is shut after the last byte, nothing more will follow.
    """

    wire: bytes
    invoke_id: int
    cut: bool = False


def counters_of(fleet: Fleet, number: int) -> NDArray[np.int64]:
    """Return the counters of the fleet's push `number` (from 0) after intake: (n,)."""
    return fleet.floors + 1 + number


def plaintexts(
    block: TruthBlock, counters: NDArray[np.int64], pushed: int, zone: ZoneInfo
) -> NDArray[np.uint8]:
    """Write the pushes of a block of the truth: (m, length) u1, a DataNotification each."""
    return build_bodies(
        block.serials, counters, pushed, block.t, block.import_wh, block.export_wh, zone=zone
    )


def sealed_push(fleet: Fleet, place: int, counter: int, plaintext: bytes) -> Push:
    """Seal a plaintext with the keys of the meter at `place` and put it behind its header."""
    frame = seal(
        plaintext,
        fleet.keys.encryption(place),
        fleet.keys.authentication(place),
        fleet.title(place),
        counter,
        fleet.suite,
    )
    return Push(wrap(frame), counter & ID_MASK)


def day_pushes(
    fleet: Fleet, block: TruthBlock, number: int, pushed: int, zone: ZoneInfo
) -> Iterator[Push]:
    """Seal what the meters of a block push as their push `number` since intake.

    `pushed` is the moment of the push, UTC seconds. Frames are made as they are taken.
    """
    places = np.searchsorted(fleet.serials, block.serials)
    counters = counters_of(fleet, number)[places]
    for at in range(0, len(places), BATCH):
        part = slice(at, at + BATCH)
        rows = TruthBlock(
            block.day, block.serials[part], block.t, block.import_wh[part], block.export_wh[part]
        )
        bodies = plaintexts(rows, counters[part], pushed, zone)
        for place, counter, body in zip(places[part], counters[part], bodies, strict=True):
            yield sealed_push(fleet, int(place), int(counter), body.tobytes())
