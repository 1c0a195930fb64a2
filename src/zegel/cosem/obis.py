"""OBIS codes: what a value is (IEC 62056-6-1). Prints as `1-0:1.8.0.255`."""

import re
from typing import NamedTuple, Self

from zegel.errors import MalformedError

__all__ = ["Obis"]

# A-B:C.D.E, then F behind `.`, `*` or `&`; or six numbers with dots
WRITTEN = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*&](\d{1,3}))?")
DOTTED = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
MEDIA = 16  # value group A is four bits


class Obis(NamedTuple):
    """The six value groups A to F, each 0..255 (A: 0..15)."""

    a: int
    b: int
    c: int
    d: int
    e: int
    f: int = 255

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `1-0:1.8.0`, `1-0:1.8.0.255`, `1-1:1.8.0*255` or `1.0.1.8.0.255`.

        Raises:
            MalformedError: another form, or a group out of range.
        """
        match = WRITTEN.fullmatch(text) or DOTTED.fullmatch(text)
        if match is None or not text.isascii():
            raise MalformedError("OBIS code", expected="A-B:C.D.E.F", found=text[:40])
        return cls(*(int(group or 255) for group in match.groups())).checked()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the 6 bytes of a logical name.

        Raises:
            MalformedError: another length, or group A over 15.
        """
        if len(data) != 6:
            raise MalformedError("logical name", expected="6 bytes", found=f"{len(data)} bytes")
        return cls(*data).checked()

    def encode(self) -> bytes:
        """Write the 6 bytes of a logical name.

        Raises:
            MalformedError: a group out of range.
        """
        return bytes(self.checked())

    def checked(self) -> Self:
        """Return itself.

        Raises:
            MalformedError: a group out of range; it names the group.
        """
        for name, number in zip("ABCDEF", self, strict=True):
            top = MEDIA - 1 if name == "A" else 255
            if not 0 <= number <= top:
                raise MalformedError(f"OBIS group {name}", expected=f"0..{top}", found=number)
        return self

    def __str__(self) -> str:
        return f"{self.a}-{self.b}:{self.c}.{self.d}.{self.e}.{self.f}"
