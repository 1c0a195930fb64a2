"""What went wrong with the spool for good: noted durably, an alarm until an operator clears it.

Each note has a file of its name in the folder `damaged`: the segment itself where it was set
aside, else a line of text. An operator who has dealt with it moves that file away; at the next
start the note is acknowledged: it is kept, and no alarm any more.
"""

import os
from pathlib import Path
from typing import Any

from zegel.errors import StorageError
from zegel.node.health import HealthState
from zegel.node.spool_format import SegmentName
from zegel.store.ledger import Damage, Ledger
from zegel.store.spool import keep

__all__ = ["Notes"]

_GAP, _GONE, _UNREAD = ".gap", ".gone", ".unread"


class Notes:
    """Used by the pipeline's thread.

    Raises:
        StorageError: from every method that notes: the note is not sure, do not go on.
    """

    def __init__(self, ledger: Ledger, folder: Path, health: HealthState, log: Any) -> None:
        self._ledger, self._folder = ledger, folder
        self._health, self._log = health, log

    def begin(self) -> None:
        """Acknowledge notes whose files were moved away, and say the others in health."""
        try:
            there = set(os.listdir(self._folder))  # noqa: PTH208 - names are all we need
        except FileNotFoundError:
            there = set()
        except OSError as error:
            where = str(self._folder)
            raise StorageError("damaged segments", where=where, found=error.strerror) from error
        for damage in self._ledger.damages():
            if damage.segment not in there:
                self._ledger.acknowledge(damage.segment)
                self._log.info("acknowledged", note=damage.segment, what=damage.what)
        self.tell()

    def tell(self) -> None:
        """Say in health what is noted and not acknowledged."""
        damages = self._ledger.damages()
        for damage in damages:
            self._health.set(_key(damage.segment), _text(damage))
        self._health.gauge("damages_noted", len(damages))

    def damaged(self, damage: Damage, data: bytes) -> None:
        """Set a damaged segment aside."""
        keep(self._folder / damage.segment, data)
        self._note(damage)

    def gap(self, first: int, last: int, epoch: int) -> None:
        """Note frames that never came."""
        what = f"spool: frames {first} to {last} of epoch {epoch} never came"
        self._note_text(SegmentName(first, last - first + 1), _GAP, what)

    def gone(self, first: int, last: int, what: str) -> None:
        """Note a segment that went before it was committed."""
        self._note_text(SegmentName(first, last - first + 1), _GONE, what)

    def unread(self, name: SegmentName, what: str) -> None:
        """Note a segment that cannot be read and was left in the spool."""
        self._note_text(name, _UNREAD, what)

    def about(self, name: SegmentName) -> bool:
        """Tell whether a segment was damaged, gone or unreadable before."""
        return any(self._ledger.noted(f"{name}{end}") for end in ("", _GONE, _UNREAD))

    def settled(self, name: SegmentName) -> None:
        """Take back that a segment is gone or unreadable: it has come to its end."""
        for note in (f"{name}{_GONE}", f"{name}{_UNREAD}"):
            if self._ledger.noted(note):
                self._ledger.forget(note)
                (self._folder / note).unlink(missing_ok=True)
                self._health.set(_key(note), None)

    def _note_text(self, name: SegmentName, end: str, what: str) -> None:
        damage = Damage(f"{name}{end}", what, name.first, name.count)
        if not self._ledger.noted(damage.segment):
            keep(self._folder / damage.segment, f"{what}\n".encode())
            self._note(damage)

    def _note(self, damage: Damage) -> None:
        self._ledger.note_damage(damage)
        self._log.error("noted", note=damage.segment, what=damage.what)
        self.tell()


def _key(note: str) -> str:
    return f"damage-{note}"


def _text(damage: Damage) -> str:
    if not damage.segment.endswith(".seg"):
        return damage.what
    last = damage.lost_first + damage.lost - 1
    lost = f"frames {damage.lost_first} to {last} lost" if damage.lost else "no frame lost"
    return f"damaged segment {damage.segment} set aside: {damage.what}; {lost}"
