import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from helpers.vault_meters import Bench, Meter, call_of, meters, plaintexts
from zegel.calls.shipment import seal_shipment
from zegel.calls.table import TABLE
from zegel.calls.vault import (
    DiskKey,
    ImportKey,
    ImportShipment,
    KeysStatus,
    OpenFrames,
    OpenVerdict,
    UseSummary,
)
from zegel.errors import ConfigError, ConflictError, MalformedError, SecurityError, StorageError
from zegel.node.config import VaultConfig
from zegel.node.link import LocalLink
from zegel.vault.key_table import KeyTable

TEXT = b"reading " * 40


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.vault.close()


def link(bench: Bench) -> LocalLink:
    return LocalLink(bench.vault.handlers())


def test_frames_of_imported_meters_open_over_a_link_and_after_a_restart(bench: Bench) -> None:
    fleet = [*meters(3), *meters(2, suite=2, first=50)]

    async def run() -> None:
        await bench.bring_in(*fleet)
        answer = await link(bench).call(call_of([meter.seal(TEXT) for meter in fleet]))
        assert plaintexts(answer) == [TEXT] * 5
        bench.again()
        answer = await link(bench).call(call_of([meter.seal(TEXT) for meter in fleet]))
        assert plaintexts(answer) == [TEXT] * 5
        report = await link(bench).call(UseSummary())
        assert (report.entries, report.opened, report.reopened) == (2, 10, 5)

    asyncio.run(run())


def test_a_shipment_again_changes_nothing(bench: Bench) -> None:
    async def run() -> None:
        public = (await link(bench).call(ImportKey())).public
        sealed = seal_shipment([meter.row() for meter in meters(3)], public)
        first = await link(bench).call(ImportShipment(sealed))
        status = await link(bench).call(KeysStatus())
        again = await link(bench).call(ImportShipment(sealed))
        assert first.shipment == hashlib.sha256(sealed).hexdigest()
        assert (first.imported, first.unchanged) == (3, 0)
        assert (again.imported, again.unchanged) == (0, 3)
        assert await link(bench).call(KeysStatus()) == status
        assert status.meters == 3
        assert status.by_state == {"unicast active": 3, "master active": 3}
        assert status.provider == "file"

    asyncio.run(run())


def test_the_same_rows_sealed_anew_are_unchanged(bench: Bench) -> None:
    async def run() -> None:
        public = (await link(bench).call(ImportKey())).public
        rows = [meter.row() for meter in meters(3)]
        await link(bench).call(ImportShipment(seal_shipment(rows[:2], public)))
        receipt = await link(bench).call(ImportShipment(seal_shipment(rows, public)))
        assert (receipt.imported, receipt.unchanged) == (1, 2)

    asyncio.run(run())


def test_a_refused_shipment_changes_nothing(bench: Bench) -> None:
    (meter,), (new,) = meters(1), meters(1, first=7)

    async def run() -> None:
        await bench.bring_in(meter)
        before = await link(bench).call(KeysStatus())
        with pytest.raises(ConflictError, match=f"version 1; title {meter.title.hex()}"):
            await bench.bring_in(new, Meter(meter.title))
        assert await link(bench).call(KeysStatus()) == before
        answer = await link(bench).call(call_of([meter.seal(TEXT), new.seal(TEXT)]))
        assert list(answer.verdicts) == [OpenVerdict.OK, OpenVerdict.UNKNOWN_METER]

    asyncio.run(run())


def test_a_later_key_takes_over_with_its_first_frame(bench: Bench) -> None:
    old, new = Meter(b"TST\0\0\0\0\1"), Meter(b"TST\0\0\0\0\1", version=2)

    async def run() -> None:
        await bench.bring_in(old, *meters(3, first=5))
        await bench.bring_in(new)
        answer = await link(bench).call(call_of([old.seal(TEXT), new.seal(TEXT)]))
        assert list(answer.verdicts) == [OpenVerdict.OK, OpenVerdict.OK]
        assert answer.versions == b"\1\0\2\0"

    asyncio.run(run())


def test_a_shipment_for_another_vault_is_refused(bench: Bench, tmp_path: Path) -> None:
    async def run() -> None:
        sealed = seal_shipment([meters(1)[0].row()], bytes(range(32)))
        with pytest.raises(SecurityError, match="another import key"):
            await link(bench).call(ImportShipment(sealed))
        with pytest.raises(MalformedError, match="shipment file"):
            await link(bench).call(ImportShipment(b"no shipment"))

    asyncio.run(run())


def test_disk_key_and_import_key_are_made_once(bench: Bench) -> None:
    async def run() -> None:
        disk, public = await link(bench).call(DiskKey()), await link(bench).call(ImportKey())
        bench.again()
        assert len(disk.key) == 32
        assert await link(bench).call(DiskKey()) == disk
        assert await link(bench).call(ImportKey()) == public

    asyncio.run(run())


def test_another_operator_key_is_named_at_start(tmp_path: Path) -> None:
    Bench(tmp_path).vault.close()
    (tmp_path / "operator.key").write_bytes(os.urandom(32))
    with pytest.raises(ConfigError, match="operator key does not open this vault"):
        Bench(tmp_path)


