import copy
import pickle
import traceback

import pytest

from zegel.cosem.keys import Key
from zegel.errors import SecurityError

SECRET = "36C66639E48A8CA4D6BC8B282A793BBB"


def test_a_key_shows_kind_and_version_and_never_its_bytes() -> None:
    key = Key.from_hex(SECRET, kind="guek", version=3)
    for text in (repr(key), str(key), f"{key}", f"{key!r:>40}", repr([key]), repr({"k": key})):
        assert "guek" in text
        assert SECRET.lower() not in text.lower()
        assert repr(key.reveal()) not in text
    assert not hasattr(key, "__dict__")


def test_a_key_is_compared_by_its_bytes_and_is_in_no_set() -> None:
    key = Key.from_hex(SECRET, kind="guek")
    assert key == Key.from_hex(SECRET.lower(), kind="gak")
    assert key != Key(bytes(16), kind="guek")
    assert key != bytes.fromhex(SECRET)
    with pytest.raises(TypeError):
        hash(key)


def test_a_key_is_neither_pickled_nor_copied() -> None:
    key = Key.from_hex(SECRET, kind="guek")
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copier(key)


@pytest.mark.parametrize("text", ["", "00", SECRET + "00", "not hex at all!"])
def test_a_key_of_another_form_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SecurityError) as caught:
        Key.from_hex(text, kind="guek")
    shown = "".join(traceback.format_exception_only(caught.value))
    assert not text or text not in shown


def test_both_key_lengths_are_accepted() -> None:
    assert len(Key(bytes(16), kind="k")) == 16
    assert len(Key(bytes(32), kind="k")) == 32
