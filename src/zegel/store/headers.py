"""Take the clear headers of many frames apart at once; no key, nothing trusted.

A push is `DB | 08 title(8) | length | control | counter(4) | ciphertext | tag(12)`. Frames of
that form are read as columns; all others go one by one through `zegel.cosem.seal.split`, which
says what is wrong with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zegel.cosem.apdu.names import apdu_name
from zegel.cosem.seal import split
from zegel.errors import MalformedError, SecurityError, UnsupportedError
from zegel.node.spool_format import Mark, Record
from zegel.store.fate import Reason

__all__ = ["Headers", "read_headers"]

_HEAD = 18  # bytes up to the end of the counter, with a length of three bytes
_SMALLEST = 17  # control, counter, tag
_DATA_NOTIFICATION = 0x0F
# APDUs that carry their content in the clear (IEC 62056-5-3, XDLMS-APDU and ACSE-APDU)
_CLEAR = frozenset((0x01, 0x05, 0x06, 0x08, 0x0C, 0x0D, 0x0E, 0x0F, 0x16, 0x18))
_CLEAR |= frozenset((*range(0x60, 0x68), *range(0xC0, 0xC8), 0xD8, 0xD9, 0xDA))


@dataclass(frozen=True, slots=True, eq=False)
class Headers:
    """The clear headers of n frames.

    `reason` (n,) u1 `Reason`, NONE where the frame may be opened; the other columns hold only
    there (and `title` wherever 8 bytes of one could be read): `title` (n,) u8, the 8 bytes as
    they stand; `control` (n,) u1; `counter` (n,) u4; `start` (n,) i8 of the ciphertext; `size`
    (n,) i8 of the frame. `what` says what is wrong, by place. `clear` are the places of plain
    DataNotifications.
    """

    reason: NDArray[np.uint8]
    title: NDArray[np.uint64]
    control: NDArray[np.uint8]
    counter: NDArray[np.uint32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    what: dict[int, str] = field(default_factory=dict)
    clear: list[int] = field(default_factory=list)


def read_headers(records: Sequence[Record]) -> Headers:
    """Split n frames; those with a mark of the edge are not looked into."""
    n = len(records)
    size = np.fromiter((len(record.frame) for record in records), "i8", n)
    heads = np.frombuffer(
        b"".join([record.frame[:_HEAD].ljust(_HEAD, b"\0") for record in records]), "u1"
    ).reshape(n, _HEAD)
    mark = np.fromiter((record.mark for record in records), "u1", n)
    length, at = _lengths(heads)
    each = np.arange(n)
    control = heads[each, at]
    good = (heads[:, 0] == 0xDB) & (heads[:, 1] == 8) & (mark == Mark.NONE)
    good &= (length >= _SMALLEST) & (at + length == size) & (control >= 0x30) & (control <= 0x32)
    counter = np.zeros(n, "u4")
    for k in range(1, 5):
        counter = counter << np.uint32(8) | heads[each, np.minimum(at + k, _HEAD - 1)]
    headers = Headers(
        reason=np.zeros(n, "u1"),
        title=heads[:, 2:10].copy().view("u8").reshape(n),  # one row alone is a read-only view
        control=control.copy(),
        counter=counter,
        start=at + 5,
        size=size,
    )
    for place in np.flatnonzero(~good).tolist():
        _one(headers, place, records[place])
    return headers


def _lengths(heads: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the value of one to three length octets and where they end.

    -1 stands for other forms: longer ones are rare, and not the shortest is wrong.
    """
    first, a, b = heads[:, 10:13].astype("i8").T
    length = np.full(len(heads), -1, "i8")
    at = np.full(len(heads), 11, "i8")
    forms = (
        (first < 0x80, first, 11),
        ((first == 0x81) & (a >= 0x80), a, 12),
        ((first == 0x82) & (a > 0), a << 8 | b, 13),
    )
    for form, value, end in forms:
        length[form], at[form] = value[form], end
    return length, at


def _one(headers: Headers, place: int, record: Record) -> None:
    """Find out what is wrong with one frame, or that its form is only a rare one."""
    headers.title[place] = 0
    headers.counter[place] = 0
    if record.mark != Mark.NONE:
        framing = record.mark == Mark.FRAMING
        headers.reason[place] = Reason.FRAMING if framing else Reason.TOO_LARGE
        headers.what[place] = "cut or odd stream" if framing else "larger than the edge accepts"
        return
    frame = record.frame
    if frame and frame[0] in _CLEAR:
        headers.reason[place] = Reason.NOT_AUTHENTICATED
        headers.what[place] = f"{apdu_name(frame[0]) or f'{frame[0]:02x}'} in the clear"
        if frame[0] == _DATA_NOTIFICATION:
            headers.clear.append(place)
        return
    try:
        title, control, counter, start = split(frame)
    except SecurityError as error:
        _refuse(headers, place, Reason.NOT_AUTHENTICATED, error)
        _claimed(headers, place, frame)
    except UnsupportedError as error:
        _refuse(headers, place, Reason.UNSUPPORTED, error)
        _claimed(headers, place, frame)
    except MalformedError as error:
        _refuse(headers, place, Reason.MALFORMED, error)
    else:
        headers.title[place] = int.from_bytes(title, "little")
        headers.control[place], headers.counter[place] = control, counter
        headers.start[place] = start


def _refuse(headers: Headers, place: int, reason: Reason, error: Exception) -> None:
    headers.reason[place] = reason
    headers.what[place] = str(error)


def _claimed(headers: Headers, place: int, frame: bytes) -> None:
    """Keep the title that a frame claims, for whoever looks into the quarantine."""
    if frame[:2] == b"\xdb\x08" and len(frame) >= 10:
        headers.title[place] = int.from_bytes(frame[2:10], "little")
