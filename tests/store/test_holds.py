"""Segments that stand still or come out of turn: no frame is lost, and no other waits."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.store_bench import StoreBench, push
from helpers.store_runs import running
from zegel.calls.edge import Release
from zegel.errors import StorageError, UnreachableError
from zegel.node.link import LocalLink
from zegel.node.spool_format import SegmentName
from zegel.store import pipeline


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "hidden")  # a good segment elsewhere


def _oversize(path: Path) -> None:
    path.touch()
    os.truncate(path, 64_000_001)


def test_frames_of_a_spool_that_was_replaced_are_not_released_over(bench: StoreBench) -> None:
    one, two, three = bench.meters
    bench.take([push(one), push(two)])
    bench.number = 0  # a fresh spool counts from the start
    first = bench.write([push(three), push(one)])
    bench.write([push(two, base=7)])
    bench.drain()
    assert [path.name for path in bench.spool.iterdir()] == [str(first)]
    (reason,) = bench.health.reasons
    assert f"frames {first.first} to {first.last} were committed with other bytes" in reason
    assert bench.fates() == [("stored", "")] * 3  # and the next segment went on
    renamed = SegmentName(5 << 40, first.count)  # what docs/howto/operate.md says to do
    (bench.spool / str(first)).rename(bench.spool / str(renamed))
    bench.restart()
    bench.drain()
    assert bench.health.reasons == []
    assert bench.fates() == [("stored", "")] * 5


def test_replaced_segment_across_the_position_overwrites_no_frame(bench: StoreBench) -> None:
    bench.take([push(bench.meters[0])])
    before = bench.text("SELECT frame_id, hex(sha256) FROM frames")
    bench.number = 0
    name = bench.write([push(bench.meters[0], base=5), push(bench.meters[1])])
    bench.drain()
    assert (bench.spool / str(name)).exists()
    assert bench.text("SELECT frame_id, hex(sha256) FROM frames") == before
    assert "were committed with other bytes" in bench.health.reasons[0]


def test_segment_replaced_in_the_middle_of_its_work_is_not_taken_for_it(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bench.write([push(bench.meters[0])])
    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "commit", _refuse)
        with pytest.raises(StorageError):
            bench.drain()
    bench.number = 0
    bench.write([push(bench.meters[1])])
    bench.restart()
    bench.drain()
    assert (bench.spool / str(name)).exists()
    assert "were committed with other bytes" in bench.health.reasons[0]
    bench.number = 1
    bench.take([push(bench.meters[2])])
    assert bench.fates() == [("stored", "")] * 2


def test_segment_below_the_position_whose_frames_are_absent_is_taken(bench: StoreBench) -> None:
    bench.number = 1
    bench.take([push(bench.meters[0])])
    bench.number = 0
    bench.take([push(bench.meters[1])])
    assert bench.fates() == [("stored", "")] * 2
    assert bench.pipeline.position == (1 << 40) + 1
    assert not list(bench.spool.iterdir())


def test_answer_of_a_dead_edge_releases_no_other_file_of_that_name(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_call: object) -> None:
        raise UnreachableError("edge does not answer")

    release = bench.release
    with monkeypatch.context() as patch:
        patch.setattr(bench, "release", silent)
        bench.restart()
        name = bench.write([push(bench.meters[0])])
        bench.pipeline.work()
    bench.pipeline._releases._edge._link = LocalLink(
        {Release: release}, caller="store", callee="edge"
    )
    (bench.spool / str(name)).unlink()
    bench.number = 0
    bench.write([push(bench.meters[1])])
    bench.drain()
    assert (bench.spool / str(name)).exists()


@pytest.mark.parametrize("make", [_folder, os.mkfifo, _link, _oversize])
def test_segment_that_cannot_be_read_stops_no_other_and_is_tried_again(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(pipeline, "_RETRY_S", 0.01)
    monkeypatch.setattr(pipeline, "_IDLE_S", 0.01)
    name = bench.write([push(bench.meters[0])])
    later = bench.write([push(bench.meters[1])])
    hidden, real = bench.root / "hidden", bench.spool / str(name)
    real.rename(hidden)
    make(real)
    running(bench, until=lambda: bench.pipeline.position == later.last)
    assert bench.released[-1].first == later.first
    (reason,) = bench.health.reasons
    assert str(name) in reason
    assert "not readable" in reason
    bench.restart()
    running(bench, until=lambda: bool(bench.health.reasons))
    assert os.path.lexists(real)
    real.rmdir() if real.is_dir() else real.unlink()
    hidden.rename(real)
    bench.restart()
    running(bench, until=lambda: not list(bench.spool.iterdir()))
    assert bench.health.reasons == []
    assert bench.fates() == [("stored", "")] * 2
    assert bench.pipeline.position == later.last
    assert not list((bench.data / "damaged").iterdir())


def test_failing_disk_names_its_error_and_a_later_try_succeeds(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_RETRY_S", 0.01)
    monkeypatch.setattr(pipeline, "_HELD_S", 0.0)
    bench.write([push(bench.meters[0])])
    read = os.read

    def failing(*_values: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("zegel.store.spool.os.read", failing)
    running(bench, until=lambda: any("EIO" in reason for reason in bench.health.reasons))
    monkeypatch.setattr("zegel.store.spool.os.read", read)
    bench.drain()
    assert bench.fates() == [("stored", "")]
    assert bench.health.reasons == []


def test_unreadable_segment_that_was_begun_is_read_back_when_it_comes(
    bench: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = bench.write([push(bench.meters[0])])
    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, "commit", _refuse)
        with pytest.raises(StorageError):
            bench.drain()
    hidden, real = bench.root / "hidden", bench.spool / str(name)
    real.rename(hidden)
    real.mkdir()
    for _ in range(2):
        with pytest.raises(StorageError):
            bench.pipeline.work()
    bench.drain()
    real.rmdir()
    hidden.rename(real)
    bench.restart()
    bench.drain()
    assert bench.number_of("SELECT count() FROM frames") == 1
    assert bench.number_of("SELECT count() FROM readings_interval") == 96
    assert bench.health.reasons == []


def test_segment_with_a_name_beyond_all_frames_stops_no_other(bench: StoreBench) -> None:
    (bench.spool / str(SegmentName(1 << 63, 1))).write_bytes(b"")
    bench.take([push(bench.meters[0])])
    assert bench.fates() == [("stored", "")]
    assert "no numbers of frames" in bench.health.reasons[0]


def _refuse(*_values: object) -> None:
    raise StorageError("ledger")
