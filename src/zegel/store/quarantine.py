"""Bodies of quarantined frames, sealed, with a quota per source. Every one is counted in `frames`.

A frame in the clear carries readings: bodies, and what was wrong with them, are sealed with a key
derived from the disk key, so that a copied file yields nothing.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zegel.errors import DamagedError, StorageError
from zegel.node.switches import guard

__all__ = ["Kept", "Quarantine"]

_NONCE = 12
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS bodies (frame_id INTEGER PRIMARY KEY, source TEXT NOT NULL,
 bytes INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS bodies_source ON bodies (source);
"""


class _Content(msgspec.Struct, frozen=True, array_like=True):
    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """One quarantined frame: `address` of its peer and `reason` make its source."""

    frame_id: int
    address: str
    reason: str
    what: str
    body: bytes


class Quarantine:
    """Written by the pipeline's thread, read by others on connections of their own.

    Args:
        path: SQLite file.
        disk_key: 32 bytes; the key of the bodies is derived from it.
        per_source: bodies kept per peer address and reason.
        total_bytes: bytes of all bodies together.
    """

    def __init__(self, path: Path, disk_key: bytes, *, per_source: int, total_bytes: int) -> None:
        self._path, self._per_source, self._total = path, per_source, total_bytes
        self._cipher = AESGCM(
            HKDF(SHA256(), 32, salt=None, info=b"zegel quarantine").derive(disk_key)
        )
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(_SCHEMA)
            sources = self._db.execute("SELECT source, count(*) FROM bodies GROUP BY source")
            self._kept: Counter[str] = Counter(dict(sources.fetchall()))
            total = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM bodies").fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._bytes = int(total[0])

    def keep(self, frames: Sequence[Kept]) -> int:
        """Keep bodies as far as their sources' quotas go; return how many were not kept.

        A frame that is kept already, from an attempt before, stays as it is.

        Raises:
            StorageError: nothing of this batch was kept.
        """
        if not frames:
            return 0
        there = self._there([frame.frame_id for frame in frames])
        kept, sizes, rows = Counter[str](), 0, []
        for frame in frames:
            source = f"{frame.address} {frame.reason}"
            if frame.frame_id in there:
                continue
            full = self._kept[source] + kept[source] >= self._per_source
            if full or self._bytes + sizes + len(frame.body) > self._total:
                continue
            kept[source] += 1
            sizes += len(frame.body)
            rows.append((frame.frame_id, source, len(frame.body), self._seal(frame)))
        if rows:
            self._write(rows)
            self._kept.update(kept)
            self._bytes += sizes
        return len(frames) - len(rows) - len(there)

    def whats(self, frame_ids: Sequence[int]) -> dict[int, str]:
        """Return what was wrong with frames whose bodies are kept."""
        return {at: content.what for at, content in self._contents(frame_ids).items()}

    def show(self, frame_id: int) -> tuple[str, bytes] | None:
        """Return what was wrong with a frame, and its bytes as received; None if not kept."""
        content = self._contents([frame_id]).get(frame_id)
        return None if content is None else (content.what, content.body)

    def count(self) -> int:
        """Return how many bodies are kept."""
        with self._reader() as db:
            return int(db.execute("SELECT count(*) FROM bodies").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _seal(self, frame: Kept) -> bytes:
        nonce = os.urandom(_NONCE)
        content = msgspec.msgpack.encode(_Content(frame.what, frame.body))
        if not guard("store.encrypted_disk"):
            return nonce + content
        return nonce + self._cipher.encrypt(nonce, content, _bound(frame.frame_id))

    def _contents(self, frame_ids: Sequence[int]) -> dict[int, _Content]:
        found: dict[int, _Content] = {}
        with self._reader() as db:
            for frame_id in frame_ids:
                row = db.execute("SELECT sealed FROM bodies WHERE frame_id = ?", (frame_id,))
                sealed = row.fetchone()
                if sealed is not None:
                    found[frame_id] = self._unseal(frame_id, sealed[0])
        return found

    def _unseal(self, frame_id: int, sealed: bytes) -> _Content:
        if not guard("store.encrypted_disk"):
            return msgspec.msgpack.decode(sealed[_NONCE:], type=_Content)
        try:
            content = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(frame_id))
        except InvalidTag:
            raise DamagedError("quarantined body", where=f"frame {frame_id}") from None
        return msgspec.msgpack.decode(content, type=_Content)

    def _there(self, frame_ids: list[int]) -> set[int]:
        try:
            rows = self._db.execute(
                "SELECT frame_id FROM bodies WHERE frame_id BETWEEN ? AND ?",
                (min(frame_ids), max(frame_ids)),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return {int(row[0]) for row in rows} & set(frame_ids)

    def _write(self, rows: list[tuple[int, str, int, bytes]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR IGNORE INTO bodies VALUES (?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._db.rollback()
            raise self._failed(error) from error

    def _reader(self) -> "_Reader":
        return _Reader(self._path)

    def _failed(self, error: sqlite3.Error) -> StorageError:
        return StorageError("quarantine", where=str(self._path), found=error)


class _Reader:
    """A read-only connection for one block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise StorageError("quarantine", where=str(self._path), found=error) from error
        return self._db

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._db.close()
        if isinstance(error, sqlite3.Error):
            raise StorageError("quarantine", where=str(self._path), found=error) from error


def _bound(frame_id: int) -> bytes:
    return frame_id.to_bytes(8, "big")