def test_a_lost_operator_key_is_not_made_anew(tmp_path: Path) -> None:
    Bench(tmp_path).vault.close()
    (tmp_path / "operator.key").unlink()
    with pytest.raises(ConfigError, match="operator key"):
        Bench(tmp_path)


def test_the_operator_key_may_stand_elsewhere(tmp_path: Path) -> None:
    config = VaultConfig(key_file=str(tmp_path / "elsewhere"))
    (tmp_path / "data").mkdir()
    bench = Bench(tmp_path / "data", config)
    assert (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "data" / "operator.key").exists()
    bench.again()
    bench.vault.close()


def test_lying_arrays_are_an_error_and_not_logged(bench: Bench) -> None:
    async def run() -> None:
        call = msgspec.structs.replace(call_of([meters(1)[0].seal(TEXT)]), lengths=b"\1\0\0\0")
        with pytest.raises(MalformedError, match=r"OpenFrames\.sealed"):
            await link(bench).call(call)
        assert (await link(bench).call(UseSummary())).entries == 0

    asyncio.run(run())


def test_no_plaintext_leaves_when_the_use_log_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        (meter,) = meters(1)
        await bench.bring_in(meter)
        with monkeypatch.context() as patch:
            patch.setattr("zegel.vault.uselog.os.fdatasync", full)
            with pytest.raises(StorageError, match="use log"):
                await link(bench).call(call_of([meter.seal(TEXT)]))
        assert bench.health.reasons == ["use log cannot be written: No space left on device"]
        answer = await link(bench).call(call_of([meter.seal(TEXT)]))
        assert plaintexts(answer) == [TEXT]
        assert bench.health.reasons == []

    asyncio.run(run())


def test_a_damaged_use_log_is_a_reason_in_health(bench: Bench) -> None:
    async def run() -> None:
        (meter,) = meters(1)
        await bench.bring_in(meter)
        for _ in range(3):
            await link(bench).call(call_of([meter.seal(TEXT)]))
        path = bench.data / "use" / "use-00000001.log"
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
        bench.again()
        (reason,) = bench.health.reasons
        assert reason.startswith("use log damaged at byte ")
        await bench.vault.check_log()
        assert bench.health.reasons == [reason]
        assert not (await link(bench).call(UseSummary())).intact
        await link(bench).call(call_of([meter.seal(TEXT)]))

    asyncio.run(run())


def test_the_vault_answers_what_the_table_allows(bench: Bench) -> None:
    wanted = {call for (_, callee), calls in TABLE.items() if callee == "vault" for call in calls}
    assert {call.__name__ for call in wanted} - {"Health"} == {
        call.__name__ for call in bench.vault.handlers()
    }
    assert OpenFrames in bench.vault.handlers()


def test_no_file_of_the_vault_holds_a_meter_key_in_the_clear(bench: Bench) -> None:
    fleet = meters(5)

    async def run() -> None:
        await bench.bring_in(*fleet)
        await link(bench).call(call_of([meter.seal(TEXT) for meter in fleet]))
        disk = await link(bench).call(DiskKey())
        for path in (path for path in bench.data.rglob("*") if path.is_file()):
            content = path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0
            assert disk.key not in content
            assert TEXT[:16] not in content
            for meter in fleet:
                assert not any(key in content for key in (meter.guek, meter.gak, meter.kek))

    asyncio.run(run())


def test_no_type_of_the_vault_shows_a_secret(bench: Bench) -> None:
    (meter,) = meters(1)

    async def run() -> None:
        await bench.bring_in(meter)
        disk = await link(bench).call(DiskKey())
        vault = bench.vault
        table = vault._table.take(vault._table.find(vault._table.titles))
        shown = [
            meter.row(),
            disk,
            vault,
            vault._keys,
            vault._provider,
            vault._import,
            vault._import.info,
            vault._opener,
            vault._log,
            table,
            KeyTable(3),
            await link(bench).call(KeysStatus()),
        ]
        private = vault._import._private.private_bytes_raw()
        operator = (bench.data / "operator.key").read_bytes()
        for thing in shown:
            text = repr(thing) + str(thing) + repr([thing])
            for secret in (meter.guek, meter.gak, meter.kek, disk.key, private, operator):
                assert secret[:4].hex() not in text
                assert repr(secret[:6])[2:-1] not in text

    asyncio.run(run())


@pytest.mark.parametrize("name", ["_provider", "_import"])
def test_what_holds_a_secret_is_not_pickled(bench: Bench, name: str) -> None:
    import pickle

    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(getattr(bench.vault, name))


def test_the_vault_loads_no_decoder() -> None:
    code = (
        "import sys, zegel.vault.zone, zegel.node.zone;"
        "print(sorted(m for m in sys.modules if m.startswith(('zegel.', 'concurrent'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "zegel.cosem" not in done.stdout
    assert "zegel.edge" not in done.stdout
    assert "zegel.store" not in done.stdout
