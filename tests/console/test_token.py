"""The API token: made once, for its owner only, and never shown."""

from pathlib import Path

import pytest

from zegel.console.token import Token, load_or_make
from zegel.errors import ConfigError, StorageError


def test_the_first_start_makes_a_token_that_the_next_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "token"
    first = load_or_make(path)
    text = path.read_text(encoding="ascii").strip()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(text) >= 43
    assert first.fits(f"Bearer {text}")
    assert load_or_make(path).fits(f"Bearer {text}")
    assert [file.name for file in tmp_path.iterdir()] == ["token"]


def test_two_nodes_have_two_tokens(tmp_path: Path) -> None:
    for name in ("a", "b"):
        load_or_make(tmp_path / name)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic secret" + "x" * 40,
        "secret",
        "Bearer SECRET",
        "\ufffd \ufffd",
    ],
)
def test_what_is_not_the_token_does_not_fit(header: str) -> None:
    assert not Token("secret" + "x" * 40).fits(header)


def test_a_token_does_not_show_itself() -> None:
    token = Token("secret" + "x" * 40)
    assert "secret" not in repr(token) + str(token) + str(vars_of(token))


def vars_of(token: Token) -> list[object]:
    return [getattr(token, name) for name in token.__slots__]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    load_or_make(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode of the token file.*found {mode:o}"):
        load_or_make(path)


@pytest.mark.parametrize("text", [b"", b"short\n", b"\xff" * 40])
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="token"):
        load_or_make(path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent/token"):
        load_or_make(tmp_path / "absent" / "token")
