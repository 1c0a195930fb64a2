"""Quarantined bodies: quota, redelivery, sealing, and that every frame is counted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.store_bench import StoreBench, body, push
from zegel.errors import DamagedError, NotFoundError, UsageError
from zegel.node.spool_format import Record
from zegel.store.quarantine import Kept, Quarantine


def make(path: Path, **how: int) -> Quarantine:
    limits = {"per_source": 3, "total_bytes": 1000, **how}
    return Quarantine(path / "q.db", bytes(32), **limits)


def kept(frame_id: int, **how: object) -> Kept:
    fields: dict[str, object] = {
        "address": "a", "reason": "bad_tag", "what": "why", "body": b"x" * 10, **how
    }  # fmt: skip
    return Kept(frame_id, **fields)  # type: ignore[arg-type]


def test_quota_holds_per_source_and_across_restarts(tmp_path: Path) -> None:
    quarantine = make(tmp_path)
    assert quarantine.keep([kept(n) for n in range(5)]) == 2
    assert quarantine.keep([kept(10, address="b"), kept(11, reason="replay")]) == 0
    quarantine.close()
    again = make(tmp_path)
    assert again.keep([kept(20)]) == 1
    assert again.count() == 5
    again.close()


def test_total_is_bounded(tmp_path: Path) -> None:
    quarantine = make(tmp_path, per_source=100, total_bytes=55)
    assert quarantine.keep([kept(n) for n in range(9)]) == 4
    quarantine.close()


def test_frame_that_comes_again_is_kept_once(tmp_path: Path) -> None:
    quarantine = make(tmp_path)
    quarantine.keep([kept(1)])
    assert quarantine.keep([kept(1), kept(2), kept(3)]) == 0
    assert quarantine.count() == 3
    quarantine.close()


def test_body_and_cause_are_sealed_at_rest(tmp_path: Path) -> None:
    quarantine = make(tmp_path)
    quarantine.keep([kept(1, body=b"SECRET-BODY", what="SECRET-WHAT")])
    assert quarantine.show(1) == ("SECRET-WHAT", b"SECRET-BODY")
    quarantine.close()
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"SECRET" not in files


def test_body_moved_to_another_frame_is_noticed(tmp_path: Path) -> None:
    quarantine = make(tmp_path)
    quarantine.keep([kept(1)])
    quarantine._db.execute("UPDATE bodies SET frame_id = 2")
    with pytest.raises(DamagedError):
        quarantine.show(2)
    quarantine.close()


def test_what_is_sampled_away_is_still_counted(make_bench: Callable[..., StoreBench]) -> None:
    bench = make_bench(per_source=2)
    meter = bench.meters[0]
    bench.take([body(meter, base=n) for n in range(5)])
    page = bench.answers.quarantined(after=0, limit=100, reason="")
    assert page.counts == {"not_authenticated": 5}
    assert page.sampled_away == 3
    assert len(page.entries) == 5
    assert [bool(entry.what) for entry in page.entries] == [True, True, False, False, False]
    with pytest.raises(NotFoundError):
        bench.answers.quarantined_one(page.entries[-1].frame_id)


def test_quarantined_frame_is_shown_with_its_bytes_and_peer(bench: StoreBench) -> None:
    meter = bench.meters[0]
    frame = bytearray(push(meter))
    frame[200] ^= 1
    bench.take([push(meter), Record(bytes(frame), source=1, port=77, address=bytes(15) + b"\1")])
    (entry,) = bench.answers.quarantined(after=0, limit=10, reason="bad_tag").entries
    assert (entry.reason, entry.peer, entry.source) == ("bad_tag", "[::1]:77", "push")
    assert (entry.system_title, entry.invocation_counter) == (meter.title.hex(), 1)
    assert (entry.meter_id, entry.size) == (1, len(frame))
    shown = bench.answers.quarantined_one(entry.frame_id)
    assert shown.body == bytes(frame)
    assert shown.what == "authentication tag does not fit"


def test_pages_follow_on_one_another(bench: StoreBench) -> None:
    bench.take([body(bench.meters[0], base=n) for n in range(5)])
    first = bench.answers.quarantined(after=0, limit=3, reason="")
    assert first.next is not None
    second = bench.answers.quarantined(after=first.next, limit=3, reason="")
    assert second.next is None
    ids = [entry.frame_id for entry in first.entries + second.entries]
    assert ids == sorted(set(ids))
    assert len(ids) == 5


def test_stored_frame_is_no_quarantined_one(bench: StoreBench) -> None:
    name = bench.take([push(bench.meters[0])])
    with pytest.raises(NotFoundError):
        bench.answers.quarantined_one(name.first)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 10_001}, {"reason": "boredom"}])
def test_wrong_page_is_refused(bench: StoreBench, wrong: dict[str, object]) -> None:
    asked = {"after": 0, "limit": 10, "reason": "", **wrong}
    with pytest.raises(UsageError):
        bench.answers.quarantined(**asked)  # type: ignore[arg-type]
