"""Quarantined bodies: quota, redelivery, sealing, and that every frame is counted."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.store_bench import StoreBench, body, push
from zegel.errors import DamagedError, NotFoundError, UsageError
from zegel.node.spool_format import Record
from zegel.store.quarantine import Kept, Quarantine


def make(path: Path, **how: int) -> Quarantine:
    limits = {"per_source": 3, "total_bytes": 10_000, **how}
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


SIZE = 12 + 16 + 18 + 256  # nonce, tag, content with what frames it, row


def test_total_is_bounded_by_what_the_file_takes(tmp_path: Path) -> None:
    quarantine = make(tmp_path, per_source=100, total_bytes=4 * SIZE + SIZE // 2)
    assert quarantine.keep([kept(n) for n in range(9)]) == 5
    quarantine.close()


def test_empty_bodies_take_room_too(tmp_path: Path) -> None:
    quarantine = make(tmp_path, per_source=10**6, total_bytes=100_000)
    quarantine.keep([kept(n, body=b"", address=f"{n % 500}") for n in range(2000)])
    assert quarantine.count() < 100_000 / 256
    quarantine.close()


def test_new_source_is_kept_where_one_took_all_room(tmp_path: Path) -> None:
    quarantine = make(tmp_path, per_source=100, total_bytes=10 * SIZE)
    assert quarantine.keep([kept(n) for n in range(50)]) == 40
    assert quarantine.keep([kept(100, address="b"), kept(101, address="c")]) == 0
    assert quarantine.count() == 10
    assert quarantine.show(0) is None
    assert quarantine.show(1) is None
    assert quarantine.show(2) is not None
    assert quarantine.show(100) is not None
    quarantine.close()
    again = make(tmp_path, per_source=100, total_bytes=10 * SIZE)
    assert again.keep([kept(n, address="d") for n in range(200, 250)]) == 46
    assert again.count() == 10
    again.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 900)), max_size=60))
def test_room_and_counts_hold_whatever_comes(frames: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        quarantine = make(Path(folder), per_source=8, total_bytes=6000)
        for n, (source, size) in enumerate(frames):
            quarantine.keep([kept(n, address=str(source), body=bytes(size))])
        counted = quarantine._db.execute("SELECT source, bodies, bytes FROM sources").fetchall()
        true = quarantine._db.execute(
            "SELECT source, count(*), sum(length(sealed)) + 256 * count(*) FROM bodies "
            "GROUP BY source"
        ).fetchall()
        assert sorted(counted) == sorted(true)
        assert quarantine._bytes == sum(row[2] for row in true) <= 6000
        quarantine.close()


def test_addresses_of_one_network_are_one_source(make_bench: Callable[..., StoreBench]) -> None:
    bench = make_bench(per_source=2)
    net, v4 = bytes.fromhex("20010db800000001"), bytes(10) + b"\xff\xff\x0a\x00\x00"
    bench.take([Record(b"\x0f", address=net + n.to_bytes(8, "big")) for n in range(9)])
    assert bench.quarantine.count() == 2
    bench.take([Record(b"\x0f", address=v4 + bytes((n,))) for n in range(9)])
    assert bench.quarantine.count() == 11


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
