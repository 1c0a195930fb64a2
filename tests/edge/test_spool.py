import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from zegel.edge.check_spool import SpoolCheckError, check_spool
from zegel.edge.spool import FileSpool
from zegel.errors import DamagedError, StorageError
from zegel.node import switches
from zegel.node.spool_format import NUMBER_BITS, Record, SegmentName, open_name
from zegel.node.switches import Switches

PATHS = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
ONE, TWO, THREE = ([Record(bytes([n]) * 50 * n)] * n for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    yield
    switches.reset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def left_open(folder: Path, *batches: list[Record]) -> Path:
    """Leave a spool behind as a killed edge does; return its open segment."""
    spool = FileSpool(folder)
    for batch in batches:
        spool.append(batch)
    (path,) = folder.glob("*.open")
    data = path.read_bytes()
    spool.close()
    (sealed,) = folder.glob("*.seg")
    sealed.unlink()
    path.write_bytes(data)
    return path


def recovered(folder: Path) -> tuple[list[Record], list[str]]:
    """Start an edge on what is there; return what is sealed then, and the alarms."""
    spool = FileSpool(folder)
    try:
        records = [record for name in spool.unread() for record in spool.read(name).records]
        return records, list(spool.alarms)
    finally:
        spool.close()


def test_the_file_spool_keeps_the_contract(folder: Path) -> None:
    check_spool(lambda: FileSpool(folder))


class Forgetful(FileSpool):
    """A spool that loses what is open when it is closed."""

    def close(self) -> None:
        self._count = 0
        self._open_path.unlink(missing_ok=True)
        super().close()


class Repeating(FileSpool):
    """A spool whose identifiers begin anew."""

    def append(self, records: object) -> range:
        return range(1 << NUMBER_BITS, (1 << NUMBER_BITS) + len(super().append(records)))  # type: ignore[arg-type]


class Sloppy(FileSpool):
    """A spool that releases whatever it is told."""

    def release(self, first: int, last: int) -> bool:
        return super().release(first, last) or True


@pytest.mark.parametrize("broken", [Forgetful, Repeating, Sloppy])
def test_the_check_finds_a_spool_that_breaks_the_contract(
    folder: Path, broken: type[FileSpool]
) -> None:
    with pytest.raises(SpoolCheckError):
        check_spool(lambda: broken(folder))


def test_folder_and_files_are_for_edge_and_store_only(folder: Path) -> None:
    spool = FileSpool(folder)
    spool.append(ONE)
    name = spool.seal()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2750
    assert stat.S_IMODE((folder / str(name)).stat().st_mode) == 0o640
    spool.close()
    assert {path.name for path in folder.iterdir()} == {"EDGE.epoch", "edge.lock", str(name)}


def test_a_second_edge_is_refused_and_names_the_lock(folder: Path) -> None:
    spool = FileSpool(folder)
    with pytest.raises(StorageError, match=f"spool in use; {folder}/edge.lock"):
        FileSpool(folder)
    spool.close()
    FileSpool(folder).close()


def test_a_spool_of_another_process_is_refused(folder: Path) -> None:
    spool = FileSpool(folder)
    code = (
        "import sys; from pathlib import Path; from zegel.edge.spool import FileSpool\n"
        "from zegel.errors import StorageError\n"
        "try: FileSpool(Path(sys.argv[1]))\n"
        "except StorageError as error: print(error.line())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=PATHS, capture_output=True, check=True
    )
    assert run.stdout.startswith(f"zegel: storage: spool in use; {folder}/edge.lock".encode())
    spool.close()


JUNK: dict[str, Callable[[int], bytes]] = {
    "nothing": lambda _: b"",
    "zeros": bytes,
    "ones": lambda size: b"\xff" * size,
    "noise": lambda size: (b"ZSP1\x01\x00\x00\x00" * size)[3 : 3 + size],
}


@pytest.mark.parametrize("junk", JUNK)
def test_a_tail_cut_anywhere_loses_only_what_was_not_confirmed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, junk: str
) -> None:
    """Every cut of the last two blocks (and so of the whole second), each with junk behind it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a thousand starts
    path = left_open(folder, ONE, TWO, THREE)
    data = path.read_bytes()
    heads = [at for at in range(len(data)) if data.startswith(b"ZSP1", at)]
    assert len(heads) == 3
    for cut in range(1, len(data)):
        path.write_bytes(data[:cut] + JUNK[junk](len(data) - cut))
        expected = (ONE if cut >= heads[1] else []) + (TWO if cut >= heads[2] else [])
        assert recovered(folder) == (expected, []), cut
        for sealed in folder.glob("*.seg"):
            sealed.unlink()


def test_an_open_segment_with_nothing_whole_is_dropped(folder: Path) -> None:
    path = left_open(folder, ONE)
    for data in (b"", b"ZSP1", bytes(5000)):
        path.write_bytes(data)
        assert recovered(folder) == ([], [])
        assert not path.exists()


def test_a_recovered_segment_keeps_its_identifiers(folder: Path) -> None:
    path = left_open(folder, ONE, TWO)
    first = int(path.stem, 16)
    recovered(folder)
    assert [p.name for p in folder.glob("*.seg")] == [str(SegmentName(first, 3))]
    again = FileSpool(folder)
    assert again.append(ONE).start >> NUMBER_BITS == (first >> NUMBER_BITS) + 2
    again.close()


def test_damage_before_confirmed_blocks_is_set_aside_and_the_rest_kept(folder: Path) -> None:
    path = left_open(folder, ONE, TWO, THREE)
    data = bytearray(path.read_bytes())
    second = data.index(b"ZSP1", 4)
    data[second + 60] ^= 1
    path.write_bytes(data)
    records, alarms = recovered(folder)
    assert records == ONE + THREE
    damaged = path.with_suffix(".damaged")
    assert alarms == [f"spool segment; {damaged}, byte {second}; expected a block"]
    assert damaged.read_bytes() == data


def test_a_damaged_sealed_segment_stops_nothing(folder: Path) -> None:
    spool = FileSpool(folder)
    spool.append(ONE)
    bad = spool.seal()
    spool.append(TWO)
    good = spool.seal()
    assert bad is not None
    assert good is not None
    spool.close()
    (folder / str(bad)).write_bytes(b"")
    spool = FileSpool(folder)
    with pytest.raises(DamagedError):
        spool.read(bad)
    assert spool.read(good).records == TWO
    assert spool.release(bad.first, bad.last)
    spool.close()


def test_a_segment_that_the_store_passed_over_does_not_hold_the_edge_up(folder: Path) -> None:
    spool = FileSpool(folder)
    spool.append(ONE)
    left = spool.seal()
    spool.append(ONE)
    taken = spool.seal()
    assert taken is not None
    spool.release(taken.first, taken.last)
    assert spool.unread() == [left]
    assert spool.usage.unread == 0
    spool.close()


def test_the_start_counter_goes_up_at_every_start(folder: Path) -> None:
    epochs = []
    for _ in range(3):
        spool = FileSpool(folder)
        epochs.append(spool.append([]).start >> NUMBER_BITS)
        spool.close()
    assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]


def first_epoch(folder: Path, *, at: str) -> int:
    shift = datetime.fromisoformat(at).timestamp() - time.time()
    switches.install(Switches(clock_s=shift))
    spool = FileSpool(folder)
    epoch = spool.append([]).start >> NUMBER_BITS
    spool.close()
    return epoch


def test_a_spool_in_place_of_a_lost_one_goes_on_above_it(folder: Path) -> None:
    spool = FileSpool(folder)
    lost = spool.append(ONE)
    spool.close()
    shutil.rmtree(folder)
    switches.install(Switches(clock_s=600))
    spool = FileSpool(folder)
    assert spool.append(ONE).start >> NUMBER_BITS > lost.start >> NUMBER_BITS
    spool.close()


@pytest.mark.parametrize(
    ("at", "epoch"),
    [
        ("1970-01-02T00:00Z", 1),
        ("2025-01-01T00:11Z", 2),
        ("2026-01-01T00:01Z", 365 * 288),
        ("2200-01-01T00:00Z", 2**23 - 2**20),
    ],
)
def test_a_new_spool_begins_at_an_epoch_that_fits(folder: Path, at: str, epoch: int) -> None:
    assert first_epoch(folder, at=at) == epoch


@pytest.mark.parametrize("content", [None, "", "soon", "-1", str(2**24 - 1)])
def test_a_lost_start_counter_stops_the_edge(folder: Path, content: str | None) -> None:
    FileSpool(folder).close()
    path = folder / "EDGE.epoch"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(StorageError, match=f"spool epoch; {path}"):
        FileSpool(folder)


def test_an_older_start_counter_never_repeats_what_names_show(folder: Path) -> None:
    spool = FileSpool(folder)
    spool.append(ONE)
    spool.close()
    (name,) = folder.glob("*.seg")
    name.rename(folder / str(SegmentName(9 << NUMBER_BITS, 1)))
    (folder / open_name(11 << NUMBER_BITS)).write_bytes(b"")
    (folder / "EDGE.epoch").write_text("1\n")
    spool = FileSpool(folder)
    assert spool.append([]).start >> NUMBER_BITS == 12
    spool.close()


def fill_disk(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Let the disk take `room` more bytes, as a full disk does: first a part, then nothing."""
    left = [room]
    real = os.writev

    def writev(fd: int, parts: list[bytes]) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = b"".join(parts)[: left[0]]
        left[0] -= len(data)
        return real(fd, [data])

    monkeypatch.setattr(os, "writev", writev)


