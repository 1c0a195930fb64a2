"""What any spool must do, as a check that runs on every implementation, ours or a stranger's."""

from collections.abc import Callable, Sequence

from zegel.edge.spool import Spool
from zegel.errors import StorageError
from zegel.node.spool_format import NUMBER_BITS, Mark, Record, SegmentName, Source, pack_address

__all__ = ["SpoolCheckError", "check_spool"]

RECORDS = (
    Record(
        b"\xdb\x08MMM00001\x05\x30\x00\x00\x00\x01", port=4059, address=pack_address("192.0.2.7")
    ),
    Record(b"", Source.PUSH_UDP, Mark.NONE, 65535, pack_address("2001:db8::1")),
    Record(b"\x00\x02cut", Source.PUSH_TCP, Mark.FRAMING, 1),
    Record(bytes(70_000), Source.PULL, Mark.NONE, 0, bytes(16), b"request 7"),
    Record(b"ZSP1" * 20, Source.PUSH_TCP, Mark.TOO_LARGE, 2),
)


class SpoolCheckError(AssertionError):
    """A spool broke the contract; the message is the rule that it broke."""


def check_spool(make_spool: Callable[[], Spool]) -> None:
    """Hold a spool against the contract.

    `make_spool` opens the same storage every time, empty at first; it is called again after
    each `close`, and once while the spool is open.

    Raises:
        SpoolCheckError: with the rule that was broken.
    """
    spool = make_spool()
    try:
        _check_appending(spool)
        names = _check_sealing(spool)
        _check_lock(make_spool)
        last = spool.append(RECORDS[:1])
    finally:
        spool.close()
    spool = make_spool()
    try:
        _check_reopened(spool, names, last)
        _check_release(spool, names[0])
        again = spool.append(RECORDS[:1])
    finally:
        spool.close()
    _must(again.start >> NUMBER_BITS > last.start >> NUMBER_BITS, "each start has its own epoch")
    spool = make_spool()
    try:
        _check_drained(spool)
    finally:
        spool.close()


def _must(holds: bool, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise SpoolCheckError(rule)


def _check_appending(spool: Spool) -> None:
    _must(spool.seal() is None, "sealing an empty spool makes no segment")
    _must(len(spool.append([])) == 0, "appending nothing gives no frame id")
    ids = spool.append(RECORDS[:2])
    _must(len(ids) == 2 and ids.step == 1, "a frame id for each record, counting up")
    _must(spool.append(RECORDS[2:]).start == ids.stop, "frame ids go on where they stopped")
    _must(ids.start >> NUMBER_BITS > 0, "a frame id carries the epoch")
    usage = spool.usage
    _must(usage.open_records == len(RECORDS), "usage counts the records that are open")
    _must(usage.syncs >= 2, "every append is synced")
    _must(usage.unread == 0 and not spool.unread(), "what is open is not yet for the store")


def _check_sealing(spool: Spool) -> list[SegmentName]:
    first = spool.seal()
    _must(first is not None and first.count == len(RECORDS), "a segment holds what was appended")
    _must(spool.seal() is None, "a second seal finds nothing")
    following = spool.append(RECORDS[3:4])
    second = spool.seal()
    names = [name for name in (first, second) if name is not None]
    _must(len(names) == 2, "every seal of something makes a segment")
    _must(names[1].first == names[0].last + 1 == following.start, "segments follow without a gap")
    _must(list(spool.unread()) == names, "unread segments are listed, oldest first")
    _must(spool.usage.unread == 2, "usage counts the unread segments")
    _must_read(spool, names[0], RECORDS)
    _must_read(spool, names[1], RECORDS[3:4])
    return names


def _must_read(spool: Spool, name: SegmentName, expected: Sequence[Record]) -> None:
    segment = spool.read(name)
    _must(segment.records == list(expected), "a segment reads as it was appended")
    _must(len(segment.received) == len(expected), "every record has the time of its commit")
    _must(all(moment > 1e9 for moment in segment.received), "times are UTC seconds")


def _check_lock(make_spool: Callable[[], Spool]) -> None:
    try:
        other = make_spool()
    except StorageError:
        return
    other.close()
    _must(holds=False, rule="a second edge on the same spool is refused with StorageError")


def _check_reopened(spool: Spool, names: list[SegmentName], last: range) -> None:
    unread = list(spool.unread())
    _must(unread[:2] == names, "sealed segments are there after a restart")
    _must(len(unread) == 3, "closing seals what is open")
    _must((unread[2].first, unread[2].last) == (last.start, last.stop - 1), "and keeps its ids")
    _must_read(spool, names[0], RECORDS)
    _must_read(spool, unread[2], RECORDS[:1])


def _check_release(spool: Spool, name: SegmentName) -> None:
    _must(not spool.release(name.first, name.last + 1), "only a whole segment can be released")
    _must(not spool.release(name.first + 1, name.last), "only a whole segment can be released")
    _must(spool.release(name.first, name.last), "releasing a segment says that it was there")
    _must(not spool.release(name.first, name.last), "releasing it again changes nothing")
    _must(name not in spool.unread(), "a released segment is gone")
    try:
        spool.read(name)
    except StorageError:
        return
    _must(holds=False, rule="a released segment cannot be read")


def _check_drained(spool: Spool) -> None:
    for name in spool.unread():
        _must(spool.release(name.first, name.last), "every unread segment can be released")
    usage = spool.usage
    _must(usage.unread == 0 and usage.unread_bytes == 0, "a drained spool holds nothing")
    spool.probe()
    _must(spool.seal() is None, "a probe leaves no record behind")
