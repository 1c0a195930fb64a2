"""Configuration: flag > `ZEGEL_SECTION_KEY` > TOML file > default. Secrets only by `*_file`."""

import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from zegel.errors import ConfigError

__all__ = [
    "Config",
    "ConsoleConfig",
    "EdgeConfig",
    "NodeConfig",
    "RegistryConfig",
    "SpoolConfig",
    "StoreConfig",
    "VaultConfig",
    "load",
    "show",
]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class NodeConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The node itself."""

    name: str = "node"  # shown to people; no code depends on it
    data_dir: str = "./zegel-data"
    run_dir: str = ""  # Unix sockets; default: DATA/run
    users: int = 0  # first of 8 numeric users for the zones (root only); 0: chosen, then kept
    time_zone: str = "Europe/Amsterdam"


class EdgeConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The receiver."""

    host: str = "127.0.0.1"
    port: int = 9598
    udp: bool = True
    max_apdu: int = 32_768  # bytes; a day of quarter hours takes 2 736
    max_connections: int = 8_000
    max_per_peer: int = 0  # connections per peer address; 0: no limit (meters sit behind gateways)
    idle_s: float = 30.0
    frame_s: float = 20.0  # time for one frame once it has begun
    peer_rate: float = 0.0  # frames/s per peer address; 0: no limit
    title_rate: float = 2.0  # frames/s per system title and peer
    title_burst: int = 50
    reserved: float = 0.25  # share kept for titles that authenticated lately
    max_titles: int = 200_000


class SpoolConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The durable log between edge and store."""

    segment_bytes: int = 8_000_000
    segment_s: float = 0.5  # how long a frame may wait for its segment to fill
    commit_ms: float = 2.0  # least time between two group commits
    max_unread_segments: int = 64  # above it the edge stops reading


class VaultConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The keys."""

    provider: str = "file"
    key_file: str = ""  # operator key; default: DATA/vault/operator.key


class StoreConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The readings."""

    max_memory: int = 2_000_000_000  # bytes, of the engine
    quarantine_per_source: int = 1_000  # bodies kept per peer and reason
    quarantine_total_bytes: int = 200_000_000
    layouts: int = 64
    layout_compile_after: int = 8


class RegistryConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The registry of meters and connections."""

    url: str = ""  # SQLAlchemy URL; default: SQLite in DATA/store


class ConsoleConfig(_Section, frozen=True, forbid_unknown_fields=True):
    """The API."""

    host: str = "127.0.0.1"
    port: int = 8480
    token_file: str = ""  # default: DATA/console/token


class Config(_Section, frozen=True, forbid_unknown_fields=True):
    """All settings of a node."""

    node: NodeConfig = NodeConfig()
    edge: EdgeConfig = EdgeConfig()
    spool: SpoolConfig = SpoolConfig()
    vault: VaultConfig = VaultConfig()
    store: StoreConfig = StoreConfig()
    registry: RegistryConfig = RegistryConfig()
    console: ConsoleConfig = ConsoleConfig()

    def data(self, zone: str = "") -> Path:
        """Return the data directory, or a zone's folder in it."""
        root = Path(self.node.data_dir).absolute()
        return root / zone if zone else root

    def run(self) -> Path:
        """Return the directory of the Unix sockets."""
        return Path(self.node.run_dir).absolute() if self.node.run_dir else self.data("run")

    def spool_dir(self) -> Path:
        """Return the folder of the spool's segments."""
        return self.data("edge") / "spool"

    def token_file(self) -> Path:
        """Return the file of the API token that is made at first start."""
        named = self.console.token_file
        return Path(named).absolute() if named else self.data("console") / "token"


