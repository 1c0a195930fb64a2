"""The daily push: the one place that knows its shape. It is Zegel's own (docs/reference/push.md).

A DataNotification whose body is `structure { octet-string(16) COSEM logical device name,
octet-string(6) profile OBIS, array of structure { clock, AMR status, 1.8.0, 2.8.0 } }`. A clock
is the end of its interval; registers are cumulative, in Wh.

Written two ways: `build_body` says one push value by value, `build_bodies` a fleet's as one
matrix. Read here by the general decoder; `zegel.cosem.batch` reads many at once.
Needs NumPy: import this module by its own name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zegel.cosem import wrapper
from zegel.cosem.apdu import DataNotification, DataNotificationConfirm
from zegel.cosem.datetime import CosemDateTime
from zegel.cosem.stamps import CLOCK, doubtful, local_stamps, utc_seconds
from zegel.cosem.types import CompactArray, Tag, Value, type_name
from zegel.cosem.wrapper import WrapperFrame
from zegel.errors import MalformedError, UnsupportedError, UsageError

__all__ = [
    "DESTINATION_WPORT",
    "PROFILE_OBIS",
    "RECEIPT_BYTES",
    "SOURCE_WPORT",
    "PushRows",
    "build_bodies",
    "build_body",
    "device_name",
    "parse_receipt",
    "read_push",
    "receipt",
    "wrap",
]

TAG = 0x0F  # DataNotification
PROFILE_OBIS = bytes.fromhex("0100630100ff")  # E interval profile
NAME_BYTES = 16
NAME_DIGITS = 13
SOURCE_WPORT, DESTINATION_WPORT = 1, 103
RECEIPT_BYTES = wrapper.HEADER.size + 6
ID_MASK = 0xFFFFFF  # the invoke-id is the low 24 bits of the invocation counter
MAX_REGISTER = 0xFFFFFFFF
HEAD = np.dtype([("tag", "u1"), ("invoke_id", ">u4"), ("size", "u1"), ("pushed", CLOCK)])
ROW = np.dtype(
    [
        ("structure", "V4"), ("clock", CLOCK), ("unsigned", "u1"), ("status", "u1"),
        ("long_1", "u1"), ("import_wh", ">u4"), ("long_2", "u1"), ("export_wh", ">u4"),
    ]
)  # fmt: skip
# plain ints: a name of an Enum costs more to look up than the rest of a row
NULL, ARRAY, STRUCTURE = int(Tag.NULL), int(Tag.ARRAY), int(Tag.STRUCTURE)
OCTET_STRING, COMPACT_ARRAY = int(Tag.OCTET_STRING), int(Tag.COMPACT_ARRAY)
CLOCK_TAGS = frozenset((NULL, OCTET_STRING, int(Tag.DATE_TIME)))
SIGNED = (Tag.INT8, Tag.INT16, Tag.INT32, Tag.INT64)
INTEGERS = frozenset(map(int, (*SIGNED, Tag.UINT8, Tag.UINT16, Tag.UINT32, Tag.UINT64)))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INT64 = (-(2**63), 2**63 - 1)


def device_name(number: int) -> bytes:
    """Return the COSEM logical device name `ZGL` + 13 digits of a meter's number.

    Raises:
        UsageError: a number of more than 13 digits, or negative.
    """
    if not 0 <= number < 10**NAME_DIGITS:
        raise UsageError("meter number", expected="0 to 13 digits", found=number)
    return b"ZGL%013d" % number


def wrap(frame: bytes) -> bytes:
    """Return a sealed push as it stands on the wire: behind the wrapper's header."""
    return wrapper.encode(WrapperFrame(SOURCE_WPORT, DESTINATION_WPORT, frame))


def receipt(counter: int) -> bytes:
    """Return the receipt of a push with this invocation counter, as it stands on the wire.

    Unprotected: it only stops a resend, a meter never erases on it.
    """
    confirm = DataNotificationConfirm(counter & ID_MASK).encode()
    return wrapper.encode(WrapperFrame(DESTINATION_WPORT, SOURCE_WPORT, confirm))


def parse_receipt(data: bytes) -> int:
    """Return the invoke-id that a receipt, wrapper header included, confirms.

    Raises:
        FramingError: no wrapper frame that fills `data`.
        MalformedError: no confirmation, or from other wPorts.
    """
    frame = wrapper.decode_datagram(data)
    ports = (frame.source, frame.destination)
    if ports != (DESTINATION_WPORT, SOURCE_WPORT):
        expected = f"{DESTINATION_WPORT} to {SOURCE_WPORT}"
        found = f"{ports[0]} to {ports[1]}"
        raise MalformedError("receipt wPorts", at=2, expected=expected, found=found)
    return DataNotificationConfirm.decode(frame.apdu).invoke_id


