import stat
from pathlib import Path

import pytest

from zegel.errors import ConfigError, DamagedError
from zegel.vault.providers import FileProvider, Provider, open_provider
from zegel.vault.providers.check import check_provider


def test_the_file_provider_passes_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    check_provider(lambda: open_provider("file", path, fresh=True))


class Forgetful(FileProvider):
    """A provider that binds an envelope to nothing."""

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        return super().wrap(plaintext, b"")

    def unwrap(self, envelope: bytes, associated: bytes) -> bytes:
        return super().unwrap(envelope, b"")


class Constant(FileProvider):
    """A provider that uses one nonce for ever."""

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        return bytes(12) + self._cipher.encrypt(bytes(12), plaintext, associated)


class Open(FileProvider):
    """A provider that ciphers nothing."""

    def wrap(self, plaintext: bytes, associated: bytes) -> bytes:
        return super().wrap(plaintext, associated)[:12] + plaintext + bytes(16)

    def unwrap(self, envelope: bytes, associated: bytes) -> bytes:
        return envelope[12:-16]


@pytest.mark.parametrize("kind", [Forgetful, Constant, Open])
def test_the_suite_finds_a_provider_that_is_wrong(kind: type[FileProvider]) -> None:
    def make() -> Provider:
        return kind(bytes(32))

    with pytest.raises(AssertionError):
        check_provider(make)


def test_the_key_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    FileProvider.open(path, make=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    assert [entry.name for entry in tmp_path.iterdir()] == ["operator.key"]


def test_an_existing_key_is_never_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    envelope = FileProvider.open(path, make=True).wrap(b"secret", b"")
    assert FileProvider.open(path, make=True).unwrap(envelope, b"") == b"secret"


def test_a_missing_key_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"operator key; .*key_file"):
        FileProvider.open(tmp_path / "operator.key", make=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "operator.key"
    path.write_bytes(bytes(32))
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"mode of the operator key.*expected 0600"):
        FileProvider.open(path, make=False)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "operator.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="expected 32 bytes"):
        FileProvider.open(path, make=False)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="operator key"):
        FileProvider.open(tmp_path / "none" / "operator.key", make=True)


def test_an_unknown_provider_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown provider.*expected file; found cloud"):
        open_provider("cloud", tmp_path / "k", fresh=True)


def test_another_operator_key_opens_nothing() -> None:
    envelope = FileProvider(bytes(32)).wrap(b"secret", b"")
    with pytest.raises(DamagedError):
        FileProvider(b"\1" * 32).unwrap(envelope, b"")
