import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from helpers.vault_meters import call_of, meters, plaintexts
from zegel.calls.base import Health
from zegel.calls.shipment import seal_shipment
from zegel.calls.vault import ImportKey, ImportShipment, UseSummary
from zegel.errors import UnreachableError
from zegel.node.config import Config, NodeConfig
from zegel.node.link import SocketLink, socket_path
from zegel.node.start import Ready, StartDocument

TEXT = b"reading " * 40


class Started:
    """A vault as the supervisor starts it, with one user for all zones."""

    def __init__(self, process: asyncio.subprocess.Process, config: Config) -> None:
        self.process, self.config = process, config

    def link(self, caller: str) -> SocketLink:
        return SocketLink(socket_path(self.config.run(), "vault", caller), "vault")


@contextlib.asynccontextmanager
async def vault_process(folder: Path) -> AsyncIterator[Started]:
    config = Config(node=NodeConfig(data_dir=str(folder)))
    for path in (config.data("vault"), config.run() / "vault"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", "zegel.vault")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(StartDocument("vault", config)) + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert msgspec.json.decode(line, type=Ready) == Ready()
        yield Started(process, config)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio warns of it otherwise


def test_a_vault_process_opens_frames_and_outlives_a_kill() -> None:
    fleet = meters(3)

    async def run(folder: Path) -> None:
        async with vault_process(folder) as started:
            console, store = started.link("console"), started.link("store")
            public = (await console.call(ImportKey())).public
            sealed = seal_shipment([meter.row() for meter in fleet], public)
            await console.call(ImportShipment(sealed))
            answer = await store.call(call_of([meter.seal(TEXT) for meter in fleet]))
            assert plaintexts(answer) == [TEXT] * 3
            report = await console.call(Health())
            assert report.reasons == []
            assert report.counters["opened"] == 3
            assert not [name for name in report.modules if name.startswith("zegel.cosem")]
            started.process.send_signal(signal.SIGKILL)
            await started.process.wait()
            with pytest.raises(UnreachableError):
                await store.call(call_of([fleet[0].seal(TEXT)]))
            await console.close()
            await store.close()
        async with vault_process(folder) as started:
            store = started.link("store")
            answer = await store.call(call_of([meter.seal(TEXT) for meter in fleet]))
            assert plaintexts(answer) == [TEXT] * 3
            summary = await store.call(UseSummary())
            assert (summary.entries, summary.opened, summary.reopened) == (2, 6, 3)
            assert summary.intact
            await store.close()

    with tempfile.TemporaryDirectory(prefix="zv") as folder:
        asyncio.run(run(Path(folder)))


def test_a_vault_ends_with_its_supervisor() -> None:
    async def run(folder: Path) -> None:
        async with vault_process(folder) as started:
            assert started.process.stdin is not None
            started.process.stdin.close()
            assert await asyncio.wait_for(started.process.wait(), 10) == 0

    with tempfile.TemporaryDirectory(prefix="zv") as folder:
        asyncio.run(run(Path(folder)))
