import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zegel.errors import ConfigError, ConflictError, ZegelError
from zegel.node import datadir
from zegel.node.config import Config, NodeConfig


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that the zones' users can pass, which pytest's own cannot be."""
    path = Path(tempfile.mkdtemp(prefix="zd"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def config(path: Path, **more: object) -> Config:
    return Config(node=NodeConfig(data_dir=str(path), **more))  # type: ignore[arg-type]


def prepared(path: Path, **more: object) -> None:
    datadir.prepare(config(path, **more)).close()


def test_a_new_data_directory_gets_a_version_and_a_folder_per_zone(root: Path) -> None:
    prepared(root / "data")
    assert (root / "data/VERSION").read_text() == "1\n"
    for zone in ("vault", "store", "console"):
        assert (root / "data" / zone).stat().st_mode & 0o777 == 0o700
    assert (root / "data/edge").stat().st_mode & 0o777 == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="users are given only by root; tested in that run")
def test_as_root_each_zone_owns_its_folder_and_keeps_its_user(root: Path) -> None:
    prepared(root / "data")
    owners = {z: (root / "data" / z).stat().st_uid for z in ("edge", "vault", "store", "console")}
    assert len(set(owners.values())) == 4
    assert 0 not in owners.values()
    prepared(root / "data")
    assert owners["vault"] == (root / "data/vault").stat().st_uid


def test_a_second_node_on_the_same_directory_is_refused(root: Path) -> None:
    first = datadir.prepare(config(root / "data"))
    try:
        with pytest.raises(ConflictError, match="in use"):
            prepared(root / "data")
    finally:
        first.close()


@pytest.mark.parametrize(
    ("version", "words"), [("2", "newer than this program"), ("x", "an integer")]
)
def test_a_version_that_is_not_ours_is_refused_and_named(
    root: Path, version: str, words: str
) -> None:
    prepared(root / "data")
    (root / "data/VERSION").write_text(version)
    with pytest.raises(ZegelError, match=words) as caught:
        prepared(root / "data")
    assert "VERSION" in str(caught.value)


def test_a_folder_with_other_things_in_it_is_not_taken(root: Path) -> None:
    (root / "holiday.jpg").write_text("x")
    with pytest.raises(ConfigError, match=r"holiday\.jpg"):
        prepared(root)


def test_a_test_node_takes_only_a_folder_that_it_makes(root: Path) -> None:
    prepared(root / "data")
    with pytest.raises(ConflictError, match="test node"):
        datadir.prepare(config(root / "data"), must_be_new=True)


def test_an_unwritable_place_is_named(root: Path) -> None:
    (root / "file").write_text("x")
    with pytest.raises(ConfigError, match="file"):
        prepared(root / "file" / "data")


def test_a_run_directory_too_long_for_a_socket_is_named(root: Path) -> None:
    with pytest.raises(ConfigError, match="run_dir"):
        prepared(root / "data", run_dir=str(root / ("r" * 100)))


@pytest.mark.skipif(os.geteuid() != 0, reason="without root all zones share one user")
def test_as_root_a_parent_that_zone_users_cannot_pass_is_named(root: Path) -> None:
    (root / "closed").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="closed"):
        prepared(root / "closed" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's start could give a folder away")
def test_a_link_that_a_taken_edge_left_gives_nothing_away_at_the_next_start(root: Path) -> None:
    prepared(root / "data")
    spool, vault = root / "data/edge/spool", root / "data/vault"
    before = vault.stat()
    spool.symlink_to(vault)
    prepared(root / "data")
    after = vault.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid, before.st_gid, before.st_mode,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="users are given only by root; tested in that run")
def test_a_lost_users_file_does_not_change_the_users(root: Path) -> None:
    prepared(root / "data")
    owner = (root / "data/store").stat().st_uid
    (root / "data/users.json").unlink()
    prepared(root / "data")
    assert (root / "data/store").stat().st_uid == owner


@pytest.mark.skipif(os.geteuid() != 0, reason="users are given only by root; tested in that run")
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"first": "x"}', '{"first": -1}'])
def test_a_broken_users_file_is_named_and_the_lock_is_given_back(root: Path, text: str) -> None:
    prepared(root / "data")
    whole = (root / "data/users.json").read_text()
    (root / "data/users.json").write_text(text)
    with pytest.raises(ZegelError, match=r"users\.json"):
        prepared(root / "data")
    (root / "data/users.json").write_text(whole)
    prepared(root / "data")
