"""The operator key in a file of 32 bytes, mode 0600: for trials and for disks kept safe."""

import os
import secrets
from pathlib import Path
from typing import NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zegel.errors import ConfigError, DamagedError

__all__ = ["FileProvider"]

_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16


class FileProvider:
    """AES-256-GCM under one key, a random 96-bit nonce first in every envelope.

    Random nonces allow 2³² envelopes under one key (NIST SP 800-38D, 8.3).
    """

    name = "file"

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            expected, found = f"{_KEY_BYTES} bytes", f"{len(key)} bytes"
            raise ConfigError("operator key", expected=expected, found=found)
        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, path: Path, *, make: bool) -> Self:
        """Read the key file; if there is none and `make` is set, make it.

        Raises:
            ConfigError: missing, unreadable, not 32 bytes, or open to others than its owner.
        """
        where = f"[vault] key_file {path}"
        if make:
            _make(path, where)
        try:
            mode = path.stat().st_mode & 0o777
            key = path.read_bytes()
        except OSError as error:
            raise ConfigError("operator key", where=where, found=error.strerror) from error
        if mode & 0o077:
            raise ConfigError(
                "mode of the operator key", where=where, expected="0600", found=oct(mode)
            )
        if len(key) != _KEY_BYTES:
            expected, found = f"{_KEY_BYTES} bytes", f"{len(key)} bytes"
            raise ConfigError("operator key", where=where, expected=expected, found=found)
        return cls(key)

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plaintext, associated)

    def unwrap(self, envelope: bytes, associated: bytes) -> bytes:
        """Return the content of an envelope.

        Raises:
            DamagedError: changed bytes, another `associated`, or another operator key.
        """
        try:
            return self._cipher.decrypt(
                envelope[:_NONCE_BYTES], envelope[_NONCE_BYTES:], associated
            )
        except (InvalidTag, ValueError):  # ValueError: a nonce cut below 8 bytes
            what = "envelope does not fit its key, its meter or the operator key"
            raise DamagedError(what) from None

    def __repr__(self) -> str:
        return "FileProvider(<operator key>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a provider is not pickled")


def _make(path: Path, where: str) -> None:
    """Make the key file durably, unless it is there."""
    if path.exists():
        return
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, secrets.token_bytes(_KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError("operator key", where=where, found=error.strerror) from error
