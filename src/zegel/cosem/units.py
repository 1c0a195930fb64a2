"""Units and scalers: what a register counts, exactly (IEC 62056-6-2, table of units)."""

import tomllib
from decimal import Decimal
from functools import cache
from importlib.resources import files

from zegel.cosem.types import Tag, Value

__all__ = ["ScalerUnit", "load_units", "scale", "scaler_unit", "unit_name"]

NO_UNIT = 255

ScalerUnit = tuple[int, int]  # power of ten, unit code


@cache
def load_units() -> dict[int, str]:
    """Read the table `data/units.toml`: unit code to its symbol."""
    table = tomllib.loads(files("zegel.cosem").joinpath("data/units.toml").read_text("utf-8"))
    return {row["code"]: row["symbol"] for row in table["unit"]}


def unit_name(code: int) -> str | None:
    """Return a unit's symbol; None for 255 (no unit), `unit N` for an unknown code."""
    return None if code == NO_UNIT else load_units().get(code, f"unit {code}")


def scale(raw: int, scaler: int) -> Decimal:
    """Return raw x 10^scaler, exactly: the digits are only moved."""
    sign, digits, _ = Decimal(raw).as_tuple()
    return Decimal((sign, digits, scaler))


def scaler_unit(value: Value) -> ScalerUnit | None:
    """Return (scaler, unit) if the value is a scal_unit_type: structure of integer and enum."""
    if value.tag != Tag.STRUCTURE or len(value.value) != 2:
        return None
    scaler, unit = value.value
    if scaler.tag != Tag.INT8 or unit.tag != Tag.ENUM:
        return None
    return scaler.value, unit.value
