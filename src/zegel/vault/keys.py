"""All keys of the vault, each in an envelope of the operator key, durable in SQLite.

An envelope is bound to system title, kind and version by its associated data: a row that is
moved to another meter, kind or version does not open. One envelope holds encryption key and
authentication key of a meter (kind UNICAST), one its master key.
"""

import hmac
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from zegel.calls.shipment import TITLE_BYTES, ShipmentRow
from zegel.errors import ConfigError, ConflictError, NotFoundError, StorageError
from zegel.vault.key_table import KeyTable
from zegel.vault.providers import Provider

__all__ = ["NOBODY", "KeyStore", "Kind", "State", "associated"]

SCHEMA = 2
NOBODY = bytes(TITLE_BYTES)  # stands where a system title would, for the vault's own secrets
_LOAD = 50_000  # rows read at a time
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE secrets (kind INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE shipments (number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE,
  rows INTEGER NOT NULL) STRICT;
CREATE TABLE keys (title BLOB NOT NULL, kind INTEGER NOT NULL, version INTEGER NOT NULL,
  suite INTEGER NOT NULL, state INTEGER NOT NULL, envelope BLOB NOT NULL,
  shipment INTEGER NOT NULL REFERENCES shipments,
  PRIMARY KEY (title, kind, version)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_active ON keys (title, kind) WHERE state = 1;
"""
_FROM_1 = """
ALTER TABLE keys ADD COLUMN last_frame INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX one_new ON keys (title, kind) WHERE state = 0;
"""
_STEPS = (_TABLES, _FROM_1)  # from schema 0, nothing, to 1; from 1 to 2


class Kind(IntEnum):
    """What an envelope holds."""

    UNICAST = 1  # encryption key, then authentication key
    MASTER = 2  # key encryption key
    DISK = 3  # of the store
    IMPORT = 4  # private half of the import key


class State(IntEnum):
    """What a key is good for. A meter has at most one NEW and one ACTIVE key of a kind."""

    NEW = 0  # of a later version than the active one; the first frame it opens makes it ACTIVE
    ACTIVE = 1
    EXPIRED = 2  # replaced; opens again what came until then, if it is asked for again
    WITHDRAWN = 3


def associated(title: bytes, kind: Kind, version: int) -> bytes:
    """Return what an envelope is bound to: "zegel", title, kind (u8) and version (u16)."""
    return b"zegel" + title + bytes((kind,)) + version.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class _Change:
    """A key that a shipment adds."""

    row: ShipmentRow
    kind: Kind
    state: State
    envelope: bytes

    def columns(self, shipment: int) -> tuple[object, ...]:
        row, state = self.row, self.state
        return row.title, self.kind, row.version, row.suite, state, self.envelope, shipment, 0


class KeyStore:
    """The database of envelopes. One thread only."""

    def __init__(self, db: sqlite3.Connection, path: Path, provider: Provider) -> None:
        self._db, self._path, self._provider = db, path, provider
        self._own_title = b""

    @classmethod
    def open(cls, path: Path, provider: Provider) -> Self:
        """Open the database, or make it.

        Raises:
            ConfigError: a newer version wrote it.
            StorageError: it cannot be read or written.
        """
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise StorageError("key database", where=str(path), found=error.strerror) from error
        with _naming(path):
            db = sqlite3.connect(path, isolation_level=None)
            store = cls(db, path, provider)
            try:
                store._prepare()
            except BaseException:
                db.close()
                raise
        return store

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @property
    def own_title(self) -> bytes:
        """The centre's client system title: made once; no meter may have it."""
        return self._own_title

    def secret(self, kind: Kind, make: Callable[[], bytes]) -> bytes:
        """Return a secret of the vault itself; `make` makes it the first time.

        Raises:
            DamagedError: its envelope does not open: damaged, or another operator key.
        """
        bound = associated(NOBODY, kind, 0)
        sql = "SELECT envelope FROM secrets WHERE kind = ?"
        with self._transaction() as db:
            row = db.execute(sql, (kind,)).fetchone()
            if row is not None:
                return self._provider.unwrap(row[0], bound)
            raw = make()
            envelope = self._provider.wrap(raw, bound)
            db.execute("INSERT INTO secrets VALUES (?, ?)", (kind, envelope))
        return raw

    def unwrap(self, title: bytes, kind: Kind, version: int) -> bytes:
        """Return a meter's key.

        Raises:
            NotFoundError: there is none.
            DamagedError: its envelope does not open.
        """
        sql = "SELECT envelope FROM keys WHERE title = ? AND kind = ? AND version = ?"
        with _naming(self._path):
            row = self._db.execute(sql, (title, kind, version)).fetchone()
        if row is None:
            raise NotFoundError(f"{kind.name.lower()} key, version {version}", where=title.hex())
        return self._provider.unwrap(row[0], associated(title, kind, version))

    def known_shipment(self, sha256: str) -> int | None:
        """Return the number of rows of a shipment that was taken in before, or None."""
        sql = "SELECT rows FROM shipments WHERE sha256 = ?"
        with _naming(self._path):
            row = self._db.execute(sql, (sha256,)).fetchone()
        return None if row is None else int(row[0])

    def bring_in(self, sha256: str, rows: Sequence[ShipmentRow]) -> tuple[int, KeyTable, KeyTable]:
        """Take in the rows of a shipment, all or none.

        A meter's first key is ACTIVE. A later version is NEW, in place of a NEW one that is
        earlier; any other is kept as EXPIRED. Returns how many meters got a key that was not
        here, and the unicast keys that are ACTIVE and those that are NEW from now on, each
        sorted by title.

        Raises:
            ConflictError: a row contradicts a key that is here, or has the centre's own title.
            DamagedError: a key that is here does not open, so nothing can be compared with it.
        """
        changes: list[_Change] = []
        with self._transaction() as db:
            sql = "INSERT INTO shipments (sha256, rows) VALUES (?, ?) RETURNING number"
            number = db.execute(sql, (sha256, len(rows))).fetchone()[0]
            for row in sorted(rows, key=_by_title):
                changes += self._changes(row)
            db.executemany(
                f"UPDATE keys SET state = {State.EXPIRED:d}"  # noqa: S608 - our own numbers
                f" WHERE title = ? AND kind = ? AND state = {State.NEW:d}",
                [(c.row.title, c.kind) for c in changes if c.state is State.NEW],
            )
            db.executemany(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [c.columns(number) for c in changes],
            )
            active, new = (
                KeyTable.columns(
                    [
                        (c.row.title, c.row.suite, c.row.version, c.envelope)
                        for c in changes
                        if c.kind is Kind.UNICAST and c.state is state
                    ]
                )
                for state in (State.ACTIVE, State.NEW)
            )
        return len({c.row.title for c in changes}), active, new

    def switch(self, keys: Sequence[tuple[bytes, int]], last_frame: int) -> None:
        """Make NEW keys (title, version) ACTIVE, durably, and those before them EXPIRED.

        `last_frame` is the last frame id that came under a key that is EXPIRED now.
        """
        old, new = State.ACTIVE, State.NEW
        with self._transaction() as db:
            db.executemany(
                f"UPDATE keys SET state = {State.EXPIRED:d}, last_frame = ?"  # noqa: S608 - our own numbers
                f" WHERE title = ? AND state = {old:d} AND kind IN (SELECT kind FROM keys"
                f" WHERE title = ? AND version = ? AND state = {new:d})",
                [(last_frame, title, title, version) for title, version in keys],
            )
            db.executemany(
                f"UPDATE keys SET state = {State.ACTIVE:d}"  # noqa: S608 - our own numbers
                f" WHERE title = ? AND version = ? AND state = {new:d}",
                keys,
            )

    def last_frame(self) -> int:
        """Return the last frame id that came under a key that is EXPIRED; 0 if there is none."""
        sql = "SELECT max(last_frame) FROM keys WHERE state = ?"
        with _naming(self._path):
            return int(self._db.execute(sql, (State.EXPIRED,)).fetchone()[0] or 0)

    def replaced(self, title: bytes) -> tuple[int, int, bytes, int] | None:
        """Return suite, version, envelope and last frame id of the unicast key replaced last."""
        sql = (
            "SELECT suite, version, envelope, last_frame FROM keys WHERE title = ? AND kind = ?"
            " AND state = ? AND last_frame > 0 ORDER BY version DESC LIMIT 1"
        )
        with _naming(self._path):
            row = self._db.execute(sql, (title, Kind.UNICAST, State.EXPIRED)).fetchone()
        return None if row is None else (row[0], row[1], row[2], row[3])

    def load(self, state: State = State.ACTIVE) -> KeyTable:
        """Read all unicast keys of a state (ACTIVE or NEW), as envelopes."""
        which = (Kind.UNICAST, state)
        count = "SELECT count(*) FROM keys WHERE kind = ? AND state = ?"
        sql = (
            "SELECT title, suite, version, envelope FROM keys"
            " WHERE kind = ? AND state = ? ORDER BY title"
        )
        with _naming(self._path):
            table, start = KeyTable(self._db.execute(count, which).fetchone()[0]), 0
            cursor = self._db.execute(sql, which)
            while rows := cursor.fetchmany(_LOAD):
                table.fill(start, KeyTable.columns(rows))
                start += len(rows)
        return table

    def counts(self) -> dict[str, int]:
        """Count keys by kind and state: `{"unicast active": 300}`."""
        sql = "SELECT kind, state, count(*) FROM keys GROUP BY kind, state ORDER BY kind, state"
        with _naming(self._path):
            return {
                f"{Kind(kind).name} {State(state).name}".lower(): n
                for kind, state, n in self._db.execute(sql)
            }

    def __repr__(self) -> str:
        return f"KeyStore({self._path})"

    def _changes(self, row: ShipmentRow) -> list[_Change]:
        """Return what a row adds; nothing where all of it is here.

        Raises:
            ConflictError: as `bring_in`.
        """
        if row.title in (self._own_title, NOBODY):
            raise ConflictError("system title of the centre itself", where=row.title.hex())
        contents = [(Kind.UNICAST, row.guek + row.gak)]
        if row.kek:
            contents.append((Kind.MASTER, row.kek))
        sql = (
            "SELECT version, suite, envelope FROM keys"
            " WHERE title = ? AND kind = ? AND (version = ? OR state IN (?, ?))"
        )
        changes = []
        for kind, content in contents:
            which = (row.title, kind, row.version, State.ACTIVE, State.NEW)
            state, held = State.ACTIVE, False
            for version, suite, envelope in self._db.execute(sql, which):
                if version == row.version:
                    self._same(row, kind, content, suite, envelope)
                    held = True
                elif version > row.version:
                    state = State.EXPIRED
                elif state is State.ACTIVE:
                    state = State.NEW
            if not held:
                bound = associated(row.title, kind, row.version)
                changes.append(_Change(row, kind, state, self._provider.wrap(content, bound)))
        return changes

    def _same(
        self, row: ShipmentRow, kind: Kind, content: bytes, suite: int, envelope: bytes
    ) -> None:
        """Raise unless a key that is here is the one of the row."""
        held = self._provider.unwrap(envelope, associated(row.title, kind, row.version))
        if suite != row.suite or not hmac.compare_digest(held, content):
            what = f"shipment contradicts the {kind.name.lower()} key, version {row.version}"
            raise ConflictError(what, where=f"title {row.title.hex()}")

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        with self._transaction() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA:
                raise ConfigError(
                    "key database of a newer version",
                    where=str(self._path),
                    expected=f"<= {SCHEMA}",
                    found=found,
                )
            for step in _STEPS[found:]:
                for statement in step.split(";"):
                    db.execute(statement)
            if not found:
                title = b"ZGL" + secrets.token_bytes(TITLE_BYTES - 3)
                db.execute("INSERT INTO facts VALUES ('own_title', ?)", (title,))
            db.execute(f"PRAGMA user_version = {SCHEMA}")
            sql = "SELECT value FROM facts WHERE name = 'own_title'"
            self._own_title = bytes(db.execute(sql).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _naming(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError("key database", where=str(path), found=error) from error


def _by_title(row: ShipmentRow) -> bytes:
    return row.title
