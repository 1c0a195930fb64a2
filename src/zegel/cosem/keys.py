"""A key that never shows its bytes."""

import hmac
from typing import NoReturn

from zegel.errors import SecurityError

__all__ = ["Key"]

KEY_BYTES = (16, 32)


class Key:
    """Key bytes with their kind and version; `repr` shows only these two.

    Comparison takes constant time. A key is not hashable and refuses pickling, so that it
    does not slip into a cache, a message or a file. `reveal()` is the one way to the bytes.

    Raises:
        SecurityError: not 16 or 32 bytes.
    """

    __slots__ = ("_raw", "kind", "version")
    __hash__ = None  # type: ignore[assignment]  # a secret belongs in no set and no dict key

    def __init__(self, raw: bytes, *, kind: str, version: int = 0) -> None:
        if len(raw) not in KEY_BYTES:
            expected = "16 or 32 bytes"
            raise SecurityError(f"{kind} key", expected=expected, found=f"{len(raw)} bytes")
        self._raw, self.kind, self.version = bytes(raw), kind, version

    @classmethod
    def from_hex(cls, text: str, *, kind: str, version: int = 0) -> "Key":
        """Read a key from hex digits; spaces and line ends may stand between bytes.

        Raises:
            SecurityError: no hex, or not 16 or 32 bytes. The text is not repeated.
        """
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raise SecurityError(f"{kind} key", expected="hex digits", found="other text") from None
        return cls(raw, kind=kind, version=version)

    def reveal(self) -> bytes:
        """Return the bytes, for a cipher call."""
        return self._raw

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return hmac.compare_digest(self._raw, other._raw)

    def __repr__(self) -> str:
        return f"Key(kind={self.kind!r}, version={self.version})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key is not pickled")
