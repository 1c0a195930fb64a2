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

SCHEMA = 1
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


class Kind(IntEnum):
    """What an envelope holds."""

    UNICAST = 1  # encryption key, then authentication key
    MASTER = 2  # key encryption key
    DISK = 3  # of the store
    IMPORT = 4  # private half of the import key


class State(IntEnum):
    """What a key is good for; only an ACTIVE one opens frames."""

    NEW = 0  # known, not yet in use
    ACTIVE = 1
    EXPIRED = 2  # replaced by a later version
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
        row = self.row
        return row.title, self.kind, row.version, row.suite, self.state, self.envelope, shipment


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

    def bring_in(self, sha256: str, rows: Sequence[ShipmentRow]) -> tuple[int, KeyTable]:
        """Take in the rows of a shipment, all or none.

        A later version replaces the active one; an earlier one is kept as EXPIRED. Returns
        how many meters got a key that was not here, and the unicast keys that are ACTIVE
        from now on, sorted by title.

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
                f" WHERE title = ? AND kind = ? AND state = {State.ACTIVE:d}",
                [(c.row.title, c.kind) for c in changes if c.state is State.ACTIVE],
            )
            db.executemany(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?)",
                [c.columns(number) for c in changes],
            )
            table = KeyTable.columns(
                [
                    (c.row.title, c.row.suite, c.row.version, c.envelope)
                    for c in changes
                    if c.kind is Kind.UNICAST and c.state is State.ACTIVE
                ]
            )
        return len({c.row.title for c in changes}), table

    def load(self) -> KeyTable:
        """Read all active unicast keys, as envelopes."""
        which = (Kind.UNICAST, State.ACTIVE)
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
            " WHERE title = ? AND kind = ? AND (version = ? OR state = ?)"
        )
        changes = []
        for kind, content in contents:
            which = (row.title, kind, row.version, State.ACTIVE)
            state, held = State.ACTIVE, False
            for version, suite, envelope in self._db.execute(sql, which):
                if version == row.version:
                    self._same(row, kind, content, suite, envelope)
                    held = True
                elif version > row.version:
                    state = State.EXPIRED
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
            if not found:
                for statement in _TABLES.split(";"):
                    db.execute(statement)
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
