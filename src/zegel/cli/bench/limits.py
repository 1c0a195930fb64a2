"""What bounds a run whatever the program: the disk's sync, and the kernel's loopback sockets."""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from zegel.cli.bench import accounts
from zegel.cli.bench.bed import Generator
from zegel.cli.bench.core import MALLOC
from zegel.cli.bench.generator import Burst, Go, Prepared, Sent, TakeIn, TakenIn

__all__ = ["Loopback", "Sync", "loopback", "sync_latency"]

SYNC_BYTES = 4096
METERS = 5_000
ASK_S = 300.0


class Sync(msgspec.Struct, frozen=True):
    """Milliseconds of a write of 4 kB and its fdatasync."""

    p50: float
    p99: float


class Loopback(msgspec.Struct, frozen=True, kw_only=True):
    """What the generator reaches against a server that only answers; µs of CPU per push."""

    pushes_per_s: float
    generator_user_us: float
    generator_system_us: float
    server_us: float
    receipt_ms: dict[str, float]


def sync_latency(times: int = 300) -> Sync:
    """Measure small synced writes in the folder where a node's data would stand."""
    took = []
    with TemporaryDirectory(prefix="zegel-bench-") as folder:
        fd = os.open(Path(folder) / "sync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for _ in range(times):
                began = time.perf_counter()
                os.write(fd, bytes(SYNC_BYTES))
                os.fdatasync(fd)
                took.append(1000 * (time.perf_counter() - began))
        finally:
            os.close(fd)
    p50, p99 = np.percentile(took, (50, 99)).round(3).tolist()
    return Sync(p50, p99)


async def loopback(pushes: int, *, keep_open: bool) -> Loopback:
    """Push in a closed loop, 256 under way, at a server that does nothing."""
    server = subprocess.Popen(  # noqa: ASYNC220 - answers with its port at once
        [sys.executable, "-P", "-m", "zegel.cli.bench.nothing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **MALLOC},
    )
    generator = await Generator.start()
    try:
        assert server.stdout is not None  # noqa: S101 - piped
        port = int(server.stdout.readline())
        await generator.ask(TakeIn(METERS), TakenIn, ASK_S)
        order = Burst(port, 0.0, 0.0, pushes, in_flight=256, keep_open=keep_open)
        await generator.ask(order, Prepared, ASK_S)
        before = accounts.take({"server": [server.pid]})
        sent = await generator.ask(Go(), Sent, ASK_S)
        used = accounts.take({"server": [server.pid]}).since(before)
    finally:
        await generator.stop()
        server.communicate(timeout=10)
    done = max(sent.confirmed, 1)
    return Loopback(
        pushes_per_s=round(sent.confirmed / sent.seconds),
        generator_user_us=round(1e6 * sent.user_s / done, 1),
        generator_system_us=round(1e6 * sent.system_s / done, 1),
        server_us=round(1e6 * sum(used.used["server"]) / done, 1),
        receipt_ms=sent.latency_ms,
    )
