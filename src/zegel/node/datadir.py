"""The data directory: a folder per zone, a `VERSION` integer, and who owns what."""

import fcntl
import json
import os
import secrets
from pathlib import Path

from zegel.calls.table import ZONES
from zegel.errors import ConfigError, ConflictError, StorageError
from zegel.node.config import Config
from zegel.node.isolation import Users, traversable

__all__ = ["VERSION", "DataDirectory", "prepare"]

VERSION = 1
_FIRST_USER, _LAST_USER = 61_200, 65_400  # below what distributions give to people
_BEFORE_VERSION = ("LOCK", "run", "VERSION.new")  # what a start leaves that was cut short
_SUN_PATH = 107  # bytes of a Unix socket's path, sockaddr_un without its NUL


class DataDirectory:
    """A prepared data directory; holds its lock until `close`."""

    def __init__(self, root: Path, run: Path, users: Users, lock: int) -> None:
        self.root, self.run, self.users = root, run, users
        self._lock = lock

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)


def prepare(config: Config, *, must_be_new: bool = False) -> DataDirectory:
    """Make or check the data directory, lock it, and lay the folders out.

    Raises:
        ConfigError: not writable, a parent that zone users cannot pass, socket path too long.
        ConflictError: another node runs on it, or a newer version wrote it.
    """
    root, run = config.data(), config.run()
    try:
        _check_sockets(run)
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = _lock(root)
        try:
            _version(root, must_be_new=must_be_new)
            users = _users(root, config.node.users) if os.geteuid() == 0 else Users()
            _folders(root, run, users)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise ConfigError(
            "data directory", where=str(error.filename or root), found=error.strerror
        ) from error
    return DataDirectory(root, run, users, lock)


def _check_sockets(run: Path) -> None:
    longest = max(len(os.fsencode(run / a / f"{b}.sock")) for a in ZONES for b in ZONES)
    if longest > _SUN_PATH:
        raise ConfigError(
            "run directory too long for Unix sockets",
            where=f"[node] run_dir {run}",
            expected=f"<= {_SUN_PATH} bytes with the socket's name",
            found=longest,
        )


def _lock(root: Path) -> int:
    lock = os.open(root / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConflictError(
            "data directory in use", where=str(root), expected="one node", found="another node"
        ) from error
    return lock


def _version(root: Path, *, must_be_new: bool) -> None:
    path = root / "VERSION"
    if not path.exists():
        others = [p.name for p in root.iterdir() if p.name not in _BEFORE_VERSION]
        if others:
            raise ConfigError(
                "data directory",
                where=str(root),
                expected="an empty folder or a node's own",
                found=f"{others[0]} and no VERSION",
            )
        _keep(path, f"{VERSION}\n")
        return
    if must_be_new:
        raise ConflictError("a test node takes only a folder it made", where=str(root))
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not text.isdecimal():
        raise StorageError("data version", where=str(path), expected="an integer", found=text[:40])
    if int(text) > VERSION:
        raise ConflictError(
            "data version is newer than this program",
            where=str(path),
            expected=f"<= {VERSION}",
            found=text,
        )


def _keep(path: Path, text: str) -> None:
    """Write a small file durably: after a power cut it is there whole, or not at all."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _users(root: Path, configured: int) -> Users:
    """Return the zones' users: configured, else chosen once and kept beside the data."""
    if configured:
        return Users.from_base(configured)
    path = root / "users.json"
    if path.exists():
        return Users.from_base(_kept_base(path))
    if (root / "edge").exists():  # the file was lost; who owns the folders was not
        return Users.from_base((root / "edge").stat().st_uid)
    base = _FIRST_USER + 8 * secrets.randbelow((_LAST_USER - _FIRST_USER) // 8)
    _keep(path, json.dumps({"first": base}))
    return Users.from_base(base)


def _kept_base(path: Path) -> int:
    try:
        base = json.loads(path.read_bytes())["first"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            "users of the zones", where=str(path), expected='{"first": NUMBER}', found=error
        ) from error
    if not isinstance(base, int) or base <= 0:
        raise StorageError(
            "users of the zones", where=str(path), expected="a positive number", found=base
        )
    return base


def _folders(root: Path, run: Path, users: Users) -> None:
    """Make the folders that zones own. Inside them nothing is touched here.

    Whoever owns a folder can put a link where root would look; so what lies in a zone's folder
    is made by the zone itself, after the drop. The edge's group and setgid bit pass to what it
    makes: that is how the store may read the spool.
    """
    _folder(run, 0o711)
    for zone in ZONES:
        _folder(run / zone, 0o711)
        folder = root / zone
        _folder(folder, 0o750 if zone == "edge" else 0o700)
        if users.edge:
            group = users.spool if zone == "edge" else users.of(zone)
            _own(folder, users.of(zone), group)
    if users.edge:
        (root / "edge").chmod(0o2750)
        _check_reach(root / "edge")


def _check_reach(folder: Path) -> None:
    blocked = traversable(folder)
    if blocked is not None:
        raise ConfigError(
            "data directory cannot be reached by the zones' users",
            where=str(blocked),
            expected="mode o+x",
            found=oct(blocked.stat().st_mode & 0o777),
        )


def _folder(path: Path, mode: int) -> None:
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(mode)


def _own(path: Path, user: int, group: int) -> None:
    stat = path.stat()
    if (stat.st_uid, stat.st_gid) != (user, group):
        os.chown(path, user, group)
