"""A node under test with the generator that pushes at it, and what can be seen of both."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import msgspec

from zegel.cli.bench.core import MALLOC
from zegel.cli.bench.generator import Order, TakeIn, TakenIn
from zegel.errors import UnreachableError
from zegel.node.supervisor import Supervisor

__all__ = ["Bed", "Generator", "Look", "bed"]

T = TypeVar("T")
POLL_S = 0.2
INTAKE_S = 300.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a node's own counters said at one instant: frames, since it started."""

    at: float  # monotonic
    received: int  # durable in the edge's spool
    stored: int  # in the tables, and so queryable
    fated: int  # stored, duplicate or quarantined
    rows: int
    off_fast_path: int
    segments: int  # sealed and not yet released


class Generator:
    """The generator's process; orders go in, answers come out, a line each."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls) -> "Generator":
        """Start it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "zegel.cli.bench.generator",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **MALLOC},
        )
        return cls(process)

    async def ask(self, order: Order, answer: type[T], timeout_s: float) -> T:
        """Give an order and wait until it is done.

        Raises:
            UnreachableError: it ended, or took too long.
        """
        sending, receiving = self._process.stdin, self._process.stdout
        assert sending is not None  # noqa: S101 - piped
        assert receiving is not None  # noqa: S101 - piped
        sending.write(msgspec.json.encode(order) + b"\n")
        try:
            line = await asyncio.wait_for(receiving.readline(), timeout_s)
        except TimeoutError:
            line = b""
        if not line:
            name = type(order).__name__
            raise UnreachableError("generator", where=name, expected=f"done in {timeout_s:g} s")
        return msgspec.json.decode(line, type=answer)

    async def stop(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


@dataclass(slots=True)
class Bed:
    """One node, its API, its generator."""

    supervisor: Supervisor
    url: str
    generator: Generator
    _http: httpx.Client
    looks: list[Look] = field(default_factory=list)

    @property
    def push_port(self) -> int:
        """Where its edge listens."""
        return self.supervisor.ports["push"]

    def pids(self) -> dict[str, int]:
        """The zones' processes and the generator's."""
        return {**self.supervisor.pids, "generator": self.generator.pid}

    async def take_in(self, meters: int, operator: int) -> float:
        """Let the generator make meters and bring them in; return how long that took."""
        token_file = str(self.supervisor.config.token_file())
        order = TakeIn(meters, operator, self.url, token_file)
        return (await self.generator.ask(order, TakenIn, INTAKE_S)).seconds

    async def look(self) -> Look:
        """Read the counters; the instant is that at which they had come."""
        zones = await asyncio.to_thread(self._counters)
        edge, store = zones["edge"], zones["store"]
        stored = store.get("frames_stored", 0)
        fates = stored + store.get("frames_duplicate", 0) + store.get("frames_quarantined", 0)
        look = Look(
            time.monotonic(),
            edge.get("received", 0),
            stored,
            fates,
            store.get("rows_stored", 0),
            store.get("frames_off_fast_path", 0),
            edge.get("spool_segments", 0),
        )
        self.looks.append(look)
        return look

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            began = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.0, POLL_S - (time.monotonic() - began)))

    def _counters(self) -> dict[str, dict[str, int]]:
        answer: Any = self._http.get("/v1/zones").raise_for_status().json()
        return {zone["zone"]: zone["counters"] or {} for zone in answer["zones"]}


@asynccontextmanager
async def bed(supervisor: Supervisor) -> AsyncIterator[Bed]:
    """Give a bed for a node that runs; end generator and connections behind it."""
    url = f"http://127.0.0.1:{supervisor.ports['api']}"
    token = supervisor.config.token_file().read_text(encoding="ascii").strip()
    headers = {"Authorization": f"Bearer {token}"}
    generator = await Generator.start()
    with httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as http:
        try:
            yield Bed(supervisor, url, generator, http)
        finally:
            await generator.stop()
