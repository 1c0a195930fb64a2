"""Cutting wrapper frames out of a TCP stream (IEC 62056-47, wrapper PDU), for the edge alone.

Eight bytes of header are all that the edge reads of the transport. It does so itself and
loads no decoder; `tests/edge/test_framing.py` holds it against `zegel.cosem.wrapper`.
"""

import struct
from typing import NamedTuple

from zegel.node.spool_format import Mark

__all__ = ["HEADER", "SEEN_TOO_LARGE", "SEEN_WHEN_CUT", "VERSION", "Cut", "cut"]

HEADER = struct.Struct(">HHHH")  # version, source wPort, destination wPort, APDU length
VERSION = 1
SEEN_WHEN_CUT = 65_536  # bytes of a cut or odd stream that are kept
SEEN_TOO_LARGE = 64  # bytes of a frame over the limit that are kept


class Cut(NamedTuple):
    """What stands at one place of a stream: a whole frame, or (mark) why there is none.

    `begin` and `end` are the APDU's place in the buffer, without the header.
    """

    mark: Mark
    source: int
    destination: int
    begin: int
    end: int


def cut(buffer: bytes | bytearray, at: int, max_apdu: int) -> Cut | None:
    """Read the frame at `at`; None if more bytes are needed.

    A mark other than NONE means that the place in the stream is lost: close the connection.
    """
    begin = at + HEADER.size
    if len(buffer) < begin:
        return None
    version, source, destination, length = HEADER.unpack_from(buffer, at)
    if version != VERSION:
        return Cut(Mark.FRAMING, source, destination, begin, begin)
    if length > max_apdu:
        return Cut(Mark.TOO_LARGE, source, destination, begin, begin)
    if len(buffer) < begin + length:
        return None
    return Cut(Mark.NONE, source, destination, begin, begin + length)
