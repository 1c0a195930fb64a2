"""Who authenticated in a segment: the edge keeps a lane for them."""

from dataclasses import dataclass

import numpy as np

from zegel.store.batch import Batch, Decision
from zegel.store.fate import Fate
from zegel.store.spool import Taken

__all__ = ["Lane"]


@dataclass(frozen=True, slots=True)
class Lane:
    """System titles that authenticated, 8 bytes each, and the address of each, 16 bytes.

    Only stored frames count: a recorded frame that is sent again, from anywhere, is a duplicate
    and must not move the lane to its address.
    """

    titles: bytes = b""
    addresses: bytes = b""

    @classmethod
    def of(cls, taken: Taken, batch: Batch, decision: Decision, done: np.ndarray) -> "Lane":
        """Return those of a cut; frames whose fate was read back are among them."""
        authentic = set(batch.frame_id[decision.fate == Fate.STORED].tolist())
        authentic.update(done["frame_id"][done["fate"] == Fate.STORED].tolist())
        seen = {
            record.frame[2:10]: record.address
            for frame_id, record in zip(taken.frame_ids, taken.records, strict=True)
            if frame_id in authentic and record.frame[:1] == b"\xdb"
        }
        return cls(b"".join(seen), b"".join(seen.values()))
