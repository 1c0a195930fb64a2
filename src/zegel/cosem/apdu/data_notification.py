"""DataNotification and its confirmation (IEC 62056-5-3, 6.16).

`0F invoke-id(4) date-time body`, where date-time is an octet-string of 0 or 12 bytes. Kaifa
writes its tag 09 in front, which the standard does not; it is kept, so that encoding gives
the same bytes back.
"""

from dataclasses import dataclass

from zegel.cosem import axdr
from zegel.cosem.types import Value
from zegel.errors import MalformedError

__all__ = ["DataNotification", "DataNotificationConfirm"]

TAG, TAG_CONFIRM = 0x0F, 0x10
DATE_TIME_BYTES = 12


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A push: long-invoke-id-and-priority as on the wire, date-time (0 or 12 bytes), body."""

    long_invoke_id_and_priority: int
    date_time: bytes
    body: Value
    tagged_date_time: bool = False

    @property
    def invoke_id(self) -> int:
        """The low 24 bits."""
        return self.long_invoke_id_and_priority & 0xFFFFFF

    @classmethod
    def decode(cls, apdu: bytes) -> "DataNotification":
        """Read a DataNotification to its last byte.

        Raises:
            MalformedError: another tag, a date-time of another length, or a body that is no
                A-XDR value or does not end with the APDU.
        """
        invoke_id = _invoke_id(apdu, TAG)
        date_time, tagged, at = cls.split_date_time(apdu)
        body, end = axdr.decode(apdu, at)
        if end != len(apdu):
            found = f"{len(apdu) - end} bytes more"
            raise MalformedError("data-notification", at=end, expected="its end", found=found)
        return cls(invoke_id, date_time, body, tagged)

    @staticmethod
    def split_date_time(apdu: bytes) -> tuple[bytes, bool, int]:
        """Return date-time, whether it carries a tag, and where the body begins.

        Raises:
            MalformedError: a date-time that is cut or of another length than 0 or 12.
        """
        at = 5
        tagged = apdu[at : at + 2] in (b"\x09\x0c", b"\x09\x00")
        at += tagged
        length = apdu[at] if at < len(apdu) else -1
        if length not in (0, DATE_TIME_BYTES):
            found = "end of data" if length < 0 else length
            raise MalformedError("date-time length", at=at, expected="0 or 12", found=found)
        start, end = at + 1, at + 1 + length
        if end > len(apdu):
            found = f"{len(apdu) - start} bytes"
            raise MalformedError("date-time", at=start, expected="12 bytes", found=found)
        return apdu[start:end], tagged, end

    def encode(self) -> bytes:
        """Write it.

        Raises:
            MalformedError: a date-time that is not 0 or 12 bytes, or a body that cannot be.
        """
        if len(self.date_time) not in (0, DATE_TIME_BYTES):
            raise MalformedError("date-time", expected="0 or 12 bytes", found=len(self.date_time))
        head = bytes((TAG,)) + _write_id(self.long_invoke_id_and_priority)
        tag = b"\x09" if self.tagged_date_time else b""
        return head + tag + bytes((len(self.date_time),)) + self.date_time + axdr.encode(self.body)


@dataclass(frozen=True, slots=True)
class DataNotificationConfirm:
    """The receiver's answer to a confirmed push: invoke id and an optional date-time."""

    long_invoke_id_and_priority: int
    date_time: bytes = b""

    @property
    def invoke_id(self) -> int:
        """The low 24 bits."""
        return self.long_invoke_id_and_priority & 0xFFFFFF

    @classmethod
    def decode(cls, apdu: bytes) -> "DataNotificationConfirm":
        """Read a confirmation to its last byte.

        Raises:
            MalformedError: another tag, a date-time of another length, or bytes behind it.
        """
        invoke_id = _invoke_id(apdu, TAG_CONFIRM)
        date_time, _, end = DataNotification.split_date_time(apdu)
        if end != len(apdu):
            found = f"{len(apdu) - end} bytes more"
            raise MalformedError("confirmation", at=end, expected="its end", found=found)
        return cls(invoke_id, date_time)

    def encode(self) -> bytes:
        """Write it."""
        head = bytes((TAG_CONFIRM,)) + _write_id(self.long_invoke_id_and_priority)
        return head + bytes((len(self.date_time),)) + self.date_time


def _invoke_id(apdu: bytes, tag: int) -> int:
    if apdu[:1] != bytes((tag,)):
        found = apdu[:1].hex() or "end of data"
        raise MalformedError("APDU tag", at=0, expected=f"{tag:02x}", found=found)
    if len(apdu) < 5:
        found = f"{len(apdu) - 1} bytes"
        raise MalformedError("long-invoke-id", at=1, expected="4 bytes", found=found)
    return int.from_bytes(apdu[1:5], "big")


def _write_id(number: int) -> bytes:
    if not 0 <= number <= 0xFFFFFFFF:
        raise MalformedError("long-invoke-id", expected="0..4294967295", found=number)
    return number.to_bytes(4, "big")
