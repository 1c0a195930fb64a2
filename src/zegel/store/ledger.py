"""The ledger: which cut of the spool is being worked on, and up to where all is committed.

A cut is one sealed segment. `begin` is durable before any work on it, so that the batch is the
same after a crash and what is in can be read back. Plain SQLite, every commit synced.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zegel.errors import ConflictError, StorageError
from zegel.node.spool_format import NUMBER_BITS

__all__ = ["Damage", "Ledger"]

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS cut (one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL,
 last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS position (epoch INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS damage (segment TEXT PRIMARY KEY, what TEXT NOT NULL,
 lost_first INTEGER NOT NULL, lost INTEGER NOT NULL, noted REAL NOT NULL);
CREATE TABLE IF NOT EXISTS acknowledged (segment TEXT PRIMARY KEY, noted REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a segment for good; `lost` frames from `lost_first` are not to be had.

    `segment` is the name of its file in the folder `damaged`.
    """

    segment: str
    what: str
    lost_first: int
    lost: int


class Ledger:
    """Used by one thread.

    Raises:
        StorageError: from every method, if the file or disk fails: the pipeline stands still.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._last = {int(row[0]): int(row[1]) for row in self._rows("SELECT * FROM position")}

    @property
    def position(self) -> int:
        """Last frame id that is committed; 0 if none is."""
        return max(self._last.values(), default=0)

    def position_of(self, first: int) -> int:
        """Return the last committed frame id of the epoch of frame `first`; 0 if none is."""
        return self._last.get(first >> NUMBER_BITS, 0)

    def begin(self, first: int, last: int) -> bool:
        """Fix the next cut durably. Return whether it had been begun before: read back then.

        Raises:
            ConflictError: another cut was begun and never committed; its segment is gone.
        """
        row = self._rows("SELECT first, last FROM cut")
        if row:
            if row[0] == (first, last):
                return True
            raise ConflictError(
                "cut of the spool",
                expected=f"frames {row[0][0]} to {row[0][1]}, begun before",
                found=f"frames {first} to {last}",
            )
        self._run("INSERT INTO cut VALUES (1, ?, ?)", (first, last))
        return False

    @property
    def open_cut(self) -> tuple[int, int] | None:
        """First and last frame id of the cut that was begun and is not committed."""
        rows = self._rows("SELECT first, last FROM cut")
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def commit(self, last: int) -> None:
        """Move the position to frame `last`, never back, and end the cut, both at once."""
        epoch = last >> NUMBER_BITS
        last = max(last, self._last.get(epoch, 0))
        self._run("BEGIN IMMEDIATE")
        try:
            self._run("INSERT OR REPLACE INTO position VALUES (?, ?)", (epoch, last))
            self._run("DELETE FROM cut")
            self._run("COMMIT")
        except StorageError:
            self._db.rollback()
            raise
        self._last[epoch] = last

    def abandon(self) -> None:
        """End a cut whose segment is gone; what is in of it stays."""
        self._run("DELETE FROM cut")

    def note_damage(self, damage: Damage) -> None:
        """Keep what was lost, for good."""
        self._run(
            "INSERT OR IGNORE INTO damage VALUES (?, ?, ?, ?, ?)",
            (damage.segment, damage.what, damage.lost_first, damage.lost, time.time()),
        )

    def noted(self, segment: str) -> bool:
        """Tell whether a damage of that name was ever noted and not forgotten."""
        return bool(self._rows("SELECT 1 FROM damage WHERE segment = ?", (segment,)))

    def forget(self, segment: str) -> None:
        """Take a note back: nothing is lost after all."""
        self._run("DELETE FROM acknowledged WHERE segment = ?", (segment,))
        self._run("DELETE FROM damage WHERE segment = ?", (segment,))

    def acknowledge(self, segment: str) -> None:
        """Keep that an operator has dealt with a damage."""
        self._run("INSERT OR IGNORE INTO acknowledged VALUES (?, ?)", (segment, time.time()))

    def damages(self) -> list[Damage]:
        """Return what was noted and is not acknowledged, oldest first."""
        sql = (
            "SELECT segment, what, lost_first, lost FROM damage "
            "WHERE segment NOT IN (SELECT segment FROM acknowledged) ORDER BY noted"
        )
        rows: list[Any] = self._rows(sql)
        return [Damage(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _rows(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[int, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _run(self, sql: str, values: tuple[object, ...] = ()) -> None:
        try:
            self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StorageError:
        return StorageError("ledger", where=str(self._path), found=error)
