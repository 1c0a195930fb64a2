"""Damaged, empty, lost and repeated segments: the good part is stored, the rest is named."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.store_bench import StoreBench, push
from helpers.store_runs import running
from zegel.errors import StorageError, UnreachableError
from zegel.node.spool_format import Record, SegmentName, encode_block
from zegel.store import pipeline
from zegel.store.spool import _good_part, take


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]


def frames(bench: StoreBench, count: int = 6) -> list[bytes]:
    days = [push(bench.meters[n % 3], base=n) for n in range(count)]
    assert len(days) == count
    return days


def test_damaged_segment_is_set_aside_and_the_rest_goes_on(bench: StoreBench) -> None:
    name = bench.write(frames(bench), per_block=2, spoil=flip(7000))
    bench.write([push(bench.meters[0], base=50)])
    whole = (bench.spool / str(name)).read_bytes()
    bench.drain()
    stored = bench.text("SELECT frame_id FROM frames ORDER BY frame_id").split()
    assert [int(frame) - name.first for frame in stored] == [0, 1, 4, 5, 6]
    assert (bench.data / "damaged" / str(name)).read_bytes() == whole
    (reason,) = bench.health.reasons
    assert str(name) in reason
    assert "byte" in reason
    assert f"frames {name.first + 2} to {name.first + 3} lost" in reason
    assert not list(bench.spool.iterdir())


def test_damage_is_told_after_a_restart_too(bench: StoreBench) -> None:
    bench.take(frames(bench), per_block=2, spoil=flip(7000))
    bench.restart()
    bench.drain()
    assert "lost" in bench.health.reasons[0]


def spoiled(bench: StoreBench) -> None:
    bench.take(frames(bench), per_block=2, spoil=flip(7000))


def with_a_gap(bench: StoreBench) -> None:
    bench.number += 5
    bench.take([push(bench.meters[1])])


def with_a_lost_cut(bench: StoreBench) -> None:
    bench.ledger.begin((1 << 40), (1 << 40) + 3)
    bench.number = 4
    bench.take([push(bench.meters[0])])


@pytest.mark.parametrize("trouble", [spoiled, with_a_gap, with_a_lost_cut])
def test_trouble_alarms_until_its_file_is_moved_away_and_the_store_restarted(
    bench: StoreBench, trouble: Callable[[StoreBench], None]
) -> None:
    trouble(bench)
    bench.restart()
    bench.drain()
    told = bench.health.reasons
    assert told
    for file in (bench.data / "damaged").iterdir():
        file.unlink()
    bench.drain()
    assert bench.health.reasons == told
    bench.restart()
    bench.drain()
    assert bench.health.reasons == []
    bench.restart()
    bench.drain()
    assert bench.health.reasons == []


@pytest.mark.parametrize(
    ("spoil", "good"),
    [
        (lambda data: data[:-1], 5),
        (lambda data: data[: len(data) // 2 + 9], 3),
        (lambda _data: b"", 0),
        (lambda data: bytes(len(data)), 0),
        (lambda data: data + b"junk", 6),
        (lambda data: flip(7000)(flip(1000)(data)), 0),
    ],
    ids=["cut by a byte", "cut in half", "no byte", "zeros", "junk behind", "two stretches"],
)
def test_only_what_is_surely_right_of_a_damaged_segment_is_taken(
    bench: StoreBench, spoil: Callable[[bytes], bytes], good: int
) -> None:
    name = bench.take(frames(bench), per_block=1, spoil=spoil)
    stored = bench.text("SELECT frame_id FROM frames ORDER BY frame_id").split()
    assert [int(frame) - name.first for frame in stored] == list(range(good))
    assert bench.pipeline.position == name.last


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    flips=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
)
def test_no_frame_of_a_damaged_segment_gets_another_ones_number(
    sizes: list[int], flips: list[int]
) -> None:
    count = sum(sizes)
    records = [Record(bytes((n,)) * 30) for n in range(count)]
    blocks, at = [], 0
    for size in sizes:
        blocks.append(encode_block(records[at : at + size], 1.0))
        at += size
    data = bytearray(b"".join(blocks))
    for place in flips:
        data[place % len(data)] ^= 1 + place % 255
    name = SegmentName(1 << 40, count)
    taken = _good_part(bytes(data), name, StorageError("damage"))  # type: ignore[arg-type]
    for frame_id, record in zip(taken.frame_ids, taken.records, strict=True):
        assert record.frame == records[frame_id - name.first].frame


def test_empty_sealed_segment_stops_nothing(bench: StoreBench) -> None:
    bench.write([])
    bench.number += 1
    (bench.spool / str(SegmentName((1 << 40) + 0, 0))).write_bytes(b"")
    bench.number = 0
    bench.take([push(bench.meters[0])])
    assert bench.fates() == [("stored", "")]


def test_segment_that_came_back_is_released_and_not_taken_again(bench: StoreBench) -> None:
    name = bench.write([push(bench.meters[0])])
    data = (bench.spool / str(name)).read_bytes()
    bench.drain()
    bench.restart()
    (bench.spool / str(name)).write_bytes(data)
    bench.drain()
    assert bench.fates() == [("stored", "")]
    assert not list(bench.spool.iterdir())


def test_damaged_segment_that_came_back_is_released(bench: StoreBench) -> None:
    name = bench.write(frames(bench), per_block=2, spoil=flip(7000))
    data = (bench.spool / str(name)).read_bytes()
    bench.drain()
    fates = bench.fates()
    bench.restart()
    (bench.spool / str(name)).write_bytes(data)
    bench.drain()
    assert not list(bench.spool.iterdir())
    assert bench.fates() == fates


def test_gap_in_the_sequence_is_named(bench: StoreBench) -> None:
    bench.take([push(bench.meters[0])])
    bench.number += 5
    bench.take([push(bench.meters[1])])
    assert bench.fates() == [("stored", "")] * 2
    (reason,) = bench.health.reasons
    assert f"frames {(1 << 40) + 1} to {(1 << 40) + 5} of epoch 1 never came" in reason


def test_new_epoch_is_no_gap(bench: StoreBench) -> None:
    bench.take([push(bench.meters[0])])
    bench.epoch, bench.number = 2, 0
    bench.take([push(bench.meters[1])])
    assert bench.health.reasons == []


def test_segment_lost_after_it_was_begun_is_named_and_the_rest_goes_on(
    bench: StoreBench,
) -> None:
    bench.ledger.begin((1 << 40), (1 << 40) + 3)
    bench.number = 4
    bench.take([push(bench.meters[0])])
    assert bench.fates() == [("stored", "")]
    assert any("is gone before it was committed" in reason for reason in bench.health.reasons)


def test_trouble_logs_its_trace_once(bench: StoreBench, monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[object] = []

    class Log:
        def error(self, _what: str, *, exc_info: object, **_fields: object) -> None:
            traces.append(exc_info)

    monkeypatch.setattr(pipeline, "_RETRY_S", 0.001)
    object.__setattr__(bench.pipeline._parts, "log", Log())
    bench.spool.rmdir()
    running(bench, until=lambda: len(traces) > 3)
    assert isinstance(traces[0], StorageError)
    assert set(traces[1:]) == {None}


@pytest.mark.parametrize("end", [CancelledError(), RuntimeError("Event loop is closed")])
def test_end_of_the_loop_is_no_fault_of_a_frame(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    monkeypatch.setattr(pipeline, "_RETRY_S", 0.01)

    def ended(*_values: object, **_named: object) -> None:
        raise end

    bench.write([push(bench.meters[0])])
    with monkeypatch.context() as patch:
        patch.setattr(bench.pipeline._parts.vault, "begin", ended)
        with pytest.raises(UnreachableError):
            bench.pipeline.work()
        bench.pipeline.stop()
        with pytest.raises(pipeline.Stopped):
            bench.pipeline.work()
    bench.pipeline._stop.clear()
    bench.drain()
    assert bench.fates() == [("stored", "")]


def test_missing_spool_folder_is_told(bench: StoreBench) -> None:
    bench.spool.rmdir()
    with pytest.raises(StorageError):
        bench.pipeline.work()


def test_silent_vault_is_told_while_frames_wait_and_nothing_is_lost(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_NOTICE_S", 0.02)
    gate = threading.Event()
    inner = bench.pipeline._parts.vault.begin

    def slow(call: object, *, timeout_s: float) -> object:
        future = inner(call, timeout_s=timeout_s)  # type: ignore[arg-type]

        class Late:
            def result(self, timeout: float) -> object:
                if not gate.wait(timeout):
                    raise TimeoutError
                return future.result(timeout)

            def cancel(self) -> None:
                future.cancel()

        return Late()

    monkeypatch.setattr(bench.pipeline._parts.vault, "begin", slow)
    bench.write([push(bench.meters[0])])
    bench.write([push(bench.meters[1])])
    running(bench, until=lambda: bool(bench.health.reasons), then=gate.set)
    assert bench.fates() == [("stored", "")] * 2
    assert bench.health.reasons == []


def test_edge_that_does_not_answer_holds_nobody_up(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_call: object) -> None:
        raise UnreachableError("edge does not answer")

    release = bench.release
    monkeypatch.setattr(bench, "release", silent)
    bench.restart()  # the link holds the handler
    for meter in bench.meters:
        bench.write([push(meter)])
    for _ in range(4):
        bench.pipeline.work()
    assert bench.fates() == [("stored", "")] * 3
    assert "not released" in bench.health.reasons[0]
    monkeypatch.setattr(bench, "release", release)
    bench.restart()
    bench.drain()
    assert not list(bench.spool.iterdir())
    assert bench.fates() == [("stored", "")] * 3


def test_taken_frames_are_numbered_from_the_name(bench: StoreBench) -> None:
    name = bench.write(frames(bench, 4), per_block=3)
    taken = take(bench.spool, name)
    assert taken.frame_ids == list(range(name.first, name.first + 4))
    assert taken.damage is None
