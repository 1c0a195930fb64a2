"""Registry: imports, refusals, look-ups, and the arrays that follow them."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from zegel.calls.store import MeterRow
from zegel.errors import NotFoundError, StorageError, UsageError
from zegel.store.registry import Registry
from zegel.store.registry.importing import check_row, ean_is_valid

EAN = "871687140000000019"


def row(n: int = 1, **how: object) -> MeterRow:
    fields: dict[str, object] = {"serial": f"ZGL{n:013}", "system_title": f"5a474c{n:010x}", **how}
    return MeterRow(**fields)  # type: ignore[arg-type]


def title_of(meter: MeterRow) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(meter.system_title), "u8")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry(Registry.default_url(tmp_path))
    yield opened
    opened.close()


def test_import_adds_changes_and_leaves_alone(registry: Registry) -> None:
    first = registry.add([row(1), row(2)])
    assert (first.added, first.changed, first.unchanged, first.refused) == (2, 0, 0, [])
    second = registry.add([row(1), row(2, model="E450"), row(3)])
    assert (second.added, second.changed, second.unchanged) == (1, 1, 1)
    assert registry.show(row(2).serial).model == "E450"


WRONG: dict[str, dict[str, object]] = {
    "no serial": {"serial": ""},
    "long serial": {"serial": "x" * 33},
    "serial beyond ASCII": {"serial": "mètre"},
    "control character": {"serial": "a\nb"},
    "blank end": {"serial": "abc "},
    "upper-case title": {"system_title": "5A474C0000000001"},
    "short title": {"system_title": "5a47"},
    "no hex": {"system_title": "5a474c000000000g"},
    "ean check digit": {"ean": "871687140000000010"},
    "ean length": {"ean": "8716871400000000"},
    "ean is no number": {"ean": "87168714000000001x"},
    "state": {"state": "lost"},
    "floor": {"counter_floor": 2**32},
    "negative floor": {"counter_floor": -1},
    "long model": {"model": "x" * 65},
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_row_is_refused_and_the_others_are_not(registry: Registry, case: str) -> None:
    report = registry.add([row(5), row(6, **WRONG[case]), row(7)])
    assert report.added == 2
    (refusal,) = report.refused
    assert refusal.row == 1
    assert "expected" in refusal.what


def test_right_row_passes() -> None:
    assert check_row(row(1, ean=EAN, state="ready", counter_floor=2**32 - 1)) is None


@pytest.mark.parametrize(
    ("ean", "valid"),
    [(EAN, True), ("400638133393100004", True), ("871687140000000018", False), ("", False)],
)
def test_check_digit_of_an_ean(ean: str, *, valid: bool) -> None:
    digits = [int(c) for c in ean]
    if valid:  # GS1: weights 3 and 1 from the right, check digit included, make a multiple of 10
        assert sum(d * (1, 3)[k % 2] for k, d in enumerate(reversed(digits))) % 10 == 0
    assert ean_is_valid(ean) is valid


def test_serial_keeps_its_title_and_a_title_its_serial(registry: Registry) -> None:
    registry.add([row(1), row(2)])
    report = registry.add(
        [row(1, system_title="5a474c00000000ff"), row(3, system_title=row(2).system_title)]
    )
    assert report.added == report.changed == 0
    assert "as registered" in report.refused[0].what
    assert row(2).serial in report.refused[1].what


def test_twice_in_one_import_is_refused(registry: Registry) -> None:
    report = registry.add([row(1), row(1), row(2, system_title=row(1).system_title)])
    assert report.added == 1
    assert [refusal.row for refusal in report.refused] == [1, 2]


def test_meter_is_found_by_serial_title_and_id(registry: Registry) -> None:
    registry.add([row(1), row(2)])
    for name in (row(2).serial, row(2).system_title, "2"):
        assert registry.show(name).meter_id == 2
    for name in ("", "3", "0", "-1", "nobody", "5a474c00000000ff", "9" * 15):
        with pytest.raises(NotFoundError):
            registry.show(name)


def test_pages_follow_and_search_by_their_start(registry: Registry) -> None:
    registry.add([row(n, segment="a" if n % 2 else "b") for n in range(1, 8)])
    page = registry.page(after=0, limit=3, search="", segment="a")
    assert ([m.meter_id for m in page.meters], page.next, page.total) == ([1, 3, 5], 5, 4)
    page = registry.page(after=5, limit=3, search="", segment="a")
    assert ([m.meter_id for m in page.meters], page.next) == ([7], None)
    assert registry.page(after=0, limit=9, search="ZGL000000000000", segment="").total == 7
    assert registry.page(after=0, limit=9, search="5A474C0000000002", segment="").total == 1
    assert registry.page(after=0, limit=9, search="%", segment="").total == 0
    with pytest.raises(UsageError):
        registry.page(after=0, limit=10_001, search="", segment="")


def test_connection_changes_with_the_ean(registry: Registry) -> None:
    registry.add([row(1, ean=EAN)])
    assert registry.show("1").ean == EAN
    assert registry.add([row(1, ean=EAN)]).unchanged == 1
    other = "400638133393100004"
    assert registry.add([row(1, ean=other)]).changed == 1
    assert registry.show("1").ean == other
    assert registry.add([row(1)]).unchanged == 1


def test_index_follows_every_import(registry: Registry) -> None:
    before = registry.index
    registry.add([row(3), row(1)])
    index = registry.index
    assert len(before) == 0
    titles = np.concatenate([title_of(row(1)), title_of(row(3)), title_of(row(9))])
    assert index.find(titles).tolist() == [2, 1, 0]
    assert index.identity[2].tobytes() == row(1).serial.encode()
    registry.add([row(1, state="destroyed"), row(3, counter_floor=7)])
    assert registry.index.find(titles).tolist() == [0, 1, 0]
    assert registry.index.floor[1] == 7
    assert registry.index.serial(2) == row(1).serial


def test_index_is_the_same_after_a_restart(tmp_path: Path) -> None:
    one = Registry(Registry.default_url(tmp_path))
    one.add([row(n) for n in range(1, 50)])
    one.add([row(7, state="destroyed"), row(60)])
    two = Registry(Registry.default_url(tmp_path))
    for name in ("floor", "identity", "_title", "_serial", "_ids", "_titles"):
        assert getattr(one.index, name).tolist() == getattr(two.index, name).tolist()
    one.close()
    two.close()


def test_serial_that_is_no_device_name_matches_none(registry: Registry) -> None:
    registry.add([row(1, serial="E0012345678901234567")])
    assert registry.index.identity[1].tobytes() == b"\xff" * 16


def test_meter_id_is_never_used_again(registry: Registry) -> None:
    registry.add([row(1), row(2)])
    with registry._connection() as connection:
        connection.exec_driver_sql("DELETE FROM meters WHERE meter_id = 2")
        connection.commit()
    registry.add([row(3)])
    assert registry.show(row(3).serial).meter_id == 3


def test_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="registry"):
        Registry(Registry.default_url(tmp_path))
    with pytest.raises(StorageError, match="registry"):
        Registry("nonsense")


def test_twenty_thousand_meters_come_in_at_once(registry: Registry) -> None:
    rows = [row(n) for n in range(20_000)]
    began = time.process_time()
    assert registry.add(rows).added == 20_000
    assert time.process_time() - began < 10  # a million in a minute is 1.2 s of these
    assert len(registry.index) == 20_000
