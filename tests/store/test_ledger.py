"""The ledger: one cut at a time, positions by epoch, all of it durable."""

from pathlib import Path

import pytest

from zegel.errors import ConflictError, StorageError
from zegel.store.ledger import Damage, Ledger

EPOCH = 1 << 40


def test_cut_that_was_begun_is_told_as_begun_before(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    assert ledger.begin(EPOCH, EPOCH + 9) is False
    ledger.close()
    again = Ledger(tmp_path / "l.db")
    begun = again.open_cut
    assert begun == (EPOCH, EPOCH + 9)
    assert again.begin(EPOCH, EPOCH + 9) is True
    with pytest.raises(ConflictError, match="begun before"):
        again.begin(EPOCH + 10, EPOCH + 12)
    again.commit(EPOCH + 9)
    assert again.open_cut is None
    assert again.begin(EPOCH + 10, EPOCH + 12) is False
    again.close()


def test_positions_are_kept_by_epoch(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    for last in (EPOCH + 4, 2 * EPOCH, EPOCH + 7):
        ledger.commit(last)
    ledger.close()
    again = Ledger(tmp_path / "l.db")
    assert again.position == 2 * EPOCH
    assert again.position_of(EPOCH + 3) == EPOCH + 7
    assert again.position_of(3 * EPOCH) == 0
    again.close()


def test_damage_is_kept_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    damage = Damage("a.seg", "crc, byte 7", 5, 2)
    ledger.note_damage(damage)
    ledger.note_damage(damage)
    assert ledger.damages() == [damage]
    ledger.close()


def test_position_never_goes_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.commit(EPOCH + 9)
    ledger.begin(EPOCH + 2, EPOCH + 3)
    ledger.commit(EPOCH + 3)
    assert ledger.position == EPOCH + 9
    ledger.close()


def test_damage_that_was_acknowledged_stays_noted_and_is_listed_no_more(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.db")
    ledger.note_damage(Damage("a.seg", "crc, byte 7", 5, 2))
    ledger.acknowledge("a.seg")
    assert ledger.damages() == []
    assert ledger.noted("a.seg")
    ledger.forget("a.seg")
    assert not ledger.noted("a.seg")
    ledger.close()


def test_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"x" * 5000)
    with pytest.raises(StorageError, match=r"l\.db"):
        Ledger(tmp_path / "l.db")
