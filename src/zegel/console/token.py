"""The API token: made at first start, kept in a file of mode 0600, held as a hash only."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from zegel.errors import ConfigError, StorageError

__all__ = ["Token", "load_or_make"]

_BYTES = 32  # of randomness in a token that is made here
_SHORTEST = 32  # characters of a token that somebody else made


class Token:
    """What a bearer has to show. Holds SHA-256 of the token, so memory and `repr` show none."""

    __slots__ = ("_digest",)

    def __init__(self, text: str) -> None:
        self._digest = hashlib.sha256(text.encode()).digest()

    def fits(self, authorization: str) -> bool:
        """Tell whether a value of the header `Authorization` bears this token.

        The comparison takes the same time for every wrong token (RFC 6750, section 2.1).
        """
        scheme, _, shown = authorization.partition(" ")
        digest = hashlib.sha256(shown.strip().encode()).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == "bearer"

    def __repr__(self) -> str:
        return "Token(<hidden>)"


def load_or_make(path: Path) -> Token:
    """Read the token file; make it with a random token if there is none.

    Raises:
        ConfigError: others may read the file, or what stands in it is too short.
        StorageError: it can be neither read nor made.
    """
    try:
        return _make(path)
    except FileExistsError:
        return _load(path)
    except OSError as error:
        raise StorageError("token file", where=str(path), found=error.strerror) from error


def _make(path: Path) -> Token:
    text = secrets.token_urlsafe(_BYTES)
    if path.exists():
        raise FileExistsError
    # Written beside and linked into place: a crash leaves no half token behind.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return Token(text)


def _load(path: Path) -> Token:
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError("token file", where=str(path), expected="ASCII text") from None
    except OSError as error:
        raise StorageError("token file", where=str(path), found=error.strerror) from error
    if mode & 0o077:
        raise ConfigError(
            "mode of the token file", where=str(path), expected="600", found=f"{mode:o}"
        )
    if len(text) < _SHORTEST:
        expected, found = f">= {_SHORTEST} characters", len(text)
        raise ConfigError("token", where=str(path), expected=expected, found=found)
    return Token(text)
