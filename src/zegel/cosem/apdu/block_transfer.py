"""General block transfer: an APDU in numbered pieces (IEC 62056-5-3, 4.2.3.13 and 7.3.13).

`E0 block-control block-number(2) block-number-ack(2) length data`. Only what a push needs is
read: blocks in order, none lost, nothing acknowledged in between.
"""

from dataclasses import dataclass

from zegel.cosem.length import decode_length, encode_length
from zegel.errors import MalformedError, UnsupportedError

__all__ = ["BlockAssembler", "GeneralBlock"]

TAG = 0xE0
LAST, STREAMING, WINDOW = 0x80, 0x40, 0x3F
MAX_APDU = 0x10000


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """One block; `control` holds the last-block and streaming bits and the window size."""

    control: int
    number: int
    acknowledged: int
    data: bytes

    @property
    def last(self) -> bool:
        """Whether the APDU ends with this block."""
        return bool(self.control & LAST)

    @property
    def streaming(self) -> bool:
        """Whether more blocks follow without an acknowledgement."""
        return bool(self.control & STREAMING)

    @property
    def window(self) -> int:
        """How many blocks the sender is ready to receive, 0..63."""
        return self.control & WINDOW

    @classmethod
    def decode(cls, apdu: bytes) -> "GeneralBlock":
        """Read a block to its last byte.

        Raises:
            MalformedError: another tag, cut off, or a length that is not the rest.
        """
        if apdu[:1] != bytes((TAG,)):
            found = apdu[:1].hex() or "end of data"
            raise MalformedError("APDU tag", at=0, expected="e0", found=found)
        if len(apdu) < 6:
            found = f"{len(apdu) - 1} bytes"
            raise MalformedError("block header", at=1, expected="5 bytes", found=found)
        length, start = decode_length(apdu, 6, minimal=False)
        if start + length != len(apdu):
            expected, found = f"{length} bytes", f"{len(apdu) - start} bytes"
            raise MalformedError("block data", at=start, expected=expected, found=found)
        number, acknowledged = (int.from_bytes(apdu[i : i + 2], "big") for i in (2, 4))
        return cls(apdu[1], number, acknowledged, apdu[start:])

    def encode(self) -> bytes:
        """Write it, with the shortest length."""
        numbers = self.number.to_bytes(2, "big") + self.acknowledged.to_bytes(2, "big")
        head = bytes((TAG, self.control)) + numbers
        return head + encode_length(len(self.data)) + self.data


class BlockAssembler:
    """Joins blocks 1, 2, … up to the last one; holds at most `max_apdu` bytes."""

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        self._data, self._next, self._max_apdu = bytearray(), 1, max_apdu

    @property
    def open(self) -> bool:
        """Whether blocks came and the last one did not."""
        return self._next > 1

    def receive(self, block: GeneralBlock) -> bytes | None:
        """Take in the next block; return the whole APDU with the last one, else None.

        Raises:
            UnsupportedError: a block lost, repeated or out of order.
            MalformedError: more than `max_apdu` bytes, or a block without data in between.
        """
        if block.number != self._next:
            where = f"block {self._next}"
            raise UnsupportedError(
                "block order", where=where, expected=self._next, found=block.number
            )
        where, size = f"block {block.number}", len(self._data) + len(block.data)
        if not (block.data or block.last):
            raise MalformedError("block data", where=where, expected="1 byte", found="none")
        if size > self._max_apdu:
            expected = f"<= {self._max_apdu} bytes"
            raise MalformedError("blocks", where=where, expected=expected, found=size)
        self._data += block.data
        self._next += 1
        if not block.last:
            return None
        apdu = bytes(self._data)
        self._data, self._next = bytearray(), 1
        return apdu
