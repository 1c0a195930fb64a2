"""The receipt: what the edge says when a frame is durable, and the clear header that it needs.

The receipt is a DataNotification-Confirm whose invoke-id is the low 24 bits of the clear
invocation counter. It carries no protection: it only stops a resend, and a meter never
erases anything on it. The invoke-id inside the sealed APDU cannot be read here; our meter
sets both equal (docs/reference/spool.md).
"""

import struct
from typing import NamedTuple

__all__ = ["ClearHeader", "clear_header", "receipt"]

GENERAL_GLO_CIPHERING = 0xDB
TITLE_BYTES = 8
SECURITY_HEADER_BYTES = 5  # security control, invocation counter
CONFIRM = struct.Struct(">HHHHBIB")  # wrapper header, 0x10, long invoke-id, date-time length 0
INVOKE_ID = 0xFFFFFF


class ClearHeader(NamedTuple):
    """The unprotected part of a sealed APDU: who says it is from whom. Nothing is verified."""

    title: bytes  # 8 bytes
    counter: int


def clear_header(apdu: bytes) -> ClearHeader | None:
    """Return title and counter of a general-glo-ciphering APDU; None for anything else.

    `DB | 08 title | BER length | security control | u32 counter | …`, the length being exactly
    the rest of the APDU (IEC 62056-5-3, general-glo-ciphering).
    """
    if len(apdu) < 16 or apdu[0] != GENERAL_GLO_CIPHERING or apdu[1] != TITLE_BYTES:
        return None
    length, at = apdu[10], 11
    if length >= 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 4:
            return None
        at += octets
        length = int.from_bytes(apdu[11:at], "big")
    if length < SECURITY_HEADER_BYTES or at + length != len(apdu):
        return None
    return ClearHeader(apdu[2:10], int.from_bytes(apdu[at + 1 : at + 5], "big"))


def receipt(source: int, destination: int, counter: int) -> bytes:
    """Return the 14 bytes for a frame that came from wPort `source` to `destination`."""
    return CONFIRM.pack(1, destination, source, 6, 0x10, counter & INVOKE_ID, 0)
