"""Wrapper framing: APDUs in a TCP stream or UDP datagram (IEC 62056-47, wrapper PDU)."""

import struct
from dataclasses import dataclass

from zegel.errors import FramingError

__all__ = ["HEADER", "MAX_APDU", "WrapperFrame", "WrapperReader", "decode_datagram", "encode"]

HEADER = struct.Struct(">HHHH")  # version, source wPort, destination wPort, APDU length
VERSION = 1
MAX_APDU = 0xFFFF  # what the length field can say


@dataclass(frozen=True, slots=True)
class WrapperFrame:
    """One APDU with the two wPorts that it travels between."""

    source: int
    destination: int
    apdu: bytes


class WrapperReader:
    """Cut a byte stream into frames. Holds bytes only: no socket, clock or key."""

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        self._buffer, self._offset, self._max_apdu = bytearray(), 0, max_apdu

    @property
    def waiting(self) -> int:
        """Bytes received that are no whole frame yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take in bytes from the stream, cut anywhere."""
        self._buffer += data

    def next_frame(self) -> WrapperFrame | None:
        """Return the next whole frame, or None if more bytes are needed.

        Raises:
            FramingError: wrong version, or over `max_apdu` bytes. Our place is lost
                and every later call raises: close the connection.
        """
        if len(self._buffer) < HEADER.size:
            return None
        source, destination, length = _header(self._buffer, self._offset, self._max_apdu)
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        apdu = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        self._offset += end
        return WrapperFrame(source, destination, apdu)

    def end(self) -> None:
        """Say that the stream has ended.

        Raises:
            FramingError: inside a frame.
        """
        if self._buffer:
            found = f"{len(self._buffer)} bytes"
            raise FramingError(
                "wrapper frame", at=self._offset, expected="a whole one", found=found
            )


def decode_datagram(data: bytes, *, max_apdu: int = MAX_APDU) -> WrapperFrame:
    """Read a UDP datagram: exactly one frame.

    Raises:
        FramingError: wrong version, over `max_apdu`, or a length that is not the datagram's.
    """
    if len(data) < HEADER.size:
        found = f"{len(data)} bytes"
        raise FramingError("wrapper header", at=0, expected="8 bytes", found=found)
    source, destination, length = _header(data, 0, max_apdu)
    if HEADER.size + length != len(data):
        raise FramingError("APDU length", at=6, expected=len(data) - HEADER.size, found=length)
    return WrapperFrame(source, destination, data[HEADER.size :])


def encode(frame: WrapperFrame) -> bytes:
    """Write a frame.

    Raises:
        FramingError: a wPort or an APDU that does not fit 16 bits.
    """
    if not (0 <= frame.source <= 0xFFFF and 0 <= frame.destination <= 0xFFFF):
        found = f"{frame.source}, {frame.destination}"
        raise FramingError("wPort", expected="0..65535", found=found)
    if len(frame.apdu) > MAX_APDU:
        raise FramingError("APDU length", expected=f"<= {MAX_APDU}", found=len(frame.apdu))
    return HEADER.pack(VERSION, frame.source, frame.destination, len(frame.apdu)) + frame.apdu


def _header(data: bytes | bytearray, at: int, max_apdu: int) -> tuple[int, int, int]:
    """Check a header at the start of `data`; `at` is its place in the stream, for errors."""
    version, source, destination, length = HEADER.unpack_from(data)
    if version != VERSION:
        raise FramingError("wrapper version", at=at, expected=VERSION, found=version)
    if length > max_apdu:
        raise FramingError("APDU length", at=at + 6, expected=f"<= {max_apdu}", found=length)
    return source, destination, length
