"""An edge without a node around it, and a peer that talks to it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from zegel.edge.receiver import Receiver
from zegel.edge.spool import FileSpool
from zegel.node.config import EdgeConfig, SpoolConfig
from zegel.node.health import HealthState
from zegel.node.spool_format import Record, parse_name, read_segment

WAIT_S = 10.0  # longer than anything here takes; a test that waits so long has failed


def sealed(title: bytes = b"ZGL00001", counter: int = 7, size: int = 100) -> bytes:
    """Return a well-formed general-glo-ciphering APDU; nothing can open it."""
    length = size - 13  # from the security control on; at least 5
    head = b"\xdb\x08" + title + b"\x82" + struct.pack(">H", length) + b"\x30"
    return head + struct.pack(">I", counter) + bytes(length - 5)


def wrapped(apdu: bytes, source: int = 1, destination: int = 102) -> bytes:
    return struct.pack(">HHHH", 1, source, destination, len(apdu)) + apdu


def confirm(counter: int, source: int = 1, destination: int = 102) -> bytes:
    """Return the receipt that a frame from `source` to `destination` gets."""
    body = b"\x10" + struct.pack(">I", counter & 0xFFFFFF) + b"\x00"
    return struct.pack(">HHHH", 1, destination, source, len(body)) + body


@dataclass(slots=True)
class Edge:
    receiver: Receiver
    spool: FileSpool
    health: HealthState
    folder: Path
    port: int

    async def push(self, *frames: bytes, host: str = "127.0.0.1") -> bytes:
        """Send on a connection of its own; return what comes back for that many frames."""
        reader, writer = await self.connect(host)
        writer.write(b"".join(frames))
        return await answers(reader, writer, len(frames))

    async def connect(
        self, host: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(host, 0))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 - a condition, no event
                await asyncio.sleep(0.005)

    def counted(self, name: str) -> int:
        return self.health.counters[name]


async def answers(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frames: int = 1
) -> bytes:
    """Return up to `frames` receipts, less if the edge closes; then close."""
    try:
        async with asyncio.timeout(WAIT_S):
            return await reader.readexactly(14 * frames)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except ConnectionError:
        return b""
    finally:
        writer.close()


@asynccontextmanager
async def running(
    folder: Path, *, spool: SpoolConfig | None = None, **edge: Any
) -> AsyncIterator[Edge]:
    """Run an edge on a free port, and stop it."""
    files, health = FileSpool(folder), HealthState("edge")
    config = EdgeConfig(**{"port": 0, **edge})
    receiver = Receiver(config, spool or SpoolConfig(), files, health)
    try:
        port = await receiver.start()
        yield Edge(receiver, files, health, folder, port)
    finally:
        await receiver.stop()


def on_uvloop(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the loop that the edge runs on."""

    async def main() -> None:
        await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def spooled(folder: Path) -> list[Record]:
    """Return all records of the sealed segments, in the order of their frame ids."""
    names = [name for path in folder.iterdir() if (name := parse_name(path.name)) is not None]
    records: list[Record] = []
    for name in sorted(names, key=lambda name: name.first):
        records += read_segment((folder / str(name)).read_bytes(), name).records
    return records


def without_peer(record: Record) -> Record:
    """Return a record without where it came from."""
    return record._replace(port=0, address=bytes(16))


def udp_peer() -> socket.socket:
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.settimeout(WAIT_S)
    peer.bind(("127.0.0.1", 0))
    return peer


__all__ = [
    "Edge",
    "answers",
    "confirm",
    "on_uvloop",
    "running",
    "sealed",
    "spooled",
    "udp_peer",
    "without_peer",
    "wrapped",
]