@pytest.mark.parametrize("room", [0, 1, 23, 24, 50, 100])
def test_a_full_disk_is_named_and_the_file_cut_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    spool = FileSpool(folder)
    first = spool.append(ONE)
    (path,) = folder.glob("*.open")
    size = path.stat().st_size
    with monkeypatch.context() as full:
        fill_disk(full, room)
        with pytest.raises(StorageError) as caught:
            spool.append(TWO)
        assert path.stat().st_size == size
        with pytest.raises(StorageError):
            spool.probe()
    assert caught.value.where == str(path)
    assert caught.value.found == "No space left on device (ENOSPC)"
    spool.probe()
    assert spool.append(THREE).start == first.stop
    spool.close()
    assert recovered(folder) == (ONE + THREE, [])


def test_a_block_of_more_parts_than_one_write_takes_is_whole(folder: Path) -> None:
    records = [Record(n.to_bytes(2, "big"), context=b"c" * (n % 3)) for n in range(3000)]
    spool = FileSpool(folder)
    spool.append(records)
    spool.close()
    assert recovered(folder) == (records, [])


@pytest.mark.parametrize("call", ["fdatasync", "open"])
def test_a_failing_sync_or_open_confirms_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    spool = FileSpool(folder)
    if call == "fdatasync":
        spool.append(ONE)
    before = spool.usage

    def fail(*_args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(StorageError, match="EIO"):
            spool.append(TWO)
    assert spool.usage == before
    spool.append(THREE)
    spool.close()
    assert recovered(folder) == ((ONE if call == "fdatasync" else []) + THREE, [])


def test_a_tail_that_cannot_be_cut_back_is_cut_before_the_next_append(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = FileSpool(folder)
    spool.append(ONE)

    def fail(*_args: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fail)
        broken.setattr(os, "ftruncate", fail)
        for _ in range(2):
            with pytest.raises(StorageError):
                spool.append(TWO)
        with pytest.raises(StorageError):
            spool.seal()
    spool.append(THREE)
    spool.close()
    assert recovered(folder) == (ONE + THREE, [])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"spool; {tmp_path}/file/spool"):
        FileSpool(tmp_path / "file" / "spool")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_really_full_disk_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    small = tmp_path / "small"
    small.mkdir()
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], check=False
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    try:
        spool = FileSpool(small / "spool")
        written: list[Record] = []
        batch = [Record(os.urandom(7000))]
        while len(written) < 100:
            try:
                spool.append(batch)
            except StorageError as error:
                assert "ENOSPC" in str(error)  # noqa: PT017 - somewhere in a hundred
                break
            written += batch
        assert 5 < len(written) < 100
        with pytest.raises(StorageError, match="ENOSPC"):
            spool.probe()
        name = spool.seal()
        assert name is not None
        assert spool.read(name).records == written
        spool.release(name.first, name.last)
        spool.probe()
        assert spool.append(ONE).start == name.last + 1
        spool.close()
        assert recovered(small / "spool") == (ONE, [])
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("die_at", "kept"),
    [
        ("append.before:2", 1),
        ("append.after:2", 2),  # written, not synced: the page cache survives a kill
        ("sync.before:2", 2),
        ("sync.after:2", 2),
    ],
)
def test_a_kill_at_any_step_leaves_a_spool_that_opens(folder: Path, die_at: str, kept: int) -> None:
    code = (
        "import sys; from pathlib import Path; from zegel.edge.spool import FileSpool\n"
        "from zegel.node.spool_format import Record\n"
        "from zegel.node.switches import Switches, install\n"
        "install(Switches(die_at=sys.argv[2]))\n"
        "spool = FileSpool(Path(sys.argv[1]))\n"
        "for n in range(3): spool.append([Record(bytes([n]))])\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder), die_at], env=PATHS, check=False)
    assert run.returncode == -9
    records, alarms = recovered(folder)
    assert [record.frame for record in records] == [bytes([n]) for n in range(kept)]
    assert alarms == []


def test_the_clock_switch_shifts_the_time_of_a_block(folder: Path) -> None:
    switches.install(Switches(clock_s=1e9))
    spool = FileSpool(folder)
    spool.append(ONE)
    name = spool.seal()
    assert name is not None
    assert spool.read(name).received[0] > 2.7e9
    spool.close()
