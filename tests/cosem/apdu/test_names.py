import tomllib
from importlib.resources import files

from zegel.cosem.apdu.names import CIPHERED_TAGS, apdu_name, load_apdu_names


def test_every_row_has_a_tag_a_name_and_a_source() -> None:
    rows = tomllib.loads(files("zegel.cosem").joinpath("data/apdus.toml").read_text())["apdu"]
    assert all(set(row) == {"tag", "name", "source"} and row["source"] for row in rows)
    assert len(load_apdu_names()) == len(rows) == len({row["name"] for row in rows})


def test_names_are_those_of_the_standard() -> None:
    names = {
        0x0F: "data-notification",
        0x60: "aarq",
        0xC0: "get-request",
        0xDB: "general-glo-ciphering",
    }
    assert {tag: apdu_name(tag) for tag in names} == names
    assert apdu_name(0x00) is None


def test_the_ciphered_tags_are_the_glo_and_ded_names() -> None:
    named = {tag for tag, name in load_apdu_names().items() if "glo-" in name or "ded-" in name}
    assert named == CIPHERED_TAGS
