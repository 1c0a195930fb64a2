"""Shipment files: how meter keys reach the vault, sealed to its import key (HPKE, RFC 9180).

A file is a head of 20 bytes and an HPKE message in base mode (single shot, `enc` first):

    6  "ZSHIP1"
    6  KEM, KDF and AEAD, big-endian u16 each (RFC 9180, section 7)
    8  first bytes of SHA-256 of the recipient's public key
    …  enc (32 bytes) and ciphertext; the HPKE `info` is "zegel shipment" and the head

The plaintext is a msgpack array of `ShipmentRow`. Whoever carries the file sees how large it
is and whom it is for. Base mode does not name the sender: who may bring a file is decided
where it is brought in.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from zegel.calls.base import MAX_MESSAGE
from zegel.errors import MalformedError, SecurityError, UnsupportedError

__all__ = [
    "HEAD_BYTES",
    "HPKE",
    "INFO",
    "KEY_BYTES",
    "MAX_SHIPMENT",
    "SUITE",
    "TITLE_BYTES",
    "Head",
    "ShipmentRow",
    "check_rows",
    "fingerprint",
    "read_head",
    "seal_shipment",
]

MAGIC = b"ZSHIP1"
SUITE = "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM"
HEAD_BYTES = 20
MAX_SHIPMENT = MAX_MESSAGE - 4096  # a file travels in one message: some 130 000 meters
TITLE_BYTES = 8
KEY_BYTES = {0: 16, 1: 16, 2: 32}  # by security suite (DLMS Green Book, 9.2)

_IDS = struct.pack(">HHH", 0x0020, 0x0001, 0x0002)
INFO = b"zegel shipment"
HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class ShipmentRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The keys of one meter. `repr` shows title, suite and version only.

    `guek` global unicast encryption key, `gak` global authentication key, `kek` the master
    key (key encryption key), empty if it is not handed over.
    """

    title: bytes  # system title, 8 bytes
    suite: int  # security suite: 0, 1 or 2
    version: int  # of this set of keys, 0 to 65 535; a higher one replaces a lower
    guek: bytes
    gak: bytes
    kek: bytes = b""

    def __repr__(self) -> str:
        return f"ShipmentRow({self.title.hex()}, suite={self.suite}, version={self.version})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("title", self.title.hex()), ("suite", self.suite), ("version", self.version)]


@dataclass(frozen=True, slots=True)
class Head:
    """The first 20 bytes of a shipment file; `recipient` is a fingerprint."""

    raw: bytes
    recipient: str


def fingerprint(public: bytes) -> str:
    """Return what names an import key to people: 16 hex digits of SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def check_rows(rows: Sequence[ShipmentRow]) -> None:
    """Check sizes and that no meter stands twice.

    Raises:
        MalformedError: names row (from 0) and title; never a key.
    """
    seen: set[bytes] = set()
    for number, row in enumerate(rows):
        where = f"row {number}, title {row.title.hex() or 'missing'}"
        if len(row.title) != TITLE_BYTES:
            raise MalformedError("system title", where=where, expected="8 bytes")
        if row.title in seen:
            raise MalformedError("system title twice in a shipment", where=where)
        seen.add(row.title)
        size = KEY_BYTES.get(row.suite)
        if size is None:
            raise MalformedError(
                "security suite", where=where, expected="0, 1 or 2", found=row.suite
            )
        if not 0 <= row.version <= 0xFFFF:
            found = row.version
            raise MalformedError("key version", where=where, expected="0 to 65535", found=found)
        for name, key in (("guek", row.guek), ("gak", row.gak), ("kek", row.kek or bytes(size))):
            if len(key) != size:
                expected, found = f"{size} bytes", len(key)
                raise MalformedError(f"{name} size", where=where, expected=expected, found=found)


def seal_shipment(rows: Sequence[ShipmentRow], public_key: bytes) -> bytes:
    """Write a shipment file for the vault whose import key is `public_key` (32 bytes).

    Raises:
        MalformedError: a row is wrong, or the file would not fit in one message.
        SecurityError: `public_key` is no X25519 public key.
    """
    check_rows(rows)
    try:
        recipient = X25519PublicKey.from_public_bytes(public_key)
    except ValueError:
        found = f"{len(public_key)} bytes"
        raise SecurityError("import key", expected="32 bytes", found=found) from None
    head = MAGIC + _IDS + bytes.fromhex(fingerprint(public_key))
    sealed = head + HPKE.encrypt(msgspec.msgpack.encode(rows), recipient, INFO + head)
    if len(sealed) > MAX_SHIPMENT:
        expected = f"<= {MAX_SHIPMENT} bytes (take fewer meters in a file)"
        raise MalformedError("shipment size", expected=expected, found=len(sealed))
    return sealed


def read_head(sealed: bytes) -> Head:
    """Read the head of a shipment file.

    Raises:
        MalformedError: no shipment file.
        UnsupportedError: sealed with another suite.
    """
    raw = bytes(sealed[:HEAD_BYTES])
    if len(raw) < HEAD_BYTES or raw[:6] != MAGIC:
        raise MalformedError("shipment file", at=0, expected=MAGIC.decode(), found=raw[:6].hex())
    if raw[6:12] != _IDS:
        found = raw[6:12].hex()
        raise UnsupportedError("HPKE suite", at=6, expected=f"{_IDS.hex()} ({SUITE})", found=found)
    return Head(raw, raw[12:].hex())
