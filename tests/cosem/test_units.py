import tomllib
from decimal import Decimal
from importlib.resources import files

import pytest

from zegel.cosem.types import Value
from zegel.cosem.units import load_units, scale, scaler_unit, unit_name


def test_every_row_of_the_table_has_a_code_a_symbol_and_a_source() -> None:
    rows = tomllib.loads(files("zegel.cosem").joinpath("data/units.toml").read_text("utf-8"))[
        "unit"
    ]
    assert all(set(row) == {"code", "symbol", "source"} and row["source"] for row in rows)
    assert all(0 < row["code"] < 255 and row["symbol"] for row in rows)
    assert len(load_units()) == len(rows)


def test_the_units_of_electricity_and_gas_are_named_as_the_standard_does() -> None:
    names = {
        27: "W",
        28: "VA",
        29: "var",
        30: "Wh",
        31: "VAh",
        32: "varh",
        33: "A",
        35: "V",
        44: "Hz",
        13: "m3",
    }
    assert {code: unit_name(code) for code in names} == names
    assert unit_name(255) is None
    assert unit_name(200) == "unit 200"


@pytest.mark.parametrize(
    ("raw", "scaler", "text"),
    [
        (2337, -1, "233.7"),
        (0, -2, "0.00"),
        (6307498, 1, "63074980"),
        (-5, -3, "-0.005"),
        (2**64 - 1, -3, "18446744073709551.615"),
        (0, 2, "0"),
        (1, -128, "0." + "0" * 127 + "1"),
    ],
)
def test_scalers_move_the_point_and_lose_no_digit(raw: int, scaler: int, text: str) -> None:
    assert f"{scale(raw, scaler):f}" == text
    assert scale(raw, scaler) == Decimal(text)


def test_only_a_structure_of_integer_and_enum_is_scaler_and_unit() -> None:
    integer, enum = Value(15, -1), Value(22, 35)
    assert scaler_unit(Value(2, (integer, enum))) == (-1, 35)
    for other in (
        Value(1, (integer, enum)),
        Value(2, (enum, integer)),
        Value(2, (integer,)),
        integer,
    ):
        assert scaler_unit(other) is None
