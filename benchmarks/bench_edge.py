"""How many pushes the edge receipts: closed loop, raw epoll, frames made beforehand.

    python benchmarks/bench_edge.py [--seconds 10] [--in-flight 256] [--size 2858] [--kept]

The edge is its own process; a task in it releases segments at once, as a store would that has
nothing to do. One JSON document on stdout. A closed loop shows the edge alone: how the whole
path keeps up is for a fixed rate to say.
"""

import argparse
import asyncio
import itertools
import json
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from zegel.calls.edge import Release
from zegel.edge.receiver import Receiver
from zegel.edge.spool import FileSpool
from zegel.node.config import EdgeConfig, SpoolConfig
from zegel.node.health import HealthState

RECEIPT_BYTES = 14


async def edge(folder: Path) -> None:
    """Run an edge until standard input ends, then say what it used."""
    spool, health = FileSpool(folder), HealthState("edge")
    receiver = Receiver(EdgeConfig(port=0), SpoolConfig(), spool, health)
    print(await receiver.start(), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    before = resource.getrusage(resource.RUSAGE_SELF)
    while not ended.is_set():
        for name in spool.unread():
            await receiver.release(Release(name.first, name.last))
        await asyncio.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_SELF)
    await receiver.stop()
    used = {
        "user_s": after.ru_utime - before.ru_utime,
        "system_s": after.ru_stime - before.ru_stime,
        "max_rss_kb": after.ru_maxrss,
    }
    print(json.dumps(used | dict(health.counters)), flush=True)


def frames(size: int, count: int = 512) -> list[bytes]:
    """Return frames of as many titles; `size` bytes on the wire."""
    made = []
    for number in range(count):
        length = size - 8 - 13
        apdu = b"\xdb\x08ZGL" + number.to_bytes(5, "big") + b"\x82" + struct.pack(">H", length)
        apdu += b"\x30" + struct.pack(">I", number) + bytes(length - 5)
        made.append(struct.pack(">HHHH", 1, 1, 102, len(apdu)) + apdu)
    return made


class Generator:
    """Keeps `in_flight` pushes under way, each on its own connection or on kept-open ones."""

    def __init__(self, port: int, *, in_flight: int, size: int, kept: bool) -> None:
        self._port, self._kept, self._in_flight = port, kept, in_flight
        self._frames = itertools.cycle(frames(size))
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self.confirmed, self.broken, self.delays = 0, 0, Counter[int]()

    def run(self, seconds: float) -> float:
        """Push for so long, then wait for what is under way; return the seconds it took."""
        begun = time.perf_counter()
        for _ in range(self._in_flight):
            self._connect()
        while time.perf_counter() < begun + seconds:
            for number, events in self._poll.poll(0.1):
                self._handle(number, events, again=True)
        spent = time.perf_counter() - begun
        while self._open and time.perf_counter() < begun + spent + 5:
            for number, events in self._poll.poll(0.1):
                self._handle(number, events, again=False)
        return spent

    def _connect(self) -> None:
        peer = socket.socket()
        peer.settimeout(0)
        peer.connect_ex(("127.0.0.1", self._port))
        self._open[peer.fileno()] = (peer, time.perf_counter())
        self._poll.register(peer, select.EPOLLOUT)

    def _handle(self, number: int, events: int, *, again: bool) -> None:
        peer, sent = self._open[number]
        if events & select.EPOLLOUT:
            peer.send(next(self._frames))
            self._poll.modify(peer, select.EPOLLIN)
            return
        try:
            answer = peer.recv(64)
        except ConnectionError:
            answer = b""
        if len(answer) == RECEIPT_BYTES:
            self.confirmed += 1
            self.delays[int((time.perf_counter() - sent) * 1000)] += 1
            if self._kept and again:
                self._open[number] = (peer, time.perf_counter())
                peer.send(next(self._frames))
                return
        else:
            self.broken += 1
        del self._open[number]
        peer.close()
        if again:
            self._connect()

    def percentile(self, share: float) -> int:
        """Return the delay in ms below which `share` of the receipts came."""
        left = share * self.confirmed
        for delay in sorted(self.delays):
            left -= self.delays[delay]
            if left <= 0:
                return delay
        return 0


def main() -> None:
    """Run the benchmark, or (`--edge`) its edge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--size", type=int, default=2858)
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--edge", type=Path)
    args = parser.parse_args()
    if args.edge is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(edge(args.edge))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--edge", str(Path(folder) / "spool")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            generator = Generator(port, in_flight=args.in_flight, size=args.size, kept=args.kept)
            seconds = generator.run(args.seconds)
            own = resource.getrusage(resource.RUSAGE_SELF)
            used = json.loads(process.communicate(timeout=30)[0])
    done = max(generator.confirmed, 1)
    report = {
        "schema": "zegel.bench_edge/1",
        "connections": "kept" if args.kept else "one per push",
        "seconds": round(seconds, 2),
        "confirmed": generator.confirmed,
        "broken": generator.broken,
        "confirmed_per_s": round(generator.confirmed / seconds),
        "edge_us_per_push": round((used["user_s"] + used["system_s"]) / done * 1e6, 1),
        "edge_user_us_per_push": round(used["user_s"] / done * 1e6, 1),
        "generator_us_per_push": round((own.ru_utime + own.ru_stime) / done * 1e6, 1),
        "confirm_ms": {"p50": generator.percentile(0.5), "p99": generator.percentile(0.99)},
        "edge": used,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
