"""Who holds the operator key that every key of the vault is enveloped under.

There are to be two kinds: a key file, and a security module (PKCS#11). Both pass
`zegel.vault.providers.check.check_provider`.
"""

from pathlib import Path
from typing import Protocol

from zegel.errors import ConfigError
from zegel.vault.providers.file import FileProvider

__all__ = ["OVERHEAD", "FileProvider", "Provider", "open_provider"]

OVERHEAD = 28  # bytes an envelope is longer than what it holds: 12 nonce, 16 tag


class Provider(Protocol):
    """Wrap and unwrap short secrets. An envelope is `OVERHEAD` bytes longer than its content."""

    name: str

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return an envelope; two of the same content differ."""
        ...

    def unwrap(self, envelope: bytes, associated: bytes) -> bytes:
        """Return what `wrap` got, with the same `associated`.

        Raises:
            DamagedError: changed bytes, another `associated`, or another operator key.
        """
        ...


def open_provider(name: str, key_file: Path, *, fresh: bool) -> Provider:
    """Open the provider that the setting `[vault] provider` names.

    `fresh`: the vault holds nothing yet, so a missing operator key may be made.

    Raises:
        ConfigError: no such provider, or its key is missing or not private.
    """
    if name != "file":
        raise ConfigError("unknown provider", where="[vault] provider", expected="file", found=name)
    return FileProvider.open(key_file, make=fresh)
