"""Key changes: the NEW keys, and the switch to one when its first frame comes.

A frame that the active key does not open is tried under the meter's NEW key. If that opens it
the meter has switched: NEW becomes ACTIVE, and the key before EXPIRED. That is durable before
the answer leaves. The store may ask for the same frames again (it, or we, may die before they
are stored), so the replaced key goes on opening the frames that came up to the switch: those
of the same epoch of the edge, up to the last frame id of that call.
"""

import numpy as np
from numpy.typing import NDArray

from zegel.node.health import HealthState
from zegel.node.spool_format import NUMBER_BITS
from zegel.vault.key_table import KeyTable
from zegel.vault.keys import KeyStore, State

__all__ = ["Rotation"]

_EPOCH = np.uint64(NUMBER_BITS)
_MAX_ID = 2**63 - 1  # of the database


class Rotation:
    """The keys beside the active ones. One thread only."""

    def __init__(self, keys: KeyStore, active: KeyTable, health: HealthState) -> None:
        self._keys, self._active, self._health = keys, active, health
        self._new = keys.load(State.NEW)  # a row not above the active version was used up
        self._used_up = 0
        self._last_frame = np.uint64(keys.last_frame())

    def bring_in(self, new: KeyTable) -> None:
        """Take NEW keys of a shipment."""
        self._new.put(new)

    def may_help(self, frame_ids: NDArray[np.uint64]) -> bool:
        """Tell whether any key but the active ones might open some of these frames."""
        return bool(len(self._new)) or bool(frame_ids.min() <= self._last_frame)

    def new(
        self, titles: NDArray[np.uint64], active: NDArray[np.int64]
    ) -> tuple[KeyTable, NDArray[np.int64]]:
        """Return the NEW keys, and the row of each title among them: (n,) int64, -1 for none.

        `active` (n,) is the row of each title among the active keys.
        """
        rows = self._new.find(titles)
        here = np.flatnonzero(rows >= 0)
        later = self._new.versions[rows[here]] > self._active.versions[active[here]]
        rows[here[~later]] = -1
        return self._new, rows

    def replaced(
        self, titles: NDArray[np.uint64], frame_ids: NDArray[np.uint64]
    ) -> tuple[KeyTable, NDArray[np.int64]]:
        """Return keys that were replaced after these frames came, and the row for each frame."""
        before = frame_ids <= self._last_frame
        found, last_frames = [], []
        for title in np.unique(titles[before]).tolist():
            raw = KeyTable.title_bytes(title)
            key = self._keys.replaced(raw)
            if key is not None:
                suite, version, envelope, last_frame = key
                found.append((raw, suite, version, envelope))
                last_frames.append(last_frame)
        table, last = KeyTable.columns(found), np.array(last_frames, np.uint64)
        rows = table.find(titles)
        here = np.flatnonzero(rows >= 0)
        ids, until = frame_ids[here], last[rows[here]]
        open_to = (ids <= until) & (ids >> _EPOCH == until >> _EPOCH)
        rows[here[~open_to]] = -1
        return table, rows

    def switch(self, rows: NDArray[np.int64], last_frame: np.uint64) -> None:
        """Make the NEW keys of these rows ACTIVE, durably; `last_frame` came before that.

        Raises:
            StorageError: the database cannot be written. Nothing has switched.
        """
        switched = self._new.take(np.unique(rows))
        titles = [KeyTable.title_bytes(title) for title in switched.titles.tolist()]
        last = min(int(last_frame), _MAX_ID)
        pairs = list(zip(titles, switched.versions.tolist(), strict=True))
        self._keys.switch(pairs, last)
        self._active.put(switched)
        self._last_frame = max(self._last_frame, np.uint64(last))
        self._health.count("keys_switched", len(switched))
        self._used_up += len(switched)
        if 2 * self._used_up > len(self._new):
            self._clear_away()

    def _clear_away(self) -> None:
        """Drop the rows that were used up."""
        active = self._active.find(self._new.titles)
        left = self._new.take(self._new.versions > self._active.versions[active])
        self._new, self._used_up = KeyTable(len(left)), 0
        self._new.fill(0, left)