def build_body(
    name: bytes,
    counter: int,
    pushed: int,
    rows: Iterable[tuple[int, int, int, int]],
    *,
    zone: ZoneInfo,
    clock_status: int = 0,
) -> bytes:
    """Write one push, value by value: the reference for `build_bodies`.

    Args:
        name: COSEM logical device name, 16 bytes.
        counter: invocation counter that the frame will be sealed with.
        pushed: UTC seconds of the push.
        rows: (end of interval in UTC seconds, AMR status, import in Wh, export in Wh) each.
        zone: local zone of the clocks.
        clock_status: clock status bits beside the DST bit.
    """
    rows = list(rows)
    stamps = local_stamps(np.array([row[0] for row in rows], "i8"), zone, status=clock_status)
    array = tuple(
        Value(
            STRUCTURE,
            (
                Value(OCTET_STRING, stamp.tobytes()),
                Value(Tag.UINT8, status),
                Value(Tag.UINT32, import_wh),
                Value(Tag.UINT32, export_wh),
            ),
        )
        for stamp, (_, status, import_wh, export_wh) in zip(stamps, rows, strict=True)
    )
    parts = (Value(OCTET_STRING, name), Value(OCTET_STRING, PROFILE_OBIS))
    body = Value(STRUCTURE, (*parts, Value(ARRAY, array)))
    date_time = local_stamps(np.array([pushed], "i8"), zone).tobytes()
    return DataNotification(counter & ID_MASK, date_time, body).encode()


def build_bodies(
    names: np.ndarray,
    counters: ArrayLike,
    pushed: ArrayLike,
    t: NDArray[np.int64],
    import_wh: ArrayLike,
    export_wh: ArrayLike,
    *,
    zone: ZoneInfo,
    status: ArrayLike = 0,
    clock_status: ArrayLike = 0,
) -> NDArray[np.uint8]:
    """Write the pushes of m meters with the same n intervals.

    Args:
        names: (m,) of 16 bytes each (`S16` or `V16`), COSEM logical device names.
        counters: (m,) invocation counters.
        pushed: (m,) or scalar, UTC seconds of each push.
        t: (n,) int64, UTC seconds, ends of the intervals.
        import_wh: (m, n) Wh, 0 to 2**32 - 1.
        export_wh: as `import_wh`.
        zone: local zone of the clocks.
        status: AMR status, broadcast to (m, n).
        clock_status: clock status bits beside the DST bit, broadcast to (m, n).

    Returns:
        (m, length) u1: a plaintext APDU a row.

    Raises:
        UsageError: a register that 32 bits do not hold, or names of another size.
    """
    names = np.ascontiguousarray(names)
    if names.dtype.itemsize != NAME_BYTES or names.ndim != 1:
        raise UsageError("device names", expected="(m,) of 16 bytes", found=names.dtype)
    meters, count = len(names), len(t)
    like = build_body(bytes(NAME_BYTES), 0, 0, [(0, 0, 0, 0)] * count, zone=zone)
    frames = np.empty((meters, len(like)), "u1")
    frames[:] = np.frombuffer(like, "u1")
    head = frames[:, : HEAD.itemsize].view(HEAD)[:, 0]
    head["invoke_id"] = np.asarray(counters).astype("u4") & ID_MASK
    head["pushed"] = local_stamps(np.asarray(pushed, "i8"), zone)
    name_at = HEAD.itemsize + 4  # behind structure(3) and octet-string(16)
    frames[:, name_at : name_at + NAME_BYTES] = names.view("u1").reshape(meters, NAME_BYTES)
    rows = frames[:, len(like) - count * ROW.itemsize :].view(ROW)
    rows["clock"] = local_stamps(np.asarray(t, "i8"), zone)
    if np.any(clock_status):
        rows["clock"]["status"] |= np.broadcast_to(np.asarray(clock_status, "u1"), rows.shape)
    rows["status"] = status
    rows["import_wh"], rows["export_wh"] = _registers(import_wh), _registers(export_wh)
    return frames


