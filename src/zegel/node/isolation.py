"""What the kernel enforces between zones: users, an empty network namespace, no core to read.

As root each zone drops to its own numeric user; vault and store first enter a network
namespace without interfaces. With one shared user, `PR_SET_DUMPABLE 0` keeps a sibling from
reading the zone's memory; it does not keep it from the zone's files.
"""

import ctypes
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

from zegel.errors import StorageError

__all__ = [
    "Users",
    "drop_to",
    "enter_empty_network",
    "hide_memory",
    "network_is_empty",
    "open_way_to",
    "traversable",
]

_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 4096, 16384, 1 << 19
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numeric users of a node's zones; all zero when not started as root.

    `spool` is the group that edge and store share for the sealed segments.
    """

    edge: int = 0
    vault: int = 0
    store: int = 0
    console: int = 0
    spool: int = 0

    @classmethod
    def from_base(cls, base: int) -> "Users":
        """Lay the zones' users out from `base` on."""
        return cls(edge=base, vault=base + 1, store=base + 2, console=base + 3, spool=base + 4)

    def of(self, zone: str) -> int:
        """Return the user of `zone`; 0 means that zones share the starting user."""
        user: int = getattr(self, zone)
        return user


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def enter_empty_network() -> bool:
    """Move this process into a new network namespace without interfaces (needs root).

    Call it before any thread exists. Returns False where the kernel refuses.
    """
    return bool(_libc().unshare(_CLONE_NEWNET) == 0)


def open_way_to(folders: Iterable[Path]) -> bool:
    """Let other users reach `folders` by their paths, in this process's view only (needs root).

    A program may be installed below a folder that others cannot pass, such as root's home.
    In a mount namespace of our own such a folder is covered by an empty one, in which nothing
    but `folders` stands. Returns False where the kernel refuses. Nothing is done where every
    folder can be reached already.
    """
    wanted = {folder: closed for folder in folders if (closed := traversable(folder / "x"))}
    roots = [f for f in wanted if not any(other in f.parents for other in wanted)]
    if not roots:
        return True
    # a slave: what is unmounted outside does not live on in here
    if _libc().unshare(_CLONE_NEWNS) != 0 or not _mount("none", Path("/"), _MS_REC | _MS_SLAVE):
        return False
    # held before they are covered, and in the new namespace: the kernel binds no other
    held = {folder: os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in roots}
    try:
        for closed in sorted({wanted[folder] for folder in roots}):
            if not _mount("tmpfs", closed, _MS_NOSUID | _MS_NODEV, "tmpfs", "mode=0711,size=64k"):
                return False
        for folder, fd in held.items():
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            for parent in (folder, *folder.parents):
                if parent == wanted[folder]:
                    break
                parent.chmod(0o711)
            if not _mount(f"/proc/self/fd/{fd}", folder, _MS_BIND | _MS_REC):
                return False
    finally:
        for fd in held.values():
            os.close(fd)
    return True


def _mount(source: str, target: Path, flags: int, kind: str = "", options: str = "") -> bool:
    """Call mount(2); a second bind or tmpfs hides what lies under it."""
    done = _libc().mount(
        source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode() or None
    )
    return bool(done == 0)


def network_is_empty() -> bool:
    """Tell whether this process sees no interface but a loopback that is down."""
    names = [name for _, name in socket.if_nameindex()]
    if names not in ([], ["lo"]):
        return False
    state = Path("/sys/class/net/lo/operstate")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("127.0.0.1", 9))
        except OSError:
            return True
    return not state.exists()


def drop_to(user: int, groups: tuple[int, ...] = ()) -> None:
    """Become `user` for good, with no way back.

    Raises:
        StorageError: the drop did not hold; the zone must not go on.
    """
    os.setgroups(list(groups))
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise StorageError("user", where="dropping privileges", expected=user, found=os.getuid())


def hide_memory() -> None:
    """Forbid core dumps, ptrace and /proc/PID/mem by the same user, and new privileges."""
    libc = _libc()
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise StorageError(
                "prctl", where=f"option {option}", found=os.strerror(ctypes.get_errno())
            )


def traversable(path: Path) -> Path | None:
    """Return the first folder above `path` that other users cannot pass through, or None."""
    for folder in reversed(path.absolute().parents):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            return folder
    return None
