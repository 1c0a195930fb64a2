"""One batch on its way: the frames of a cut as columns, and what is decided about each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from zegel.node.spool_format import Record, show_address
from zegel.store.fate import Fate
from zegel.store.headers import Headers
from zegel.store.native import strings
from zegel.store.readings import Rows
from zegel.store.spool import Taken

__all__ = ["Batch", "Decision", "arrange", "frame_columns", "peer"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """n frames in the order of their meters, then of their arrival.

    `frame_id` (n,) u8; `received` (n,) f8 UTC seconds; `meter` (n,) u8, 0 where the title is
    no meter's; `digest` (n,) V32 SHA-256 of the bytes as received.
    """

    records: list[Record]
    headers: Headers
    frame_id: NDArray[np.uint64]
    received: NDArray[np.float64]
    meter: NDArray[np.uint64]
    digest: np.ndarray
    cut: tuple[int, int]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What became of the n frames of a batch, and the rows of the stored ones.

    `fate`, `reason` (n,) u1; `version` (n,) u2, key version of those that were opened; `fast`,
    `opened` (n,) u1; `meter` (n,) u8; `what` says what is wrong, by place.
    """

    fate: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    version: NDArray[np.uint16]
    fast: NDArray[np.uint8]
    opened: NDArray[np.uint8]
    rows: Rows
    meter: NDArray[np.uint64]
    what: dict[int, str] = field(default_factory=dict)

    def stored(self) -> NDArray[np.bool_]:
        """Which frames are stored."""
        stored: NDArray[np.bool_] = self.fate == Fate.STORED
        return stored


def arrange(taken: Taken, places: Sequence[int], headers: Headers, meter: np.ndarray) -> Batch:
    """Sort the frames `places` of a cut by meter: then their rows come out sorted as well.

    `headers` and `meter` are those of all frames of the cut, in its order.
    """
    places_ = np.asarray(places, "i8")
    order = places_[np.argsort(meter[places_], kind="stable")]
    back = {int(old): new for new, old in enumerate(order)}
    picked = Headers(
        reason=headers.reason[order],
        title=headers.title[order],
        control=headers.control[order],
        counter=headers.counter[order],
        start=headers.start[order],
        size=headers.size[order],
        what={back[at]: text for at, text in headers.what.items() if at in back},
        clear=[back[at] for at in headers.clear if at in back],
    )
    records = [taken.records[at] for at in order.tolist()]
    digests = b"".join([sha256(record.frame).digest() for record in records])
    return Batch(
        records=records,
        headers=picked,
        frame_id=np.asarray(taken.frame_ids, "u8")[order],
        received=np.asarray(taken.received, "f8")[order],
        meter=meter[order],
        digest=np.frombuffer(digests, "V32"),
        cut=(taken.name.first, taken.name.last),
    )


def frame_columns(batch: Batch, decision: Decision) -> dict[str, np.ndarray | bytes]:
    """Return the columns of the `frames` table. A peer is kept of quarantined frames only."""
    rows = decision.rows
    quarantined = (decision.fate == Fate.QUARANTINED).tolist()
    peers = [peer(record) if quarantined[at] else "" for at, record in enumerate(batch.records)]
    return {
        "meter_id": decision.meter,
        "frame_id": batch.frame_id,
        "received": np.floor(batch.received * 1000).astype("i8"),
        "source": np.fromiter((record.source for record in batch.records), "u1", len(batch)),
        "system_title": batch.headers.title,
        "key_version": decision.version,
        "invocation_counter": batch.headers.counter,
        "sha256": batch.digest,
        "fate": decision.fate,
        "reason": decision.reason,
        "rows": rows.stored.astype("u4"),
        "duplicates": rows.duplicates.astype("u4"),
        "clock_ahead": rows.clock_ahead.astype("u4"),
        "implausible": rows.implausible.astype("u4"),
        "fast": decision.fast,
        "opened": decision.opened,
        "size": batch.headers.size.astype("u4"),
        "peer": strings(peers),
    }


def peer(record: Record) -> str:
    """Return the peer of a record as `address:port`."""
    address = show_address(record.address)
    return f"[{address}]:{record.port}" if ":" in address else f"{address}:{record.port}"
