from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from zegel.errors import DamagedError, StorageError, UsageError
from zegel.meter.truth import MAGIC, Truth, TruthWriter, truth_sha256
from zegel.meter.world import DayReadings, houses, simulate

ZONE = ZoneInfo("Europe/Amsterdam")
SERIALS = np.array([b"ZGL%013d" % number for number in range(1, 6)], "S16")


def write(path: Path, seed: int = 1) -> list[DayReadings]:
    days = list(simulate(houses(seed, 0, 5), date(2026, 3, 28), 2, ZONE))
    with TruthWriter(path) as writer:
        for day in days:
            writer.add(SERIALS, day)
    return days


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    days = write(tmp_path / "truth")
    truth = Truth(tmp_path / "truth")
    assert truth.days == [day.day.ordinal for day in days]
    assert truth.values == 2 * 5 * (96 + 92)
    for day in days:
        (block,) = truth.blocks(day.day.ordinal)
        assert (block.serials == SERIALS).all()
        assert (block.t == day.day.t).all()
        assert (block.import_wh == day.import_wh).all()
        assert (block.export_wh == day.export_wh).all()


def test_equal_seeds_give_equal_digests(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / name, seed)
    digests = [truth_sha256([tmp_path / name]) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]
    assert truth_sha256([tmp_path / "a", tmp_path / "c"]) not in digests


def test_a_falsified_value_is_the_only_change(tmp_path: Path) -> None:
    (first, _) = write(tmp_path / "truth")
    truth = Truth(tmp_path / "truth")
    truth.change(first.day.ordinal, 3, 17, by_wh=1)
    (block,) = truth.blocks(first.day.ordinal)
    differs = np.argwhere(block.import_wh != first.import_wh).tolist()
    assert differs == [[3, 17]]
    assert block.import_wh[3, 17] == first.import_wh[3, 17] + 1
    assert (block.export_wh == first.export_wh).all()


def test_a_value_that_is_not_there_cannot_be_falsified(tmp_path: Path) -> None:
    (first, _) = write(tmp_path / "truth")
    with pytest.raises(UsageError, match="truth value"):
        Truth(tmp_path / "truth").change(first.day.ordinal, 5, 0, by_wh=1)


def test_a_truth_file_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "truth")
    with pytest.raises(StorageError, match="truth file"):
        TruthWriter(tmp_path / "truth")


@pytest.mark.parametrize("cut", [1, 9000])
def test_a_cut_file_is_named(tmp_path: Path, cut: int) -> None:
    write(tmp_path / "truth")
    data = (tmp_path / "truth").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-cut])
    with pytest.raises(DamagedError, match="cut"):
        Truth(tmp_path / "cut")


@pytest.mark.parametrize("data", [b"", b"other file", MAGIC + b"\x01"])
def test_another_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(DamagedError):
        Truth(tmp_path / "other")
