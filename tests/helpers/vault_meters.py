"""Meters with keys, their sealed frames, and the calls that carry them to the vault."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from zegel.calls.shipment import KEY_BYTES, ShipmentRow, seal_shipment
from zegel.calls.vault import ImportShipment, Opened, OpenFrames
from zegel.node.config import VaultConfig
from zegel.node.health import HealthState
from zegel.vault.zone import Vault


@dataclass
class Meter:
    """A meter that seals frames with the library's one-shot AEAD, tag cut to 12 bytes."""

    title: bytes
    suite: int = 0
    version: int = 1
    guek: bytes = b""
    gak: bytes = b""
    kek: bytes = b""
    counter: int = 0

    def __post_init__(self) -> None:
        size = KEY_BYTES[self.suite]
        self.guek = self.guek or secrets.token_bytes(size)
        self.gak = self.gak or secrets.token_bytes(size)
        self.kek = self.kek or secrets.token_bytes(size)

    @property
    def control(self) -> int:
        return 0x30 | self.suite

    def row(self) -> ShipmentRow:
        return ShipmentRow(self.title, self.suite, self.version, self.guek, self.gak, self.kek)

    def seal(self, plaintext: bytes, **change: int) -> "Sealed":
        self.counter += 1
        counter = change.get("counter", self.counter)
        control = change.get("control", self.control)
        nonce = self.title + counter.to_bytes(4, "big")
        sealed = AESGCM(self.guek).encrypt(nonce, plaintext, bytes((control,)) + self.gak)
        return Sealed(self.title, control, counter, sealed[:-4])


@dataclass
class Sealed:
    """What the edge splits a frame into."""

    title: bytes
    control: int
    counter: int
    sealed: bytes


def meters(n: int, *, suite: int = 0, first: int = 0) -> list[Meter]:
    return [Meter(b"TST" + (first + i).to_bytes(5, "big"), suite) for i in range(n)]


def call_of(frames: list[Sealed], first_id: int = 1 << 40) -> OpenFrames:
    n = len(frames)
    return OpenFrames(
        frame_ids=np.arange(first_id, first_id + n, dtype="<u8").tobytes(),
        titles=b"".join(frame.title for frame in frames),
        controls=bytes(frame.control for frame in frames),
        counters=np.array([frame.counter for frame in frames], "<u4").tobytes(),
        lengths=np.array([len(frame.sealed) for frame in frames], "<u4").tobytes(),
        sealed=memoryview(b"".join(frame.sealed for frame in frames)),
    )


def plaintexts(answer: Opened) -> list[bytes]:
    out, at = [], 0
    for length in np.frombuffer(answer.lengths, "<u4").tolist():
        out.append(bytes(answer.plaintexts[at : at + length]))
        at += length
    return out


@dataclass
class Bench:
    """A vault in a folder, which can be closed and opened again."""

    data: Path
    config: VaultConfig = field(default_factory=VaultConfig)
    health: HealthState = field(default_factory=lambda: HealthState("vault"))
    vault: Vault = field(init=False)

    def __post_init__(self) -> None:
        self.vault = Vault.open(self.data, self.config, self.health)

    async def bring_in(self, *some: Meter) -> None:
        public = (await self.vault.import_key(None)).public  # type: ignore[arg-type]
        sealed = seal_shipment([meter.row() for meter in some], public)
        await self.vault.import_shipment(ImportShipment(sealed))

    def again(self) -> None:
        self.vault.close()
        self.health = HealthState("vault")
        self.vault = Vault.open(self.data, self.config, self.health)
