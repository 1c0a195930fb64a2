import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.echo_edge import EchoEdge
from zegel.cosem.push import wrap
from zegel.errors import UsageError
from zegel.meter.frames import Push
from zegel.meter.sender import Sender, SendStats


def pushes(count: int, size: int = 300) -> list[Push]:
    made = []
    for counter in range(1, count + 1):
        head = b"\xdb\x08ZGM00001\x82\x01\x00\x30" + counter.to_bytes(4, "big")
        made.append(Push(wrap(head.ljust(size, b".")), counter))
    return made


def apdus(made: list[Push]) -> set[bytes]:
    return {push.wire[8:] for push in made}


def test_every_push_arrives_once_on_its_own_connection() -> None:
    made = pushes(500)
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port, in_flight=32).run(made)
    assert (stats.sent, stats.confirmed, stats.resent, stats.failed) == (500, 500, 0, 0)
    assert set(edge.frames) == apdus(made)
    assert set(edge.frames.values()) == {1}
    assert edge.streams == 500
    assert len(stats.latencies) == 500
    assert list(stats.percentiles()) == ["p50", "p95", "p99", "max"]


def test_a_large_push_goes_out_whole() -> None:
    made = pushes(3, size=65_000)
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port).run(made)
    assert stats.confirmed == 3
    assert set(edge.frames) == apdus(made)


def test_kept_open_connections_carry_many_pushes() -> None:
    made = pushes(200)
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port, in_flight=8, keep_open=True).run(made)
    assert (stats.sent, stats.confirmed) == (200, 200)
    assert edge.streams <= 8
    assert set(edge.frames.values()) == {1}


def test_datagrams_get_their_receipts_too() -> None:
    made = pushes(100)
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port, in_flight=16, udp=True).run(made)
    assert (stats.sent, stats.confirmed) == (100, 100)
    assert edge.streams == 0
    assert set(edge.frames) == apdus(made)


@pytest.mark.parametrize("edge", [EchoEdge(mute=5), EchoEdge(wrong=5)], ids=["mute", "wrong"])
def test_a_push_without_its_own_receipt_is_sent_again(edge: EchoEdge) -> None:
    made = pushes(20)
    with edge:
        stats = Sender("127.0.0.1", edge.port, in_flight=4).run(made)
    assert (stats.sent, stats.confirmed, stats.resent, stats.failed) == (25, 20, 5, 0)
    assert sum(edge.frames.values()) == 25


def test_a_silent_edge_is_given_up_after_the_bounded_tries() -> None:
    with EchoEdge(mute=1000, hold=True) as edge:
        stats = Sender("127.0.0.1", edge.port, receipt_s=0.05, tries=2).run(pushes(10))
    assert (stats.sent, stats.confirmed, stats.resent, stats.failed) == (20, 0, 10, 10)
    assert stats.percentiles() == {}


def test_nobody_at_the_port_sends_nothing_and_ends() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        stats = Sender("127.0.0.1", held.getsockname()[1], tries=2).run(pushes(3))
    assert (stats.sent, stats.failed) == (0, 3)


def test_a_fixed_rate_is_kept_and_never_exceeded() -> None:
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port, rate=400).run(pushes(100))
    assert stats.confirmed == 100
    assert stats.seconds >= 99 / 400


def test_a_cut_push_ends_the_stream_where_it_was_cut() -> None:
    (whole,) = pushes(1)
    cut = Push(whole.wire[:100], whole.invoke_id, cut=True)
    with EchoEdge() as edge:
        stats = Sender("127.0.0.1", edge.port, tries=1).run([cut])
    assert (stats.sent, stats.confirmed, stats.failed) == (1, 0, 1)
    assert edge.rests == [whole.wire[:100]]
    assert not edge.frames


def test_frames_are_made_as_they_are_taken_and_stop_ends_the_run() -> None:
    stop, taken = threading.Event(), []

    def endless() -> Iterator[Push]:
        while True:
            (push,) = pushes(1)
            taken.append(push)
            if len(taken) == 50:
                stop.set()
            yield push

    with EchoEdge() as edge:
        Sender("127.0.0.1", edge.port, in_flight=4).run(endless(), stop=stop)
    assert 50 <= len(taken) < 60


def test_progress_is_told_at_the_end() -> None:
    told: list[int] = []
    with EchoEdge() as edge:
        Sender("127.0.0.1", edge.port).run(
            pushes(5), progress=lambda stats: told.append(stats.confirmed)
        )
    assert told[-1] == 5


def test_runs_add_up() -> None:
    total = SendStats(sent=3, confirmed=2, failed=1).add(SendStats(sent=2, confirmed=2))
    assert (total.sent, total.confirmed, total.failed) == (5, 4, 1)


@pytest.mark.parametrize("knob", [{"in_flight": 0}, {"tries": 0}, {"rate": -1.0}])
def test_limits_that_let_nothing_through_are_refused(knob: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sender("127.0.0.1", 1, **knob)
