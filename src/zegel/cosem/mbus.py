"""Wired M-Bus long frames as a transport of APDUs (EN 13757-2; EN 13757-1, 9.1; IEC 62056-7-3).

`68 L L 68 C A CI STSAP DTSAP data checksum 16`. CI is `000 FIN sequence(4)`: an APDU over
more than one frame runs 00, 01, … with FIN (10) set in the last. Sagemcom fills 257 bytes into
a frame, and its length byte overflows to 01.
"""

from dataclasses import dataclass

from zegel.errors import FramingError, UnsupportedError

__all__ = ["MbusFrame", "MbusReader", "SegmentAssembler", "encode"]

START, STOP = 0x68, 0x16
SHORTEST = 3  # C, A and CI: a smaller length byte has overflowed
OVERFLOW = 0x100
FIN, SEQUENCE = 0x10, 0x0F
MAX_APDU = 0x10000


@dataclass(frozen=True, slots=True)
class MbusFrame:
    """One long frame: C, A and CI fields, and the bytes behind them."""

    control: int
    address: int
    ci: int
    data: bytes


class MbusReader:
    """Cut a byte stream into long frames."""

    def __init__(self) -> None:
        self._buffer, self._offset = bytearray(), 0

    @property
    def waiting(self) -> int:
        """Bytes received that are no whole frame yet."""
        return len(self._buffer)

    def receive(self, data: bytes) -> None:
        """Take in bytes from the stream, cut anywhere."""
        self._buffer += data

    def next_frame(self) -> MbusFrame | None:
        """Return the next whole frame, or None if more bytes are needed.

        Raises:
            FramingError: no long frame, two lengths that differ, a wrong checksum or stop.
                Our place is lost and every later call raises.
        """
        buffer, at = self._buffer, self._offset
        for place, name in ((0, "start"), (3, "second start")):
            if len(buffer) > place and buffer[place] != START:
                found = f"{buffer[place]:02x}"
                raise FramingError(f"M-Bus {name}", at=at + place, expected="68", found=found)
        if len(buffer) < 4:
            return None
        if buffer[1] != buffer[2]:
            two = f"{buffer[1]:02x}", f"{buffer[2]:02x}"
            raise FramingError("M-Bus second length", at=at + 2, expected=two[0], found=two[1])
        length = buffer[1] if buffer[1] >= SHORTEST else buffer[1] + OVERFLOW
        if len(buffer) < length + 6:
            return None
        body, (checksum, stop) = bytes(buffer[4 : 4 + length]), buffer[4 + length : 6 + length]
        tail, right = f"{checksum:02x} {stop:02x}", f"{sum(body) & 0xFF:02x} {STOP:02x}"
        if tail != right:
            where = at + 4 + length
            raise FramingError("M-Bus checksum, stop", at=where, expected=right, found=tail)
        del buffer[: length + 6]
        self._offset += length + 6
        return MbusFrame(body[0], body[1], body[2], body[3:])

    def end(self) -> None:
        """Say that the stream has ended.

        Raises:
            FramingError: inside a frame.
        """
        if self._buffer:
            found = f"{len(self._buffer)} bytes"
            raise FramingError("M-Bus frame", at=self._offset, expected="a whole one", found=found)


class SegmentAssembler:
    """Joins the frames of one APDU, in order, all between the same two SAPs."""

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        self._data, self._next, self._saps, self._max_apdu = bytearray(), 0, b"", max_apdu

    @property
    def open(self) -> bool:
        """Whether a segment came and the last one did not."""
        return self._next > 0

    def receive(self, frame: MbusFrame) -> bytes | None:
        """Take in the next frame; return the whole APDU with its last segment, else None.

        Raises:
            UnsupportedError: a CI over 1F: the frame holds M-Bus records, no APDU.
            FramingError: a segment out of order, other SAPs than the first one's, or more
                than `max_apdu` bytes.
        """
        if frame.ci > (FIN | SEQUENCE):
            ci = f"CI {frame.ci:02x}"
            raise UnsupportedError("M-Bus records", expected="CI 00..1f (an APDU)", found=ci)
        sequence, where = frame.ci & SEQUENCE, f"segment {self._next}"
        if sequence != self._next & SEQUENCE:
            wanted = self._next & SEQUENCE
            raise FramingError("M-Bus segment number", where=where, expected=wanted, found=sequence)
        saps, data = frame.data[:2], frame.data[2:]
        if len(saps) < 2 or (self.open and saps != self._saps):
            expected, found = self._saps.hex() if self.open else "2 bytes", saps.hex() or "none"
            raise FramingError("STSAP, DTSAP", where=where, expected=expected, found=found)
        size = len(self._data) + len(data)
        if size > self._max_apdu:
            expected = f"<= {self._max_apdu} bytes"
            raise FramingError("segments", where=where, expected=expected, found=size)
        self._data += data
        self._next, self._saps = self._next + 1, saps
        if not frame.ci & FIN:
            return None
        apdu = bytes(self._data)
        self._data, self._next = bytearray(), 0
        return apdu


def encode(frame: MbusFrame) -> bytes:
    """Write a long frame; 256 to 258 bytes overflow their length byte, as Sagemcom's do.

    Raises:
        FramingError: over 258 bytes (C, A, CI and data).
    """
    body = bytes((frame.control, frame.address, frame.ci)) + frame.data
    if len(body) >= OVERFLOW + SHORTEST:
        raise FramingError("M-Bus length", expected="<= 258", found=len(body))
    length = bytes((len(body) & 0xFF,)) * 2
    return b"\x68" + length + b"\x68" + body + bytes((sum(body) & 0xFF, STOP))
