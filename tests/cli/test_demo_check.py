from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from zegel.cli.demo.check import Counts, compare
from zegel.meter.truth import TruthBlock

START = 1_780_000_200  # on a quarter hour
T = START + 900 * np.arange(1, 5, dtype="i8")
SERIALS = np.array([b"ZGL0100000000001", b"ZGL0100000000002"], "S16")
IMPORT = np.array([[10, 20, 30, 40], [1, 2, 3, 4]], "i8")
EXPORT = IMPORT * 7
BLOCK = TruthBlock(1, SERIALS, T, IMPORT, EXPORT)


def rows() -> list[dict[str, object]]:
    return [
        {
            "serial": SERIALS[m].decode(),
            "t": int(T[q]),
            "import_wh": int(IMPORT[m, q]),
            "export_wh": int(EXPORT[m, q]),
        }
        for m in range(2)
        for q in range(4)
    ]


def batches(table: list[dict[str, object]]) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(table).to_batches(max_chunksize=3)


def test_what_equals_the_truth_is_right_in_any_order() -> None:
    assert compare([BLOCK], batches(rows()[::-1])) == Counts(expected=16, stored=16)


@pytest.mark.parametrize("binary", [False, True])
def test_timestamps_and_binary_serials_are_read_too(*, binary: bool) -> None:
    table = rows()
    for row in table:
        row["t"] = datetime.fromtimestamp(int(str(row["t"])), UTC)
        row["serial"] = str(row["serial"]).encode() if binary else row["serial"]
    assert compare([BLOCK], batches(table)) == Counts(expected=16, stored=16)


def test_each_absent_row_is_two_missing_readings() -> None:
    assert compare([BLOCK], batches(rows()[2:])) == Counts(expected=16, stored=12, missing=4)
    assert compare([BLOCK], []) == Counts(expected=16, missing=16)


def test_a_row_that_comes_twice_is_counted_beyond_the_first() -> None:
    table = [*rows(), rows()[3], rows()[3]]
    assert compare([BLOCK], batches(table)) == Counts(expected=16, stored=20, twice=4)


@pytest.mark.parametrize("register", ["import_wh", "export_wh"])
@pytest.mark.parametrize("value", [41, None])
def test_one_other_value_is_one_wrong_reading(register: str, value: int | None) -> None:
    table = rows()
    table[3][register] = value
    assert compare([BLOCK], batches(table)) == Counts(expected=16, stored=16, wrong=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("serial", "ZGL0100000000009"), ("t", int(T[0]) + 1), ("t", START), ("t", int(T[-1]) + 900)],
)
def test_a_row_that_the_truth_does_not_know_is_wrong_and_replaces_none(
    field: str, value: object
) -> None:
    table = rows()
    table[0][field] = value
    assert compare([BLOCK], batches(table)) == Counts(expected=16, stored=16, missing=2, wrong=2)


def test_a_node_without_meters_has_nothing_to_compare() -> None:
    assert compare([], []) == Counts()
