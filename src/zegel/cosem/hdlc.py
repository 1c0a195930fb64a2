"""HDLC framing, frame format type 3 (IEC 62056-46, 6.4; checks as ISO/IEC 13239).

`7E format(2) destination source control [HCS] [information FCS] 7E`, where format is `A`, the
segmentation bit and the length of all between the flags. A segmented APDU is the information
of its frames, joined. LLC bytes `E6 E7 00` or `E6 E6 00` stand before the first.
"""

from dataclasses import dataclass

from zegel.errors import FramingError

__all__ = ["HdlcFrame", "HdlcReader", "SegmentAssembler", "check_sequence", "encode"]

FLAG = 0x7E
FORMAT, SEGMENTED, LENGTH = 0xA000, 0x0800, 0x07FF
LLC = (b"\xe6\xe7\x00", b"\xe6\xe6\x00")
SHORTEST = 7  # format, two addresses of one byte, control, FCS
MAX_APDU = 0x10000


@dataclass(frozen=True, slots=True)
class HdlcFrame:
    """One frame; addresses as their 1, 2 or 4 bytes on the wire."""

    destination: bytes
    source: bytes
    control: int
    information: bytes
    segmented: bool = False


class HdlcReader:
    """Cut a byte stream into frames. Frames may share a flag; nothing else stands between."""

    def __init__(self) -> None:
        self._buffer, self._offset = bytearray(), 0

    @property
    def waiting(self) -> int:
        """Bytes received that are no whole frame yet; flags alone do not count."""
        return len(self._buffer.strip(b"\x7e"))

    def receive(self, data: bytes) -> None:
        """Take in bytes from the stream, cut anywhere."""
        self._buffer += data

    def next_frame(self) -> HdlcFrame | None:
        """Return the next whole frame, or None if more bytes are needed.

        Raises:
            FramingError: no flag, another frame type, or a check sequence that does not fit.
                Our place is lost and every later call raises.
        """
        buffer = self._buffer
        while len(buffer) > 1 and buffer[0] == buffer[1] == FLAG:
            self._drop(1)
        if not buffer:
            return None
        if buffer[0] != FLAG:
            raise FramingError(
                "HDLC flag", at=self._offset, expected="7e", found=f"{buffer[0]:02x}"
            )
        if len(buffer) < 3:
            return None
        kind = int.from_bytes(buffer[1:3], "big")
        if kind & 0xF000 != FORMAT:
            found = f"{kind >> 12:x}"
            raise FramingError("HDLC frame type", at=self._offset + 1, expected="a", found=found)
        length = kind & LENGTH
        if length < SHORTEST:
            at, expected = self._offset + 1, f">= {SHORTEST}"
            raise FramingError("HDLC length", at=at, expected=expected, found=length)
        if len(buffer) < length + 2:
            return None
        if buffer[length + 1] != FLAG:
            at, found = self._offset + length + 1, f"{buffer[length + 1]:02x}"
            raise FramingError("HDLC closing flag", at=at, expected="7e", found=found)
        frame = _decode(bytes(buffer[1 : length + 1]), self._offset + 1)
        self._drop(length + 1)  # the closing flag may open the next frame
        return frame

    def end(self) -> None:
        """Say that the stream has ended.

        Raises:
            FramingError: inside a frame.
        """
        if len(self._buffer) > 1 or (self._buffer and not self._offset):
            length = int.from_bytes(self._buffer[1:3].ljust(2, b"\0"), "big") & LENGTH
            expected, found = f"{length + 2} bytes", f"{len(self._buffer)} bytes"
            raise FramingError("HDLC frame", at=self._offset, expected=expected, found=found)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count


class SegmentAssembler:
    """Joins the information of segmented frames, without LLC, up to `max_apdu` bytes."""

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        self._data, self._segments, self._max_apdu = bytearray(), 0, max_apdu

    @property
    def open(self) -> bool:
        """Whether a segment came and the last one did not."""
        return self._segments > 0

    def receive(self, frame: HdlcFrame) -> bytes | None:
        """Take in the next frame; return the whole APDU with its last segment, else None.

        Raises:
            FramingError: more than `max_apdu` bytes.
        """
        size = len(self._data) + len(frame.information)
        if size > self._max_apdu:
            where, expected = f"segment {self._segments}", f"<= {self._max_apdu} bytes"
            raise FramingError("segments", where=where, expected=expected, found=size)
        self._data += frame.information
        self._segments += 1
        if frame.segmented:
            return None
        apdu = bytes(self._data)
        self._data, self._segments = bytearray(), 0
        return apdu[3:] if apdu.startswith(LLC) else apdu


def encode(frame: HdlcFrame) -> bytes:
    """Write a frame with both flags.

    Raises:
        FramingError: an address that is not 1, 2 or 4 bytes, or over 2047 bytes in all.
    """
    for address in (frame.destination, frame.source):
        if _address(address, 0, 0) != (address, len(address)):
            raise FramingError("HDLC address", expected="1, 2 or 4 bytes", found=address.hex())
    head = frame.destination + frame.source + bytes((frame.control,))
    size = 2 + len(head) + 2 + (len(frame.information) + 2 if frame.information else 0)
    if size > LENGTH:
        raise FramingError("HDLC length", expected=f"<= {LENGTH}", found=size)
    kind = FORMAT | (SEGMENTED if frame.segmented else 0) | size
    body = kind.to_bytes(2, "big") + head
    body += check_sequence(body)
    if frame.information:
        body += frame.information
        body += check_sequence(body)
    return b"\x7e" + body + b"\x7e"


def check_sequence(data: bytes) -> bytes:
    """Return the two bytes of HCS or FCS: CRC-16/X-25, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def _table() -> tuple[int, ...]:
    """Build the CRC table of the reflected polynomial 0x8408."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8408 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def _decode(body: bytes, at: int) -> HdlcFrame:
    """Read what stands between the flags; `at` is its place in the stream, for errors."""
    destination, end = _address(body, 2, at)
    source, end = _address(body, end, at)
    if len(body) < end + 3:
        raise FramingError("HDLC header", at=at, expected=f"{end + 3} bytes", found=len(body))
    control, end = body[end], end + 1
    _check("HCS" if len(body) > end + 2 else "FCS", body[: end + 2], at)
    if len(body) > end + 2:
        if len(body) < end + 5:
            expected = "information and FCS"
            raise FramingError("HDLC frame", at=at + end + 2, expected=expected, found="too few")
        _check("FCS", body, at)
    segmented = bool(body[0] << 8 & SEGMENTED)
    return HdlcFrame(destination, source, control, body[end + 2 : -2], segmented)


def _check(name: str, body: bytes, at: int) -> None:
    expected, found = check_sequence(body[:-2]), body[-2:]
    if expected != found:
        place = at + len(body) - 2
        raise FramingError(f"HDLC {name}", at=place, expected=expected.hex(), found=found.hex())


def _address(body: bytes, start: int, at: int) -> tuple[bytes, int]:
    """Read an address: its last byte, the 1st, 2nd or 4th, has the lowest bit set."""
    for end in (start + 1, start + 2, start + 4):
        address = body[start:end]
        if len(address) < end - start:
            break
        if address[-1] & 1:
            if any(byte & 1 for byte in address[:-1]):
                break
            return address, end
    found = body[start : start + 4].hex()
    raise FramingError("HDLC address", at=at + start, expected="1, 2 or 4 bytes", found=found)
