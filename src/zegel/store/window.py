"""Windows: which invocation counters of a meter have been stored, and with which bytes.

The truth is the `frames` table; the arrays here are the fast path, rebuilt from it at start.
A counter above the highest of its meter and key is unseen without a look-up. A lower one is
looked for among the meter's latest, then in the table.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from zegel.store.engine import Query

__all__ = ["DUPLICATE", "FORGED", "UNSEEN", "Windows"]

UNSEEN, DUPLICATE, FORGED = 0, 1, 2
LATEST = 4  # counters and hashes kept per meter
_RECENT_DAYS = 3  # of which the latest hashes are loaded at start

_HIGHEST = np.dtype([("meter", "<u8"), ("version", "<u2"), ("counter", "<u4"), ("first", "<u2")])
_SEEN = np.dtype([("meter", "<u8"), ("version", "<u2"), ("counter", "<u4"), ("hash", "V32")])

Seen = Callable[[NDArray[np.uint64], NDArray[np.uint32]], np.ndarray]


def hash64(digests: np.ndarray) -> NDArray[np.uint64]:
    """Return the first 8 bytes of SHA-256 digests, (n,) V32, as numbers."""
    return np.ascontiguousarray(digests).view("u8").reshape(-1, 4)[:, 0]


class Windows:
    """Arrays indexed by meter id. Used by the pipeline's thread only."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._version = np.zeros(0, "i4")
        self._first = np.zeros(0, "u2")  # lowest version that stored a frame; 65 535: none yet
        self._high = np.zeros(0, "i8")  # highest stored counter under `version`; -1: none
        self._counters = np.zeros((0, LATEST), "i8")  # latest stored ones; -1: empty
        self._hashes = np.zeros((0, LATEST), "u8")
        self._next = np.zeros(0, "u1")

    def grow(self, meters: int) -> None:
        """Make room for meter ids up to `meters`."""
        more = meters + 1 - len(self._high)
        if more <= 0:
            return
        more = max(more, len(self._high) // 8)
        self._version = np.append(self._version, np.zeros(more, "i4"))
        self._first = np.append(self._first, np.full(more, 0xFFFF, "u2"))
        self._high = np.append(self._high, np.full(more, -1, "i8"))
        self._counters = np.append(self._counters, np.full((more, LATEST), -1, "i8"), axis=0)
        self._hashes = np.append(self._hashes, np.zeros((more, LATEST), "u8"), axis=0)
        self._next = np.append(self._next, np.zeros(more, "u1"))

    def rebuild(self, query: Query, meters: int) -> None:
        """Read everything anew from the `frames` table."""
        self._reset()
        self.grow(meters)
        highest = query.rows(
            "SELECT meter_id, (max((key_version, invocation_counter)) AS top).1, top.2, "
            "min(key_version) FROM frames WHERE fate = 0 GROUP BY meter_id",
            _HIGHEST,
        )
        if not len(highest):
            return
        self.grow(int(highest["meter"].max()))
        recent = query.rows(
            "SELECT meter_id, key_version, invocation_counter, sha256 FROM frames "
            "WHERE fate = 0 AND received > (SELECT max(received) FROM frames) "
            "- toIntervalDay({days:UInt8}) "
            "ORDER BY frame_id DESC LIMIT {latest:UInt8} BY meter_id",
            _SEEN,
            {"days": _RECENT_DAYS, "latest": LATEST},
        )[::-1]
        self.add(recent["meter"], recent["version"], recent["counter"], hash64(recent["hash"]))
        meter = highest["meter"].astype("i8")
        self._version[meter] = highest["version"]
        self._first[meter] = highest["first"]
        self._high[meter] = highest["counter"]

    def known(
        self,
        meter: NDArray[np.uint64],
        counter: NDArray[np.uint32],
        digest: NDArray[np.uint64],
    ) -> NDArray[np.bool_]:
        """Tell which frames are byte for byte among their meter's latest stored ones.

        Such a frame needs no opening: the same bytes have authenticated before.
        """
        same = (self._counters[meter] == counter[:, None].astype("i8")) & (
            self._hashes[meter] == digest[:, None]
        )
        found: NDArray[np.bool_] = same.any(axis=1)
        return found

    def first_key(
        self, meter: NDArray[np.uint64], version: NDArray[np.uint16]
    ) -> NDArray[np.bool_]:
        """Tell which of these authentic frames came under their meter's first key: (n,) bool.

        That is the lowest version that stored a frame, or is among these. A later key counts
        anew from 0, so a counter floor says nothing about it.
        """
        meters, at = np.unique(meter, return_inverse=True)
        first = self._first[meters]
        np.minimum.at(first, at, version)
        came: NDArray[np.bool_] = version == first[at]
        return came

    def judge(
        self,
        meter: NDArray[np.uint64],
        version: NDArray[np.uint16],
        counter: NDArray[np.uint32],
        digest: NDArray[np.uint64],
        query: Query,
    ) -> NDArray[np.uint8]:
        """Return UNSEEN, DUPLICATE or FORGED for authenticated frames: (n,) u1."""
        verdict = np.full(len(meter), UNSEEN, "u1")
        same_key = version == self._version[meter]
        below = ~same_key | (counter.astype("i8") <= self._high[meter])
        below &= self._high[meter] >= 0
        old = np.flatnonzero(below)
        if not len(old):
            return verdict
        hit = self._counters[meter[old]] == counter[old, None].astype("i8")
        hit &= same_key[old, None]
        equal = (hit & (self._hashes[meter[old]] == digest[old, None])).any(axis=1)
        found = hit.any(axis=1)
        verdict[old[found]] = np.where(equal[found], DUPLICATE, FORGED)
        rest = old[~found]
        if len(rest):
            verdict[rest] = _look_up(query, meter[rest], version[rest], counter[rest], digest[rest])
        return verdict

    def add(
        self,
        meter: NDArray[np.uint64],
        version: NDArray[np.uint16],
        counter: NDArray[np.uint32],
        digest: NDArray[np.uint64],
    ) -> None:
        """Note stored frames, in the order in which they arrived. Repeating it changes nothing."""
        if not len(meter):
            return
        self.grow(int(meter.max()))
        order = np.argsort(meter, kind="stable")
        turn = _turns(meter[order])
        for k in range(int(turn.max()) + 1):  # the k-th frame of each meter; nearly always one
            pick = order[turn == k]
            self._add_one_each(meter[pick], version[pick], counter[pick], digest[pick])

    def _add_one_each(
        self,
        meter: NDArray[np.uint64],
        version: NDArray[np.uint16],
        counter: NDArray[np.uint32],
        digest: NDArray[np.uint64],
    ) -> None:
        newer = meter[version > self._version[meter]]
        self._counters[newer], self._high[newer] = -1, -1
        self._version[meter] = np.maximum(self._version[meter], version)
        self._first[meter] = np.minimum(self._first[meter], version)
        current = version == self._version[meter]
        current &= ~self.known(meter, counter, digest)
        m, c = meter[current], counter[current].astype("i8")
        place = self._next[m]
        self._counters[m, place], self._hashes[m, place] = c, digest[current]
        self._next[m] = (place + 1) % LATEST
        self._high[m] = np.maximum(self._high[m], c)


def _turns(meters: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return, for sorted meters, the how-manieth of its meter each one is, from 0."""
    starts = np.flatnonzero(np.append(True, meters[1:] != meters[:-1]))
    counts = np.diff(np.append(starts, len(meters)))
    turns: NDArray[np.int64] = np.arange(len(meters)) - np.repeat(starts, counts)
    return turns


def _look_up(
    query: Query,
    meter: NDArray[np.uint64],
    version: NDArray[np.uint16],
    counter: NDArray[np.uint32],
    digest: NDArray[np.uint64],
) -> NDArray[np.uint8]:
    """Look counters up in the `frames` table, by its primary key."""
    rows = query.rows(
        "SELECT meter_id, key_version, invocation_counter, sha256 FROM frames WHERE fate = 0 "
        "AND meter_id IN {meters:Array(UInt64)} AND invocation_counter IN {counters:Array(UInt32)}",
        _SEEN,
        {"meters": np.unique(meter).tolist(), "counters": np.unique(counter).tolist()},
    )
    seen = {
        (m, v, c): h
        for m, v, c, h in zip(
            rows["meter"].tolist(),
            rows["version"].tolist(),
            rows["counter"].tolist(),
            hash64(rows["hash"]).tolist() if len(rows) else [],
            strict=True,
        )
    }
    verdict = np.full(len(meter), UNSEEN, "u1")
    keys = zip(meter.tolist(), version.tolist(), counter.tolist(), digest.tolist(), strict=True)
    for place, (m, v, c, h) in enumerate(keys):
        if (m, v, c) in seen:
            verdict[place] = DUPLICATE if seen[m, v, c] == h else FORGED
    return verdict
