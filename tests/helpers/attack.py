"""Attackers of a running node from the outside, and a node whose supervisor stands alone."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.nodes import RunningNode
from zegel.cli.client import Api
from zegel.cli.demo.api import NodeApi
from zegel.cosem.length import encode_length
from zegel.cosem.push import RECEIPT_BYTES, wrap
from zegel.meter.fleet import Fleet
from zegel.node.config import Config, load

__all__ = ["Flood", "SeparateNode", "ask", "flooding", "forged", "resident", "zones"]

START_S = 60.0
TITLE_AT = 10  # in a general-glo-ciphering APDU behind its wrapper
# What `zegel serve` does, with a switch that it cannot be given.
WITH_SWITCHES = """
import asyncio, functools
from pathlib import Path
from typing import Any
from zegel.cli import serve
from zegel.node import supervisor
from zegel.node.config import load
from zegel.node.switches import Switches
off = {{zone: Switches(guard_off=("{guard}",)) for zone in ("edge", "vault", "store", "console")}}
supervisor.Supervisor = functools.partial(supervisor.Supervisor, switches=off)
asyncio.run(serve._run(load(Path("{file}"), {{}})))
"""


class SeparateNode(RunningNode):
    """A node under `zegel serve`: its supervisor is a process of its own, as in real life.

    With `guard_off` it is the control of an attack.
    """

    def __init__(self, *, guard_off: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zegel-test-"))
        self.folder.chmod(0o711)
        file = self.folder / "node.toml"
        file.write_text(
            f'[node]\ndata_dir = "{self.folder / "data"}"\n[edge]\nport = 0\ntitle_rate = 0.0\n'
            "[console]\nport = 0\n",
            encoding="utf-8",
        )
        self.config: Config = load(file, {})
        command = ["-m", "zegel.cli.main", "serve", "--config", str(file)]
        if guard_off:
            command = ["-c", WITH_SWITCHES.format(file=file, guard=guard_off)]
        log = self.folder / "log"
        with log.open("wb") as stderr:
            self.process = subprocess.Popen([sys.executable, "-P", *command], stderr=stderr)
        try:
            self._wait_up(log)
            self.token = self.config.token_file().read_text(encoding="ascii").strip()
            self.api = NodeApi(Api(self.url, self.config.token_file()))
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return self._url

    @property
    def push_port(self) -> int:
        return self._push_port

    @property
    def pids(self) -> dict[str, int]:
        """The zones' processes, and the supervisor's."""
        return {**self._pids, "supervisor": self.process.pid}

    def stop(self) -> None:
        """Stop the node; its folder stays."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def close(self) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_up(self, log: Path) -> None:
        end = time.monotonic() + START_S
        while "token in" not in (said := log.read_text(errors="replace")):
            assert self.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)
        self._pids = {zone: int(pid) for zone, pid in re.findall(r"(\w+) is up; pid (\d+)", said)}
        self._push_port = int(re.findall(r"push to [\d.]+:(\d+)", said)[0])
        self._url: str = re.findall(r"API at (\S+)", said)[0]


def ask(node: RunningNode, path: str, **params: int) -> dict[str, Any]:
    """Return a document of the node's API."""
    return Api(node.url, node.config.token_file()).get(path, **params)


def zones(node: RunningNode) -> dict[str, dict[str, Any]]:
    """Return what each zone says of itself."""
    return {zone["zone"]: zone for zone in ask(node, "/v1/zones")["zones"]}


def resident(pid: int) -> int:
    """Return the resident memory of a process, bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def forged(fleet: Fleet, count: int, size: int) -> NDArray[np.uint8]:
    """Make `count` well-formed frames of real titles with `size` random bytes of ciphertext.

    Every other one uses a counter that its meter is about to use, the rest the highest there is.
    (count, bytes of a frame) u1.
    """
    content = b"\x30" + bytes(4 + size)  # security control, counter, ciphertext and tag
    apdu = b"\xdb\x08" + bytes(8) + encode_length(len(content)) + content
    frames = np.tile(np.frombuffer(wrap(apdu), "u1"), (count, 1))
    each = np.arange(count)
    who = each // 2 % len(fleet)
    counters = np.where(each % 2, 0xFFFF_FFFF, fleet.floors[who] + 1 + each // (2 * len(fleet)) % 6)
    frames[:, TITLE_AT : TITLE_AT + 8] = fleet.titles[who]
    frames[:, -size - 4 : -size] = counters.astype(">u4").view("u1").reshape(-1, 4)
    frames[:, -size:] = np.frombuffer(os.urandom(count * size), "u1").reshape(count, size)
    return frames


@dataclass
class Flood:
    """What a flood has done so far."""

    sent: int = 0  # bytes
    receipts: int = 0
    cut: int = 0  # connections that the edge closed
    error: BaseException | None = None


@contextmanager
def flooding(
    port: int, frames: NDArray[np.uint8], *, sources: Sequence[str] = ("127.0.0.1",)
) -> Iterator[tuple[Flood, Callable[[], bool]]]:
    """Send the frames as fast as they are taken, over a kept-open connection of each source.

    Gives what was done, and whether it still goes on; the block's end waits for the flood's.
    """
    flood = Flood()

    def run() -> None:
        try:
            _send_all(port, frames, sources, flood)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            flood.error = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield flood, thread.is_alive
    thread.join(100)
    assert not thread.is_alive()
    assert flood.error is None, flood.error


class _Line:
    """One connection of a flood and the bytes that it still has to send."""

    def __init__(self, port: int, source: str, data: memoryview, frame: int) -> None:
        self.port, self.source, self.data, self.frame = port, source, data, frame
        self.at = self.received = 0
        self.open()

    def open(self) -> None:
        self.sock = socket.create_connection(
            ("127.0.0.1", self.port), timeout=10, source_address=(self.source, 0)
        )
        self.sock.setblocking(False)

    def step(self, events: int, flood: Flood) -> bool:
        """Send and receive what goes; tell whether all receipts of what was sent are here."""
        try:
            if events & ~select.POLLOUT:
                data = self.sock.recv(65_536)
                self.received += len(data)
                flood.receipts += len(data) // RECEIPT_BYTES
                if not data:
                    raise ConnectionResetError
            if events & select.POLLOUT and self.at < len(self.data):
                sent = self.sock.send(self.data[self.at : self.at + 262_144])
                self.at += sent
                flood.sent += sent
        except BlockingIOError:
            pass
        except ConnectionError:  # the edge turned a frame down: go on with the next one
            flood.cut += 1
            self.sock.close()
            self.at += -self.at % self.frame
            self.received = self.at // self.frame * RECEIPT_BYTES
            if self.at < len(self.data):
                self.open()
        return self.received // RECEIPT_BYTES >= len(self.data) // self.frame


def _send_all(port: int, frames: NDArray[np.uint8], sources: Sequence[str], flood: Flood) -> None:
    parts = np.array_split(frames, len(sources))
    lines = [
        _Line(port, source, memoryview(part.tobytes()), frames.shape[1])
        for source, part in zip(sources, parts, strict=True)
    ]
    try:
        while lines:
            poll = select.poll()
            for line in lines:
                more = select.POLLOUT if line.at < len(line.data) else 0
                poll.register(line.sock, select.POLLIN | more)
            events = dict(poll.poll(1000))
            for line in list(lines):
                fd = line.sock.fileno()
                if fd in events and line.step(events[fd], flood):
                    line.sock.close()
                    lines.remove(line)
    finally:
        for line in lines:
            line.sock.close()
