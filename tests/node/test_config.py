from pathlib import Path

import pytest

from zegel.errors import ConfigError
from zegel.node.config import Config, load, show


def written(folder: Path, text: str) -> Path:
    path = folder / "zegel.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_every_setting_has_its_default() -> None:
    assert load() == Config()


def test_a_flag_beats_the_environment_which_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[edge]\nport = 1\nidle_s = 5\n[console]\nport = 1\n")
    monkeypatch.setenv("ZEGEL_EDGE_PORT", "2")
    monkeypatch.setenv("ZEGEL_CONSOLE_PORT", "2")
    config = load(path, {"console.port": 3, "console.host": None})
    assert (config.edge.port, config.edge.idle_s, config.console.port) == (2, 5.0, 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[edge]\nporte = 1\n", r"\[edge\] porte"),
        ("[egde]\nport = 1\n", r"\[egde\]"),
        ("port = 1\n", "port"),
        ('[edge]\nport = "x"\n', r"\[edge\]"),
        ("[edge]\nport = 70000\n", r"\[edge\] port"),
        ("[edge]\nidle_s = -1\n", r"\[edge\] idle_s"),
        ("[edge\n", "zegel.toml"),
    ],
)
def test_a_wrong_setting_is_exit_2_and_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        load(written(tmp_path, text))
    assert caught.value.exit_code == 2


def test_an_unknown_key_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEGEL_EDGE_PROT", "2")
    with pytest.raises(ConfigError, match="ZEGEL_EDGE_PROT"):
        load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")


def test_what_is_shown_loads_again_as_the_same() -> None:
    config = load(None, {"edge.port": 0})
    flat = {f"{s}.{k}": v for s, keys in show(config).items() for k, v in keys.items()}
    assert load(None, flat) == config


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("node.time_zone", "Nowhere/X"),
        ("node.time_zone", "../../etc/passwd"),
        ("edge.idle_s", "nan"),
        ("edge.frame_s", "inf"),
        ("edge.reserved", 3.0),
        ("edge.max_connections", 0),
        ("edge.max_apdu", 100_000),
        ("spool.max_unread_segments", 0),
        ("spool.segment_bytes", 0),
        ("vault.provider", "pkcs11"),
        ("registry.url", "postgresql://user:hunter2@host/db"),
    ],
)
def test_a_value_with_which_no_node_works_is_named(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting.partition(".")[2]) as caught:
        load(None, {setting: value})
    assert "hunter2" not in str(caught.value)
