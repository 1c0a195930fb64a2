import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.cosem.obis import Obis
from zegel.errors import MalformedError

FORMS = {
    "1-0:1.8.0": "1-0:1.8.0.255",
    "1-0:1.8.0.255": "1-0:1.8.0.255",
    "1-1:1.8.0*255": "1-1:1.8.0.255",
    "1-0:1.8.0&3": "1-0:1.8.0.3",
    "1-0:1.8.0.0": "1-0:1.8.0.0",
    "1.0.1.8.0.255": "1-0:1.8.0.255",
    "0-4:24.2.1": "0-4:24.2.1.255",
}


@pytest.mark.parametrize(("text", "printed"), FORMS.items(), ids=FORMS)
def test_every_written_form_prints_alike(text: str, printed: str) -> None:
    assert str(Obis.parse(text)) == printed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1-0:1.8",
        "1.8.0",
        "16-0:1.8.0",
        "1-256:1.8.0",
        "1-0:1.8.256",
        "1-0:1.8.0.256",
        "1-0:1.8.0 ",
        "1-0:1.8.0.255.1",
        "a-b:c.d.e",
        "1-0:1.8.٣",
        "1.0.1.8.0",
        "-1-0:1.8.0",
        "1-0:1.8.0\n",
    ],
)
def test_other_text_and_groups_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Obis.parse(text)


@given(st.tuples(st.integers(0, 15), *[st.integers(0, 255)] * 5))
def test_a_code_survives_its_bytes_and_its_text(groups: tuple[int, ...]) -> None:
    code = Obis(*groups)
    assert Obis.decode(code.encode()) == code
    assert Obis.parse(str(code)) == code


@pytest.mark.parametrize("data", [b"", b"\1\0\1\x08\0", b"\x10\0\1\x08\0\xff"])
def test_bytes_that_are_no_logical_name_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Obis.decode(data)


def test_a_group_out_of_range_is_not_encoded() -> None:
    with pytest.raises(MalformedError, match="group F"):
        Obis(1, 0, 1, 8, 0, 256).encode()
