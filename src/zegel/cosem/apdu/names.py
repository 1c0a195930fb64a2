"""Names of all APDUs by their tag (IEC 62056-5-3, XDLMS-APDU and ACSE-APDU)."""

import tomllib
from functools import cache
from importlib.resources import files

__all__ = ["CIPHERED_TAGS", "GENERAL_TAGS", "apdu_name", "load_apdu_names"]

GENERAL_TAGS = frozenset((0xDB, 0xDC))
# general-glo, general-ded, and the service-specific glo- and ded- tags, which carry no title
CIPHERED_TAGS = GENERAL_TAGS | frozenset(
    (
        *(0x21, 0x25, 0x26, 0x28, 0x2C, 0x2D, 0x2E, 0x36, 0x38),
        *(0x41, 0x45, 0x46, 0x48, 0x4C, 0x4D, 0x4E, 0x56, 0x58),
        *(0xC8, 0xC9, 0xCA, 0xCB, 0xCC, 0xCD, 0xCF),
        *(0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD7),
    )
)


@cache
def load_apdu_names() -> dict[int, str]:
    """Read the table `data/apdus.toml`: tag to name."""
    table = tomllib.loads(files("zegel.cosem").joinpath("data/apdus.toml").read_text())
    return {row["tag"]: row["name"] for row in table["apdu"]}


def apdu_name(tag: int) -> str | None:
    """Return the standard's name of an APDU tag, or None for an unknown one."""
    return load_apdu_names().get(tag)
