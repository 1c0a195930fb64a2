"""Opening through the link, as the store asks the vault, beside the bare cipher.

"Bare" is the least that one thread can do with the same primitive: a new `Cipher` for every
frame, its keys at hand. "In the vault" adds checks, key table and unwrapping the keys; "through
the link" adds the socket, both ends in this process, and the use log with its sync.
"""

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from zegel.calls.shipment import ShipmentRow, seal_shipment
from zegel.calls.vault import ImportShipment, Opened, OpenFrames
from zegel.node.config import VaultConfig
from zegel.node.health import HealthState
from zegel.node.link import SocketLink
from zegel.node.serving import Answerer, CallerSocket
from zegel.vault.zone import Vault

__all__ = ["main"]

PLAINTEXT_BYTES = 2736
TAG_BYTES = 12
METERS = 4096
BATCHES = (256, 2900)  # a small segment, and a full one


class _Frames:
    """Sealed frames of a fleet, a fresh counter for each call."""

    def __init__(self) -> None:
        self.titles = sorted({b"BEN" + secrets.token_bytes(5) for _ in range(METERS)})
        self.pairs = [secrets.token_bytes(32) for _ in self.titles]
        self._plaintext = secrets.token_bytes(PLAINTEXT_BYTES)
        self._next = 1

    def rows(self) -> list[ShipmentRow]:
        return [
            ShipmentRow(title, 0, 1, pair[:16], pair[16:])
            for title, pair in zip(self.titles, self.pairs, strict=True)
        ]

    def call(self, n: int) -> OpenFrames:
        """Return a call with one frame of each of the first n meters."""
        first, self._next = self._next, self._next + n
        sealed = [
            AESGCM(pair[:16]).encrypt(title + b"\0\0\0\7", self._plaintext, b"\x30" + pair[16:])[
                :-4
            ]
            for title, pair in zip(self.titles[:n], self.pairs[:n], strict=True)
        ]
        return OpenFrames(
            frame_ids=np.arange(first, first + n, dtype="<u8").tobytes(),
            titles=b"".join(self.titles[:n]),
            controls=b"\x30" * n,
            counters=np.full(n, 7, "<u4").tobytes(),
            lengths=np.full(n, PLAINTEXT_BYTES + TAG_BYTES, "<u4").tobytes(),
            sealed=memoryview(b"".join(sealed)),
        )

    async def bare(self, call: OpenFrames) -> None:
        """Open a call's frames with the cipher alone."""
        at = 0
        for title, pair in zip(self.titles, self.pairs, strict=False):
            if at == len(call.sealed):
                return
            end = at + PLAINTEXT_BYTES
            tag = bytes(call.sealed[end : end + TAG_BYTES])
            cipher = Cipher(AES(pair[:16]), GCM(title + b"\0\0\0\7", tag, TAG_BYTES)).decryptor()
            cipher.authenticate_additional_data(b"\x30" + pair[16:])
            cipher.update(call.sealed[at:end])
            cipher.finalize()
            at = end + TAG_BYTES


def main(seconds: float) -> dict[str, Any]:
    """Measure frames a second by batch: bare, in the vault, through the link."""
    return asyncio.run(_measure(seconds))


async def _measure(seconds: float) -> dict[str, Any]:
    frames = _Frames()
    with tempfile.TemporaryDirectory(prefix="zegel-bench-") as folder:
        vault = Vault.open(Path(folder), VaultConfig(), HealthState("vault"))
        public = (await vault.import_key(None)).public  # type: ignore[arg-type]  # carries nothing
        await vault.import_shipment(ImportShipment(seal_shipment(frames.rows(), public)))
        path = Path(folder) / "vault.socket"
        link, answering = await _linked(vault, path)
        batches = []
        for n in BATCHES:
            call = frames.call(n)
            ways: dict[str, Callable[[OpenFrames], Awaitable[object]]] = {
                "bare": frames.bare,
                "in the vault": vault.open_frames,
                "through the link": link.call,
            }
            opened: Opened = await link.call(call)
            if any(opened.verdicts):
                raise SystemExit("a frame did not open")
            speeds = dict.fromkeys(ways, 0.0)
            for _ in range(3):
                for name, way in ways.items():
                    best = await _best(way, call, seconds / 9)
                    speeds[name] = max(speeds[name], n * best)
            batches.append({"batch": n, "per_s": speeds})
        await link.close()
        answering.close()
        vault.close()
    return {"plaintext_bytes": PLAINTEXT_BYTES, "batches": batches}


async def _linked(vault: Vault, path: Path) -> tuple[SocketLink, CallerSocket]:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    answerer = Answerer(vault.handlers(), caller="store", callee="vault", on_fault=_fault)
    answering = CallerSocket(answerer)
    await answering.listen(bound)
    return SocketLink(path, "vault"), answering


def _fault(call: str, error: BaseException) -> None:
    raise SystemExit(f"{call}: {error}")


async def _best(
    way: Callable[[OpenFrames], Awaitable[object]], call: OpenFrames, seconds: float
) -> float:
    """Return calls per second of CPU of the fastest call: others on the machine only ever add."""
    best, until = 0.0, time.perf_counter() + seconds
    while True:
        began = time.process_time()
        await way(call)
        best = max(best, 1 / (time.process_time() - began))
        if time.perf_counter() > until:
            return best
