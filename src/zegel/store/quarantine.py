"""Bodies of quarantined frames, sealed, with a quota per source. Every one is counted in `frames`.

When all room is taken, the largest source gives its oldest bodies for those of a smaller one: a
flood from one place hides no other. How much each source has stands in the file, not in memory.

A frame in the clear carries readings: bodies, and what was wrong with them, are sealed with a key
derived from the disk key, so that a copied file yields nothing.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zegel.errors import DamagedError, StorageError
from zegel.node.spool_format import V4_MAPPED
from zegel.node.switches import guard

__all__ = ["Kept", "Quarantine", "source_of"]

_NONCE = 12
_ROW = 256  # bytes that a body takes beside its own, about
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS bodies (frame_id INTEGER PRIMARY KEY, source TEXT NOT NULL,
 bytes INTEGER NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS bodies_source ON bodies (source);
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, bodies INTEGER NOT NULL,
 bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sources_bytes ON sources (bytes);
BEGIN;
DELETE FROM sources;
INSERT INTO sources SELECT source, count(*), sum(bytes) FROM
 (SELECT source, length(sealed) + 256 AS bytes FROM bodies) GROUP BY source;
COMMIT;
"""


class _Content(msgspec.Struct, frozen=True, array_like=True):
    what: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """One quarantined frame: `address` (`source_of`) and `reason` make its source."""

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
        per_source: bodies kept per peer and reason.
        total_bytes: bytes of all bodies together, sealed and with what the file needs for each.
    """

    def __init__(self, path: Path, disk_key: bytes, *, per_source: int, total_bytes: int) -> None:
        self._path, self._per_source, self._total = path, per_source, total_bytes
        self._cipher = AESGCM(
            HKDF(SHA256(), 32, salt=None, info=b"zegel quarantine").derive(disk_key)
        )
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.executescript(_SCHEMA)
            self._bytes = self._sum()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def keep(self, frames: Sequence[Kept]) -> int:
        """Keep bodies as far as their sources' quotas go; return how many were not kept.

        A frame that is kept already, from an attempt before, stays as it is.

        Raises:
            StorageError: nothing of this batch was kept.
        """
        if not frames:
            return 0
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                there = self._there([frame.frame_id for frame in frames])
                kept = self._keep_all([frame for frame in frames if frame.frame_id not in there])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                self._bytes = self._sum()
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return len(frames) - kept - len(there)

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

    def _keep_all(self, frames: Sequence[Kept]) -> int:
        """Keep what there is room for; return how many."""
        full: set[str] = set()
        kept = 0
        for frame in frames:
            source = f"{frame.address} {frame.reason}"
            if source in full:
                continue
            row = self._db.execute("SELECT bodies, bytes FROM sources WHERE source = ?", (source,))
            bodies, held = row.fetchone() or (0, 0)
            if bodies >= self._per_source:
                full.add(source)
                continue
            sealed = self._seal(frame)
            size = len(sealed) + _ROW
            if not self._make_room(size, held + size):
                continue
            self._db.execute(
                "INSERT INTO bodies VALUES (?, ?, ?, ?)", (frame.frame_id, source, size, sealed)
            )
            self._charge(source, 1, size)
            kept += 1
        return kept

    def _make_room(self, size: int, share: int) -> bool:
        """Make room for `size` bytes, of sources that hold more than `share`; False if none do."""
        while self._bytes + size > self._total:
            largest = self._db.execute(
                "SELECT source, bytes FROM sources ORDER BY bytes DESC LIMIT 1"
            ).fetchone()
            if largest is None or largest[1] <= share:
                return False
            frame_id, length = self._db.execute(
                "SELECT frame_id, length(sealed) FROM bodies WHERE source = ? "
                "ORDER BY frame_id LIMIT 1",
                (largest[0],),
            ).fetchone()
            self._db.execute("DELETE FROM bodies WHERE frame_id = ?", (frame_id,))
            self._charge(largest[0], -1, -length - _ROW)
        return True

    def _charge(self, source: str, bodies: int, size: int) -> None:
        self._bytes += size
        self._db.execute(
            "INSERT INTO sources VALUES (?, ?, ?) ON CONFLICT (source) DO UPDATE "
            "SET bodies = bodies + excluded.bodies, bytes = bytes + excluded.bytes",
            (source, bodies, size),
        )
        if bodies < 0:
            self._db.execute("DELETE FROM sources WHERE source = ? AND bodies <= 0", (source,))

    def _sum(self) -> int:
        row = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM sources").fetchone()
        return int(row[0])

    def _there(self, frame_ids: list[int]) -> set[int]:
        rows = self._db.execute(
            "SELECT frame_id FROM bodies WHERE frame_id BETWEEN ? AND ?",
            (min(frame_ids), max(frame_ids)),
        ).fetchall()
        return {int(row[0]) for row in rows} & set(frame_ids)

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


def source_of(address: bytes) -> str:
    """Return what stands for a peer: an IPv4 address, or the /64 of an IPv6 address (16 bytes).

    Whoever has one address of a /64 has them all.
    """
    return (address if address[:12] == V4_MAPPED else address[:8]).hex()


def _bound(frame_id: int) -> bytes:
    return frame_id.to_bytes(8, "big")
