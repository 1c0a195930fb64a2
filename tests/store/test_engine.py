"""The engine: sealed at rest, one key, and inserts that fail aloud."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.store_bench import DISK_KEY, StoreBench, body, push, serial
from zegel.errors import ConfigError, StorageError
from zegel.store.engine import Engine
from zegel.store.schema import READING_COLUMNS

SEALED_MARK = b"ENC"  # first bytes of a file of the encrypted disk


def block(rows: int, first: int = 0) -> dict[str, "np.ndarray | bytes"]:
    rng = np.random.default_rng(first)
    return {
        "day": np.full(rows, 20_000, "u2"),
        "meter_id": np.arange(rows, dtype="u8"),
        "t": np.arange(rows, dtype="u4"),
        "import_wh": rng.integers(0, 2**62, rows),
        "export_wh": rng.integers(0, 2**62, rows),
        "status": np.zeros(rows, "u1"),
        "quality": np.zeros(rows, "u1"),
        "frame_id": np.full(rows, first, "u8"),
    }


def test_nothing_of_a_reading_and_no_key_is_readable_in_the_store_folder(
    bench: StoreBench,
) -> None:
    meter = bench.meters[0]
    plain = body(meter, base=0x5EC2E7)
    bench.take([push(meter, base=0x5EC2E7), plain])
    parts = [path for path in (bench.data / "engine" / "disk").rglob("*") if path.is_file()]
    assert len(parts) > 10
    assert all(path.read_bytes()[:3] == SEALED_MARK for path in parts)
    everything = b"".join(path.read_bytes() for path in bench.data.rglob("*") if path.is_file())
    secrets = (DISK_KEY, DISK_KEY.hex().encode(), plain[40:80], (0x5EC2E7).to_bytes(4, "big"))
    assert not any(secret in everything for secret in secrets)
    assert serial(meter).encode() in everything  # the registry is public; so the search works


def test_copy_of_the_folder_opens_with_its_key_only(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "one", DISK_KEY)
    engine.writer.insert("readings_interval", READING_COLUMNS, block(100))
    engine.close()
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    with pytest.raises(StorageError, match="disk key"):
        Engine(tmp_path / "two", bytes(32))
    copy = Engine(tmp_path / "two", DISK_KEY)
    assert copy.writer.data("SELECT count() FROM readings_interval", "CSV") == b"100\n"
    copy.close()
    (tmp_path / "two" / "KEYCHECK").unlink()
    with pytest.raises(StorageError, match="key check"):
        Engine(tmp_path / "two", bytes(32))


def test_key_leaves_no_open_file_behind(tmp_path: Path) -> None:
    engine = Engine(tmp_path, DISK_KEY)
    targets = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not any("memfd" in str(target) for target in targets)
    engine.close()


def test_folder_that_would_be_read_as_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Engine(tmp_path / "a?b", DISK_KEY)


def test_wrong_statement_is_our_error_and_the_connection_goes_on(tmp_path: Path) -> None:
    engine = Engine(tmp_path, DISK_KEY)
    with pytest.raises(StorageError, match="engine: query"):
        engine.writer.run("SELECT nothing")
    with engine.query() as query:
        assert query.data("SELECT 1", "CSV") == b"1\n"
    engine.close()


def _fill(engine: Engine) -> int:
    for k in range(40):
        engine.writer.insert("readings_interval", READING_COLUMNS, block(20_000, k))
    return 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_insert_into_a_full_disk_fails_aloud(small_disk: Path) -> None:
    engine = Engine(small_disk / "engine", DISK_KEY)
    with pytest.raises(StorageError, match="engine"):
        _fill(engine)
    count = engine.writer.data("SELECT count() FROM readings_interval", "CSV")
    assert 0 < int(count) < 20_000 * 40
    assert int(count) % 20_000 == 0
    engine.close()
