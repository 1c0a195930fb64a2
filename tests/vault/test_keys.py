import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from helpers.vault_meters import Meter, meters
from zegel.calls.shipment import ShipmentRow
from zegel.errors import ConfigError, ConflictError, DamagedError, NotFoundError, StorageError
from zegel.vault.key_table import KeyTable
from zegel.vault.keys import _STEPS, KeyStore, Kind, State, associated
from zegel.vault.providers import FileProvider

PROVIDER = FileProvider(bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    store = KeyStore.open(tmp_path / "keys.db", PROVIDER)
    yield store
    store.close()


def reopened(store: KeyStore) -> KeyStore:
    store.close()
    return KeyStore.open(store._path, PROVIDER)


def keys_in(table: KeyTable) -> dict[bytes, tuple[int, bytes]]:
    """Titles with version and unwrapped keys."""
    found = {}
    for i in range(len(table)):
        title, version = KeyTable.title_bytes(int(table.titles[i])), int(table.versions[i])
        envelope = table.envelopes[i].tobytes()
        size = 92 if table.suites[i] == 2 else 60
        bound = associated(title, Kind.UNICAST, version)
        found[title] = (version, PROVIDER.unwrap(envelope[:size], bound))
    return found


def rows(*some: Meter) -> list[ShipmentRow]:
    return [meter.row() for meter in some]


def test_keys_come_back_after_a_restart(store: KeyStore) -> None:
    fleet = [*meters(3), *meters(2, suite=2, first=10), *meters(1, suite=1, first=20)]
    imported, active, new = store.bring_in("a" * 64, rows(*fleet))
    assert len(new) == 0
    wanted = {meter.title: (1, meter.guek + meter.gak) for meter in fleet}
    assert imported == 6
    assert keys_in(active) == wanted
    again = reopened(store)
    assert keys_in(again.load()) == wanted
    assert again.unwrap(fleet[4].title, Kind.MASTER, 1) == fleet[4].kek
    assert again.counts() == {"unicast active": 6, "master active": 6}
    again.close()


TITLE = b"TST\0\0\0\0\1"


def test_a_later_version_is_new_until_it_is_switched_to(store: KeyStore) -> None:
    first, second = Meter(TITLE), Meter(TITLE, version=2)
    store.bring_in("a", rows(first))
    imported, active, new = store.bring_in("b", rows(second))
    assert (imported, len(active)) == (1, 0)
    assert keys_in(new) == keys_in(store.load(State.NEW)) == {TITLE: (2, second.guek + second.gak)}
    assert keys_in(store.load()) == {TITLE: (1, first.guek + first.gak)}
    assert store.counts() == {
        "unicast new": 1,
        "unicast active": 1,
        "master new": 1,
        "master active": 1,
    }
    assert store.replaced(TITLE) is None
    store.switch([(TITLE, 2)], last_frame=77)
    assert keys_in(store.load()) == {TITLE: (2, second.guek + second.gak)}
    assert len(store.load(State.NEW)) == 0
    assert store.counts() == {
        "unicast active": 1,
        "unicast expired": 1,
        "master active": 1,
        "master expired": 1,
    }
    suite, version, envelope, last_frame = store.replaced(TITLE) or (0, 0, b"", 0)
    assert (suite, version, last_frame, store.last_frame()) == (0, 1, 77, 77)
    bound = associated(TITLE, Kind.UNICAST, 1)
    assert PROVIDER.unwrap(envelope, bound) == first.guek + first.gak


def test_of_several_later_versions_the_latest_is_new(store: KeyStore) -> None:
    for version in (1, 3, 2, 5):
        store.bring_in(str(version), rows(Meter(TITLE, version=version)))
    assert keys_in(store.load())[TITLE][0] == 1
    assert keys_in(store.load(State.NEW))[TITLE][0] == 5
    assert store.counts()["unicast expired"] == 2


def test_a_key_of_another_version_is_not_switched_to(store: KeyStore) -> None:
    for version in (1, 2):
        store.bring_in(str(version), rows(Meter(TITLE, version=version)))
    store.switch([(TITLE, 1), (TITLE, 9)], last_frame=5)
    assert keys_in(store.load())[TITLE][0] == 1
    assert keys_in(store.load(State.NEW))[TITLE][0] == 2


def test_a_database_of_the_version_before_is_brought_up(tmp_path: Path) -> None:
    path, meter = tmp_path / "keys.db", Meter(TITLE)
    db = sqlite3.connect(path)
    db.executescript(_STEPS[0])
    db.execute("INSERT INTO facts VALUES ('own_title', ?)", (b"ZGL12345",))
    envelope = PROVIDER.wrap(meter.guek + meter.gak, associated(TITLE, Kind.UNICAST, 1))
    db.execute("INSERT INTO shipments VALUES (1, 'a', 1)")
    db.execute("INSERT INTO keys VALUES (?, 1, 1, 0, 1, ?, 1)", (TITLE, envelope))
    db.execute("PRAGMA user_version = 1")
    db.commit()
    db.close()
    store = KeyStore.open(path, PROVIDER)
    assert store.own_title == b"ZGL12345"
    assert keys_in(store.load()) == {TITLE: (1, meter.guek + meter.gak)}
    store.bring_in("b", rows(Meter(TITLE, version=2)))
    again = reopened(store)
    assert keys_in(again.load(State.NEW))[TITLE][0] == 2
    again.close()


def test_an_earlier_version_does_not_become_active(store: KeyStore) -> None:
    late, early = Meter(TITLE, version=9), Meter(TITLE, version=2)
    store.bring_in("a", rows(late))
    imported, active, new = store.bring_in("b", rows(early))
    assert (imported, len(active), len(new)) == (1, 0, 0)
    assert keys_in(store.load()) == {late.title: (9, late.guek + late.gak)}


def test_the_same_key_again_is_unchanged(store: KeyStore) -> None:
    fleet = meters(2)
    store.bring_in("a", rows(*fleet))
    new = Meter(b"TST\0\0\0\1\0")
    imported, active, _ = store.bring_in("b", rows(*fleet, new))
    assert (imported, list(keys_in(active))) == (1, [new.title])


@pytest.mark.parametrize("part", ["guek", "gak", "kek", "suite"])
def test_a_contradicting_key_is_refused_with_all_of_its_shipment(
    store: KeyStore, part: str
) -> None:
    meter, new = meters(2)
    store.bring_in("a", rows(meter))
    before = store.counts()
    other = 1 if part == "suite" else bytes(16)
    row = msgspec.structs.replace(meter.row(), **{part: other})
    with pytest.raises(ConflictError, match="version 1; title 545354") as caught:
        store.bring_in("b", [new.row(), row])
    assert meter.guek[:3].hex() not in str(caught.value)
    assert store.counts() == before
    assert store.known_shipment("b") is None


@pytest.mark.parametrize("whose", ["own", "nobody"])
def test_a_row_with_the_title_of_the_centre_is_refused(store: KeyStore, whose: str) -> None:
    title = store.own_title if whose == "own" else bytes(8)
    with pytest.raises(ConflictError, match="centre itself"):
        store.bring_in("a", rows(Meter(title)))
    assert store.counts() == {}


class Dying(FileProvider):
    """A provider that fails at the nth wrap: what stands for a kill in the middle."""

    left = 4

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().wrap(plaintext, associated)


def test_a_shipment_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = KeyStore.open(tmp_path / "keys.db", Dying(bytes(range(32))))
    fleet = rows(*meters(4))
    with pytest.raises(KeyboardInterrupt):
        store.bring_in("a", fleet)
    store = reopened(store)
    assert store.counts() == {}
    assert store.known_shipment("a") is None
    assert store.bring_in("a", fleet)[0] == 4
    store.close()


def test_a_shipment_killed_just_before_its_commit_leaves_nothing(
    store: KeyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "left"  # the files as a kill at this moment leaves them
    columns = KeyTable.columns

    def copy_first(rows: list[tuple[bytes, int, int, bytes]]) -> KeyTable:
        left.mkdir(exist_ok=True)
        for path in tmp_path.glob("keys.db*"):
            shutil.copy(path, left)
        return columns(rows)

    monkeypatch.setattr(KeyTable, "columns", copy_first)
    store.bring_in("a", rows(*meters(50)))
    monkeypatch.undo()
    killed = KeyStore.open(left / "keys.db", PROVIDER)
    assert killed.counts() == {}
    assert killed.known_shipment("a") is None
    killed.close()
    assert len(store.load()) == 50


def swap_two_envelopes(path: Path, one: bytes, other: bytes) -> None:
    db = sqlite3.connect(path)
    sql = "SELECT envelope FROM keys WHERE title = ? AND kind = 1"
    envelopes = [db.execute(sql, (title,)).fetchone()[0] for title in (one, other)]
    sql = "UPDATE keys SET envelope = ? WHERE title = ? AND kind = 1"
    db.executemany(sql, [(envelopes[1], one), (envelopes[0], other)])
    db.commit()
    db.close()


def test_a_row_moved_to_another_meter_does_not_open(store: KeyStore) -> None:
    one, other = meters(2)
    store.bring_in("a", rows(one, other))
    swap_two_envelopes(store._path, one.title, other.title)
    for meter in (one, other):
        with pytest.raises(DamagedError):
            store.unwrap(meter.title, Kind.UNICAST, 1)


def test_without_the_binding_a_moved_row_opens(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zegel.vault.keys.associated", lambda _title, _kind, _version: b"")
    one, other = meters(2)
    store.bring_in("a", rows(one, other))
    swap_two_envelopes(store._path, one.title, other.title)
    assert store.unwrap(one.title, Kind.UNICAST, 1) == other.guek + other.gak


@pytest.mark.parametrize(
    "change",
    ["version = 2", "kind = 2", "title = X'5453540000000099'"],
    ids=["version", "kind", "title"],
)
def test_a_row_turned_to_another_place_does_not_open(store: KeyStore, change: str) -> None:
    meter = Meter(b"TST\0\0\0\0\1")
    store.bring_in("a", [msgspec.structs.replace(meter.row(), kek=b"")])
    db = sqlite3.connect(store._path)
    db.execute(f"UPDATE keys SET {change}")
    title, kind, version = db.execute("SELECT title, kind, version FROM keys").fetchone()
    db.commit()
    db.close()
    with pytest.raises(DamagedError):
        store.unwrap(title, Kind(kind), version)


def test_no_key_stands_in_the_files(store: KeyStore) -> None:
    fleet = meters(20)
    store.bring_in("a", rows(*fleet))
    secret = store.secret(Kind.DISK, lambda: b"\x5d" * 32)
    files = [path.read_bytes() for path in store._path.parent.iterdir()]
    assert sum(map(len, files)) > 0
    for content in files:
        assert secret not in content
        for meter in fleet:
            assert not any(key in content for key in (meter.guek, meter.gak, meter.kek))


def test_a_missing_key_is_named(store: KeyStore) -> None:
    with pytest.raises(NotFoundError, match="unicast key, version 3; 5453540000000001"):
        store.unwrap(b"TST\0\0\0\0\1", Kind.UNICAST, 3)


def test_own_title_and_secrets_are_made_once(store: KeyStore) -> None:
    title, secret = store.own_title, store.secret(Kind.DISK, lambda: bytes(32))
    again = reopened(store)
    assert title[:3] == b"ZGL"
    assert len(title) == 8
    assert again.own_title == title
    assert again.secret(Kind.DISK, lambda: b"other") == secret
    again.close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    KeyStore.open(path, PROVIDER).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(ConfigError, match=r"newer version.*expected <= 2; found 3"):
        KeyStore.open(path, PROVIDER)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="key database"):
        KeyStore.open(path, PROVIDER)


def test_the_database_is_for_its_owner_only(store: KeyStore) -> None:
    assert store._path.stat().st_mode & 0o777 == 0o600


def test_a_hundred_thousand_keys_load_within_seconds(store: KeyStore) -> None:
    n = 100_000
    envelope = PROVIDER.wrap(bytes(32), b"")
    with store._transaction() as db:
        db.execute("INSERT INTO shipments VALUES (1, 'a', 0)")
        db.executemany(
            "INSERT INTO keys VALUES (?, 1, 1, 0, 1, ?, 1, 0)",
            ((b"TST" + i.to_bytes(5, "big"), envelope) for i in range(n)),
        )
    start = time.perf_counter()
    table = store.load()
    assert time.perf_counter() - start < 5
    assert len(table) == n
    assert (np.diff(table.titles) > 0).all()