def _registers(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    if array.size and (array.min() < 0 or array.max() > MAX_REGISTER):
        found = f"{array.min()}..{array.max()}"
        raise UsageError("register", expected=f"0..{MAX_REGISTER} Wh", found=found)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class PushRows:
    """One push as columns, (n,) each: `t` int64 UTC seconds, registers int64 Wh, status u1."""

    name: bytes
    invoke_id: int
    t: NDArray[np.int64]
    import_wh: NDArray[np.int64]
    export_wh: NDArray[np.int64]
    status: NDArray[np.uint8]
    clock_doubtful: NDArray[np.bool_]


def read_push(apdu: bytes, *, zone: ZoneInfo, period_s: int) -> PushRows:
    """Read one push with the general decoder, whatever types its values have.

    A null clock is the one before plus `period_s`; a null status or register repeats the one
    before. Rows may stand in a compact-array, clocks may be of type date-time.

    Raises:
        MalformedError: the encoding is broken, or a clock names no moment.
        UnsupportedError: well encoded, but not the push's shape, or a number out of range.
    """
    if apdu and apdu[0] != TAG:
        raise UnsupportedError("push APDU", at=0, expected="0f", found=f"{apdu[0]:02x}")
    note = DataNotification.decode(apdu)
    name, rows = _parts(note.body)
    clocks, statuses, imports, exports = _columns(rows)
    t, doubt = _times(clocks, zone, period_s)
    return PushRows(
        name,
        note.invoke_id,
        t,
        np.array(_integers("import", imports, INT64), "i8"),
        np.array(_integers("export", exports, INT64), "i8"),
        np.array(_integers("AMR status", statuses, (0, 255)), "u1"),
        doubt,
    )


def _parts(body: Value) -> tuple[bytes, Sequence[Value]]:
    """Return device name and rows of a push's body."""
    if body.tag != STRUCTURE or len(body.value) != 3:
        raise UnsupportedError("push body", expected="structure of 3", found=type_name(body.tag))
    name, profile, rows = body.value
    if name.tag != OCTET_STRING or len(name.value) != NAME_BYTES:
        found = type_name(name.tag)
        raise UnsupportedError("device name", expected=f"{NAME_BYTES} bytes", found=found)
    if profile != (OCTET_STRING, PROFILE_OBIS):
        expected = PROFILE_OBIS.hex()
        raise UnsupportedError("push profile", expected=expected, found=type_name(profile.tag))
    if rows.tag == ARRAY:
        return name.value, rows.value
    if rows.tag == COMPACT_ARRAY and isinstance(rows.value, CompactArray):
        return name.value, rows.value.items
    raise UnsupportedError("push rows", expected="an array", found=type_name(rows.tag))


def _columns(rows: Sequence[Value]) -> Sequence[Sequence[Value]]:
    """Turn rows of four values into four columns."""
    for index, (tag, values) in enumerate(rows):
        if tag != STRUCTURE or len(values) != 4:
            where, found = f"row {index}", type_name(tag)
            raise UnsupportedError("row", where=where, expected="structure of 4", found=found)
    return list(zip(*[row.value for row in rows], strict=True)) or [(), (), (), ()]


def _integers(what: str, values: Sequence[Value], limits: tuple[int, int]) -> list[int]:
    low, high = limits
    tags, contents = zip(*values, strict=True) if values else ((), ())
    if INTEGERS.issuperset(tags) and (not values or low <= min(contents) <= max(contents) <= high):
        return list(contents)
    numbers: list[int] = []
    for index, (tag, value) in enumerate(values):
        if tag in INTEGERS:
            if not low <= value <= high:
                where, expected = f"row {index}", f"{low}..{high}"
                raise UnsupportedError(what, where=where, expected=expected, found=value)
            numbers.append(value)
        elif tag == NULL and numbers:
            numbers.append(numbers[-1])
        else:
            where, found = f"row {index}", type_name(tag)
            raise UnsupportedError(what, where=where, expected="an integer", found=found)
    return numbers


def _times(
    clocks: Sequence[Value], zone: ZoneInfo, period_s: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return UTC seconds and doubt of a column of clocks, (n,) each."""
    for index, (tag, raw) in enumerate(clocks):
        if tag not in CLOCK_TAGS or (len(raw) != CLOCK.itemsize if raw is not None else not index):
            where, found = f"row {index}", type_name(tag)
            raise UnsupportedError("clock", where=where, expected="12 bytes", found=found)
    given = np.array([tag != NULL for tag, _ in clocks], "?")
    stamps = np.frombuffer(b"".join([raw for _, raw in clocks if raw is not None]), CLOCK)
    seconds, good = utc_seconds(stamps)
    doubt = doubtful(stamps["status"])
    for index in np.flatnonzero(~good).tolist():
        seconds[index], guessed = _moment(stamps[index].tobytes(), zone)
        doubt[index] |= guessed
    # a null clock counts on from the last one given
    last = np.cumsum(given) - 1
    steps = np.arange(len(clocks)) - np.flatnonzero(given)[last]
    return seconds[last] + steps * period_s, doubt[last]


def _moment(raw: bytes, zone: ZoneInfo) -> tuple[int, bool]:
    """Return UTC seconds of a clock, and whether its offset had to be guessed."""
    clock = CosemDateTime.decode(raw)
    moment = clock.to_utc(zone)
    if moment is None:
        raise UnsupportedError("clock", expected="a definite moment", found=clock)
    guessed = clock.deviation is None and clock.dst is None
    return (moment - EPOCH) // timedelta(seconds=1), guessed