_PROVIDERS = ("file",)
_RANGES = (
    (("edge", "port"), 0, 65_535),
    (("edge", "max_apdu"), 64, 65_535),  # the wrapper's length field has 16 bits
    (("edge", "max_connections"), 1, 1_000_000),
    (("edge", "reserved"), 0, 0.9),
    (("edge", "idle_s"), 1, 86_400),
    (("edge", "frame_s"), 1, 86_400),
    (("spool", "segment_bytes"), 10_000, 12_000_000),  # a segment fits in one message
    (("spool", "segment_s"), 0.01, 60),
    (("spool", "commit_ms"), 0, 1_000),
    (("spool", "max_unread_segments"), 2, 100_000),
    (("store", "max_memory"), 100_000_000, 1e13),
    (("store", "layouts"), 1, 10_000),
    (("store", "layout_compile_after"), 1, 10_000),
    (("console", "port"), 0, 65_535),
)
_SECTIONS: dict[str, type[Any]] = get_type_hints(Config)


def load(path: str | Path | None = None, flags: Mapping[str, object] | None = None) -> Config:
    """Read the settings. `flags` are `{"edge.port": 9000}`; None values are left out.

    Raises:
        ConfigError: unreadable file, wrong TOML, an unknown section or key, a wrong type.
    """
    tree: dict[str, dict[str, Any]] = {}
    if path is not None:
        tree = _read(Path(path))
    for name, value in os.environ.items():
        _from_environment(tree, name, value)
    for dotted, flag in (flags or {}).items():
        if flag is not None:
            section, _, key = dotted.partition(".")
            tree.setdefault(section, {})[key] = flag
    return _check(tree)


def show(config: Config) -> dict[str, dict[str, Any]]:
    """Return all settings as sections of plain values."""
    built: dict[str, dict[str, Any]] = msgspec.to_builtins(config)
    return built


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("configuration file", where=str(path), found=error.strerror) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("configuration file", where=str(path), found=error) from error
    for section, keys in tree.items():
        if not isinstance(keys, dict):
            raise ConfigError(
                "unknown key", where=f"{path}, {section}", expected=f"[{'] ['.join(_SECTIONS)}]"
            )
    return tree


def _from_environment(tree: dict[str, dict[str, Any]], name: str, value: str) -> None:
    prefix, _, rest = name.partition("_")
    section, _, key = rest.lower().partition("_")
    if prefix != "ZEGEL" or section not in _SECTIONS or not key:
        return  # ZEGEL_URL and the like are not settings of a node
    hints = get_type_hints(_SECTIONS[section])
    if key not in hints:
        raise ConfigError("unknown key", where=name, expected=", ".join(sorted(hints)))
    tree.setdefault(section, {})[key] = value


def _check(tree: dict[str, dict[str, Any]]) -> Config:
    built = {}
    for section, keys in tree.items():
        if section not in _SECTIONS:
            raise ConfigError(
                "unknown section", where=f"[{section}]", expected=", ".join(_SECTIONS)
            )
        hints = get_type_hints(_SECTIONS[section])
        for key in keys:
            if key not in hints:
                raise ConfigError(
                    "unknown key",
                    where=f"[{section}] {key}",
                    expected=", ".join(sorted(hints)),
                )
        try:
            built[section] = msgspec.convert(keys, _SECTIONS[section], strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError("wrong value", where=f"[{section}]", found=error) from error
    config = Config(**built)
    _limits(config)
    return config


def _limits(config: Config) -> None:
    """Refuse values with which a node could not work.

    Raises:
        ConfigError: the first of them, by section and key.
    """
    for section, keys in show(config).items():
        for key, value in keys.items():
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                _wrong(f"[{section}] {key}", "a finite number >= 0", value)
    for where, least, most in _RANGES:
        section, key = where
        value = getattr(getattr(config, section), key)
        if not least <= value <= most:
            _wrong(f"[{section}] {key}", f"{least:g} to {most:g}", value)
    if config.vault.provider not in _PROVIDERS:
        _wrong("[vault] provider", ", ".join(_PROVIDERS), config.vault.provider)
    try:
        ZoneInfo(config.node.time_zone)
    except (ValueError, OSError, KeyError):  # the last is what an unknown name raises
        _wrong("[node] time_zone", "a name of the IANA database", config.node.time_zone)
    if urlsplit(config.registry.url).password is not None:
        _wrong("[registry] url", "no password: use a socket or a password file", "one")


def _wrong(where: str, expected: str, found: object) -> NoReturn:
    raise ConfigError("wrong value", where=where, expected=expected, found=found)
