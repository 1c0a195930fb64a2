import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.calls.vault import OpenVerdict
from zegel.errors import StorageError, UsageError
from zegel.vault import uselog
from zegel.vault.uselog import Opening, UseLog
from zegel.vault.uselog_file import FIRST_HEAD, Entry, Scan, Start, encode, scan

E1, E2 = 1 << 40, 2 << 40


def opening(*ids: int, verdict: int = OpenVerdict.OK, time_s: float = 1_800_000_000.5) -> Opening:
    n = len(ids)
    return Opening(
        caller="store",
        time_s=time_s,
        frame_ids=np.array(ids, np.uint64),
        nonces=np.arange(n * 12, dtype=np.uint8).reshape(n, 12),
        verdicts=np.full(n, verdict, np.uint8),
    )


def open_log(folder: Path, file_bytes: int = 4_000_000) -> UseLog:
    return UseLog.open(folder / "use", now_s=1_800_000_000, file_bytes=file_bytes)


def small_log(folder: Path) -> bytes:
    log = open_log(folder)
    for first in (E1 + 1, E1 + 4, E1 + 7):
        log.append(opening(first, first + 1, first + 2))
    log.close()
    return (folder / "use" / "use-00000001.log").read_bytes()


def records(data: bytes) -> list[Start | Entry]:
    found = scan(data, "x")
    assert found.damage is None
    assert found.start is not None
    return [found.start, *(entry for entry, _ in found.entries)]


