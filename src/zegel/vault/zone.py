"""The vault's process: keys, opening, use log, and the answers to its calls.

One thread: every answer is computed on the event loop. Threads beside ciphering cost more
than they bring, because they fight for the interpreter lock.
"""

import asyncio
import contextlib
import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from zegel.calls.table import TABLE
from zegel.calls.vault import (
    DiskKey,
    DiskSecret,
    ImportKey,
    ImportKeyInfo,
    ImportShipment,
    KeysReport,
    KeysStatus,
    Opened,
    OpenFrames,
    ShipmentReceipt,
    UseReport,
    UseSummary,
)
from zegel.errors import ConfigError, DamagedError, StorageError
from zegel.node import switches
from zegel.node.config import VaultConfig
from zegel.node.health import HealthState
from zegel.vault.keys import KeyStore, Kind
from zegel.vault.opening import Batch, Opener
from zegel.vault.providers import Provider, open_provider
from zegel.vault.rotation import Rotation
from zegel.vault.shipment import ImportSecret
from zegel.vault.uselog import Opening, UseLog

if TYPE_CHECKING:
    from zegel.node.serving import Handlers
    from zegel.node.zone import ZoneContext

__all__ = ["Vault", "main"]

_DISK_KEY_BYTES = 32
# Identity is the socket, and the table lets one zone open frames: so the log knows who.
(_OPENER,) = (caller for (caller, _), calls in TABLE.items() if OpenFrames in calls)


class Vault:
    """Everything the vault holds and answers. One thread only."""

    def __init__(
        self, keys: KeyStore, provider: Provider, log: UseLog, health: HealthState
    ) -> None:
        self._keys, self._provider, self._log, self._health = keys, provider, log, health
        self._import = ImportSecret(keys.secret(Kind.IMPORT, _new_private))
        self._table = keys.load()
        self._rotation = Rotation(keys, self._table, health)
        self._opener = Opener(self._table, provider, keys.own_title, health, self._rotation)
        health.gauge("meters", len(self._table))
        self._tell_log()

    @classmethod
    def open(cls, data: Path, config: VaultConfig, health: HealthState) -> Self:
        """Open the vault in its folder, or make it at first start.

        Raises:
            ConfigError: no operator key, or not the one that these keys are enveloped under.
            StorageError: keys or use log cannot be read or written.
        """
        database = data / "keys.db"
        key_file = Path(config.key_file).absolute() if config.key_file else data / "operator.key"
        provider = open_provider(config.provider, key_file, fresh=not database.exists())
        with contextlib.ExitStack() as opened:
            keys = KeyStore.open(database, provider)
            opened.callback(keys.close)
            log = UseLog.open(data / "use", now_s=switches.now())
            opened.callback(log.close)
            try:
                vault = cls(keys, provider, log, health)
            except DamagedError as error:
                what = "operator key does not open this vault"
                raise ConfigError(
                    what, where=f"[vault] key_file {key_file}", found=error
                ) from error
            opened.pop_all()
        return vault

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._keys.close()

    def handlers(self) -> "Handlers":
        """Return what answers each call."""
        return {
            OpenFrames: self.open_frames,
            DiskKey: self.disk_key,
            ImportKey: self.import_key,
            ImportShipment: self.import_shipment,
            KeysStatus: self.keys_status,
            UseSummary: self.use_summary,
        }

    async def open_frames(self, call: OpenFrames) -> Opened:
        """Open frames; the use log has it durably before the answer leaves.

        Raises:
            MalformedError: arrays that contradict one another.
            StorageError: use log or key database cannot be written. Nothing is released.
        """
        batch = Batch.read(call)
        try:
            answer, verdicts = self._opener.open(batch)
        except StorageError as error:
            self._health.set("key_write", f"key database cannot be written: {error.found}")
            raise
        self._health.set("key_write", None)
        if len(batch):
            self._note(Opening(_OPENER, switches.now(), batch.frame_ids, batch.nonces, verdicts))
        return answer

    async def disk_key(self, _call: DiskKey) -> DiskSecret:
        """Hand the store its disk key."""
        return DiskSecret(key=self._keys.secret(Kind.DISK, _new_disk_key))

    async def import_key(self, _call: ImportKey) -> ImportKeyInfo:
        """Tell the public half of the import key."""
        return self._import.info

    async def import_shipment(self, call: ImportShipment) -> ShipmentReceipt:
        """Take in a shipment file, all of it or nothing.

        Raises:
            MalformedError, UnsupportedError, SecurityError: as `ImportSecret.open`.
            ConflictError: it contradicts a key that is here.
        """
        sha256 = hashlib.sha256(call.sealed).hexdigest()
        known = self._keys.known_shipment(sha256)
        if known is not None:
            return ShipmentReceipt(shipment=sha256, imported=0, unchanged=known)
        rows = self._import.open(call.sealed)
        imported, now_active, now_new = self._keys.bring_in(sha256, rows)
        self._table.put(now_active)
        self._rotation.bring_in(now_new)
        self._health.gauge("meters", len(self._table))
        self._health.count("shipments")
        return ShipmentReceipt(shipment=sha256, imported=imported, unchanged=len(rows) - imported)

    async def keys_status(self, _call: KeysStatus) -> KeysReport:
        """Tell how many keys there are."""
        counts, name = self._keys.counts(), self._provider.name
        return KeysReport(meters=len(self._table), by_state=counts, provider=name)

    async def use_summary(self, call: UseSummary) -> UseReport:
        """Sum the use log up."""
        return self._log.summary(call.last)

    async def check_log(self) -> None:
        """Check the older files of the use log, one between any two answers."""
        for number in self._log.older():
            await asyncio.sleep(0)
            try:
                self._log.check_older(number)
            except StorageError as error:
                self._health.set("use_log_read", f"use log cannot be read: {error}")
            self._tell_log()

    def _note(self, opening: Opening) -> None:
        try:
            reopened = self._log.append(opening)
        except StorageError as error:
            self._health.set("use_log_write", f"use log cannot be written: {error.found}")
            raise
        self._health.set("use_log_write", None)
        opened = int((opening.verdicts == 0).sum())
        self._health.count("opened", opened)
        self._health.count("refused", len(opening.verdicts) - opened)
        self._health.count("reopened", reopened)

    def _tell_log(self) -> None:
        damages = self._log.damages
        self._health.set("use_log", "; ".join(str(damage) for damage in damages) or None)
        self._health.gauge("use_log_torn_bytes", self._log.torn_bytes)

    def __repr__(self) -> str:
        return f"Vault({self._table!r})"


async def main(ctx: "ZoneContext") -> None:
    """Run the vault until it is told to stop."""
    vault = Vault.open(ctx.data, ctx.config.vault, ctx.health)
    checking: asyncio.Task[Any] | None = None
    try:
        await ctx.serve(vault.handlers())
        ctx.ready()
        checking = asyncio.create_task(vault.check_log())
        await ctx.stopping.wait()
    finally:
        if checking is not None:
            checking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await checking
        vault.close()


def _new_disk_key() -> bytes:
    return secrets.token_bytes(_DISK_KEY_BYTES)


def _new_private() -> bytes:
    return X25519PrivateKey.generate().private_bytes_raw()
