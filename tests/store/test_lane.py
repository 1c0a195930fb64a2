"""Who gets a lane at the edge."""

from helpers.store_bench import ADDRESS, StoreBench, push
from zegel.node.spool_format import Record
from zegel.store.lane import Lane
from zegel.store.spool import take

ELSEWHERE = bytes(15) + b"\x09"


def test_stored_frame_gives_its_title_a_lane(bench: StoreBench) -> None:
    bench.take([push(bench.meters[0])])
    assert bench.released[-1].authenticated == bench.meters[0].title
    assert bench.released[-1].addresses == ADDRESS


def test_recorded_frame_sent_again_from_elsewhere_moves_no_lane(bench: StoreBench) -> None:
    frame = push(bench.meters[0])
    bench.take([frame])
    bench.take([Record(frame, address=ELSEWHERE)])
    assert bench.fates()[-1] == ("duplicate", "")
    assert bench.released[-1].authenticated == b""
    other = push(bench.meters[1])
    bench.take([other, Record(other, address=ELSEWHERE)])
    assert bench.released[-1].addresses == ADDRESS


def test_duplicate_that_was_read_back_moves_no_lane(bench: StoreBench) -> None:
    frame = push(bench.meters[0])
    bench.take([frame])
    name = bench.write([Record(frame, address=ELSEWHERE)])
    taken = take(bench.spool, name)
    bench.drain()
    done = bench.pipeline._done(taken, late=True)
    assert done["fate"].tolist() == [1]
    empty = bench.pipeline._batch(taken, done["frame_id"])
    assert Lane.of(taken, empty, bench.pipeline._try(empty, {}), done) == Lane()