def test_an_entry_says_who_opened_what_and_when(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    made = opening(E1 + 1, E1 + 2, E1 + 9)
    made.verdicts[1] = OpenVerdict.BAD_TAG
    log.append(made)
    log.close()
    data = (tmp_path / "use" / "use-00000001.log").read_bytes()
    rows = b"".join(
        int(i).to_bytes(8, "little") + nonce.tobytes() + bytes((verdict,))
        for i, nonce, verdict in zip(made.frame_ids, made.nonces, made.verdicts, strict=True)
    )
    assert records(data)[1] == Entry(
        time_ms=1_800_000_000_500,
        caller="store",
        ranges=[(E1 + 1, E1 + 2), (E1 + 9, E1 + 9)],
        exact=True,
        opened=[(1, E1 + 9)],
        verdicts=[2, 0, 1, 0, 0],
        reopened=0,
        digest=hashlib.sha256(rows).digest(),
    )


def test_the_chain_is_what_the_document_says(tmp_path: Path) -> None:
    """Follow the chain with hashlib alone."""
    data, at, last = small_log(tmp_path), 0, bytes(32)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        assert int.from_bytes(data[at + 4 : at + 8], "big") == length ^ 0xFFFFFFFF
        end = at + 8 + length
        last = hashlib.sha256(last + data[at:end]).digest()
        assert data[end : end + 32] == last
        at = end + 32
    log = open_log(tmp_path)
    assert log.summary().head == last.hex()
    log.close()


def test_sums_and_chain_go_on_after_a_restart(tmp_path: Path) -> None:
    small_log(tmp_path)
    log = open_log(tmp_path)
    log.append(opening(E1 + 10, E1 + 11, verdict=OpenVerdict.BAD_TAG))
    report = log.summary()
    assert (report.entries, report.opened, report.refused, report.reopened) == (4, 9, 2, 0)
    assert report.intact
    log.close()
    data = (tmp_path / "use" / "use-00000001.log").read_bytes()
    assert scan(data, "x").head.hex() == report.head


def test_every_truncation_is_a_torn_tail_that_is_cut_back(tmp_path: Path) -> None:
    data = small_log(tmp_path)
    whole = scan(data, "x")
    start_size = len(encode(whole.start, FIRST_HEAD)[0]) if whole.start else 0
    for size in range(start_size, len(data)):
        found = scan(data[:size], "x")
        assert found.damage is None
        assert found.size + found.torn == size
        assert found.entries == whole.entries[: len(found.entries)]
        assert found.torn < len(data) // 3
    for size in range(start_size):  # a file is named only when it has its start: no torn one
        assert scan(data[:size], "x").damage is not None


def test_every_flipped_bit_is_damage_and_what_was_before_it_is_kept(tmp_path: Path) -> None:
    data = small_log(tmp_path)
    whole = scan(data, "x")
    for at in range(len(data)):
        for bit in (0, 7):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            found = scan(bytes(changed), "x")
            assert found.damage is not None
            assert found.damage.at <= at
            assert found.entries == whole.entries[: len(found.entries)]


def test_without_the_hash_a_changed_entry_goes_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: the hash is what finds a changed count."""
    data = small_log(tmp_path)
    changed = data.replace(b"store", b"reade", 1)
    assert scan(changed, "x").damage is not None

    class Blind:
        def __init__(self, _data: bytes) -> None: ...

        def digest(self) -> "Blind":
            return self

        def __ne__(self, _other: object) -> bool:
            return False

        def __eq__(self, _other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    monkeypatch.setattr("zegel.vault.uselog_file.hashlib.sha256", Blind)
    found = scan(changed, "x")
    assert found.damage is None
    assert found.entries[0][0].caller == "reade"


def test_a_second_start_in_a_file_is_damage(tmp_path: Path) -> None:
    data = small_log(tmp_path)
    found = scan(data, "x")
    assert found.start is not None
    forged, _ = encode(found.start, found.start.previous)  # a good hash, at the wrong place
    again = scan(data + forged, "x")
    assert again.damage is not None
    assert (again.damage.at, len(again.entries)) == (len(data), 3)


@pytest.mark.parametrize("left", [1, 7, 8, 40, 100])
def test_a_torn_tail_is_cut_off_and_told(tmp_path: Path, left: int) -> None:
    data = small_log(tmp_path)
    path = tmp_path / "use" / "use-00000001.log"
    path.write_bytes(data + data[-160:][:left] if left < 8 else data[: -160 + left])
    log = open_log(tmp_path)
    assert log.intact
    assert log.torn_bytes > 0
    log.append(opening(E1 + 20))
    log.close()
    assert scan(path.read_bytes(), "x").damage is None


@pytest.mark.parametrize("zeros", [1, 8, 32, 4096])
def test_zeros_behind_the_last_record_are_a_torn_tail(tmp_path: Path, zeros: int) -> None:
    data = small_log(tmp_path)
    found = scan(data + bytes(zeros), "x")
    assert (found.damage, found.torn, found.size) == (None, zeros, len(data))


def test_a_last_record_whose_hash_never_reached_the_disk_is_torn(tmp_path: Path) -> None:
    data = small_log(tmp_path)
    found = scan(data[:-40] + bytes(40), "x")
    assert found.damage is None
    assert len(found.entries) == 2


def test_damage_is_told_kept_and_never_continued(tmp_path: Path) -> None:
    data = bytearray(small_log(tmp_path))
    path = tmp_path / "use" / "use-00000001.log"
    at = len(data) - 200  # in the last but one entry
    data[at] ^= 1
    path.write_bytes(data)
    for _ in range(2):  # and it is told again at every start
        log = open_log(tmp_path)
        assert not log.intact
        assert len(log.damages) == 1
        told = str(log.damages[0])
        assert told.startswith("use log damaged at byte ")
        assert "use-00000001.log" in told
        assert 0 < log.damages[0].at <= at
        for number in log.older():
            log.check_older(number)
        assert len(log.damages) == 1
        log.close()
    assert path.read_bytes() == data
    start = records((tmp_path / "use" / "use-00000002.log").read_bytes())[0]
    found = scan(bytes(data), path.name)
    assert isinstance(start, Start)
    assert start.previous == found.head
    assert start.damaged == ("use-00000001.log", found.size, found.damage and found.damage.what)
    assert start.sums.entries == len(found.entries) == 1


def test_a_file_whose_start_is_damaged_loses_no_sums(tmp_path: Path) -> None:
    log = open_log(tmp_path, file_bytes=400)
    for first in range(1, 6):
        log.append(opening(E1 + first))
    newest, before = log._path(log._number), log.summary()
    log.close()
    data = bytearray(newest.read_bytes())
    lost = len(scan(bytes(data), "x").entries)
    data[20] ^= 1
    newest.write_bytes(data)
    log = open_log(tmp_path)
    assert not log.intact
    assert log.damages[0].at == 0
    assert log.summary().entries == before.entries - lost
    assert log.append(opening(E1 + 1)) == 1
    log.close()


def test_a_new_file_begins_where_the_last_one_ends(tmp_path: Path) -> None:
    log = open_log(tmp_path, file_bytes=500)
    for first in range(1, 20):
        log.append(opening(E1 + first))
    assert len(log.older()) > 3
    for number in log.older():
        log.check_older(number)
    assert log.intact
    before = log.summary()
    log.close()
    log = open_log(tmp_path, file_bytes=500)
    assert log.summary() == before
    assert log.append(opening(E1 + 1, E1 + 20)) == 1
    log.close()


@pytest.mark.parametrize("how", ["cut at a record", "cut", "changed", "gone"])
def test_an_older_file_that_was_tampered_with_is_found(tmp_path: Path, how: str) -> None:
    log = open_log(tmp_path, file_bytes=700)
    for first in range(1, 20):
        log.append(opening(E1 + first))
    path = log._path(2)
    data = path.read_bytes()
    last = len(encode(scan(data, "x").entries[-1][0], bytes(32))[0])
    if how == "cut at a record":
        path.write_bytes(data[:-last])
    elif how == "cut":
        path.write_bytes(data[:-5])
    elif how == "changed":
        path.write_bytes(data[:150] + bytes((data[150] ^ 1,)) + data[151:])
    else:
        path.unlink()
    log.close()
    log = open_log(tmp_path, file_bytes=700)
    for number in log.older():
        log.check_older(number)
    assert [damage.file for damage in log.damages] == [path.name]
    assert not log.summary().intact
    log.close()


def test_a_frame_id_opened_again_is_counted(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    assert log.append(opening(E1 + 1, E1 + 2)) == 0
    assert log.append(opening(E1 + 2, E1 + 3, E1 + 3)) == 2
    assert log.append(opening(E2 + 1)) == 0
    assert log.append(opening(E1 + 1, E2 + 1)) == 2
    assert log.append(opening(E1 + 1, verdict=OpenVerdict.BAD_TAG)) == 0
    log.close()
    log = open_log(tmp_path)
    assert log.append(opening(E2 + 1, E2 + 2)) == 1
    assert log.summary().reopened == 5
    log.close()


def test_epochs_are_bounded_and_a_forgotten_one_counts_as_opened(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(opening(*(epoch << 40 for epoch in range(10, 90))))
    assert len(log._opened) == uselog._MAX_EPOCHS
    assert log.append(opening(5 << 40, 89 << 40, 90 << 40)) == 2
    assert len(log._opened) == uselog._MAX_EPOCHS
    log.close()


@settings(max_examples=100)
@given(calls=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=8), max_size=8))
def test_reopened_is_what_a_plain_count_says(calls: list[list[int]]) -> None:
    highest: dict[int, int] = {}
    seen: dict[int, int] = {}
    for call in calls:
        ids = sorted((i % 3 << 40) + i for i in call)
        wanted = 0
        for frame_id in ids:
            wanted += frame_id <= seen.get(frame_id >> 40, -1)
            seen[frame_id >> 40] = max(frame_id, seen.get(frame_id >> 40, -1))
        counted, _ = uselog._count_reopened(np.array(ids, np.uint64), highest)
        assert counted == wanted
    assert highest == seen


def test_too_many_runs_are_told_as_one(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.append(opening(*range(E1, E1 + 400, 2)))
    log.close()
    entry = records((tmp_path / "use" / "use-00000001.log").read_bytes())[1]
    assert isinstance(entry, Entry)
    assert (entry.ranges, entry.exact) == ([(E1, E1 + 398)], False)


@pytest.mark.parametrize("file_bytes", [400, 4_000_000])
def test_a_summary_stops_at_the_frame_that_is_asked(tmp_path: Path, file_bytes: int) -> None:
    log = open_log(tmp_path, file_bytes)
    heads = [log.summary().head]
    for first in range(1, 21, 2):
        log.append(opening(E1 + first, E1 + first + 1))
        heads.append(log.summary().head)
    for asked in range(1, 25):
        report = log.summary(E1 + asked)
        entries = min(asked // 2, 10)
        assert (report.entries, report.opened) == (entries, 2 * entries)
        if entries:
            assert report.head == heads[entries] or file_bytes == 400
    assert log.summary(E1).entries == 0
    log.append(opening(E1 + 1))
    assert log.summary(E1 + 2).entries == 2
    assert log.summary(E1 + 2).reopened == 1
    with pytest.raises(UsageError):
        log.summary(-1)
    log.close()


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_an_entry_that_is_not_durable_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    log = open_log(tmp_path)
    log.append(opening(E1 + 1))
    before, path = log.summary(), log._path(1)
    size = path.stat().st_size
    written = 0

    def fail(handle: int, data: bytes = b"") -> int:
        nonlocal written
        if data and not written:
            written = os.pwrite(handle, data[:10], size)
            return written
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"zegel.vault.uselog.os.{call}", fail)
    with pytest.raises(StorageError, match=r"use log.*found No space left"):
        log.append(opening(E1 + 2))
    monkeypatch.undo()
    assert log.summary() == before
    assert path.stat().st_size == size
    assert log.append(opening(E1 + 2)) == 0
    log.close()
    assert len(scan(path.read_bytes(), "x").entries) == 2


def test_an_entry_is_synced_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    sizes: list[int] = []
    fdatasync = os.fdatasync

    def watched(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        fdatasync(handle)

    monkeypatch.setattr("zegel.vault.uselog.os.fdatasync", watched)
    log.append(opening(E1 + 1))
    assert sizes == [log._path(1).stat().st_size]
    log.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "use").write_text("a file")
    with pytest.raises(StorageError, match="use log"):
        open_log(tmp_path)


def test_a_draft_of_a_file_is_thrown_away(tmp_path: Path) -> None:
    small_log(tmp_path)
    (tmp_path / "use" / "use-00000002.new").write_bytes(b"half")
    log = open_log(tmp_path)
    assert log.intact
    assert [path.name for path in (tmp_path / "use").iterdir()] == ["use-00000001.log"]
    log.close()


@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_log_or_damage(data: bytes) -> None:
    found = scan(data, "x")
    assert isinstance(found, Scan)
    assert found.size + found.torn <= len(data)
