"""What a process of some user reaches in a running node: run as a child, once for many users.

`python -m helpers.callers`: an `Order` on standard input, a `Found` on standard output. As root
the child becomes each user in turn, in a fork of its own. A stolen zone can do no more than this.
"""

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

import zegel
from zegel.calls.base import PROTOCOL, Call, Failure, Hello, Reply
from zegel.calls.table import TABLE
from zegel.node.link import request

__all__ = ["CALLS", "Found", "Order", "Trial", "attempts"]

CALLS = sorted({kind for row in TABLE.values() for kind in row}, key=lambda kind: kind.__name__)
CLONE_NEWNET = 0x40000000


class Trial(msgspec.Struct):
    """Who tries; `groups` as the zone has them."""

    user: int
    groups: list[int] = []


class Order(msgspec.Struct):
    """Where to try."""

    who: list[Trial]
    sockets: list[str]
    paths: list[str]
    pids: list[int]


class Found(msgspec.Struct):
    """What one user reached.

    `sockets`: the calls that were answered, or why there was none. `paths`, `memory`: "open", or
    the name of the error. `signals`: pids that could be sent a signal.
    """

    sockets: dict[str, list[str] | str]
    read: dict[str, str]
    written: dict[str, str]
    memory: dict[int, str]
    signals: list[int]


def attempts(order: Order) -> list[Found]:
    """Try everything as each user, in a child process."""
    done = subprocess.run(
        [sys.executable, "-m", "helpers.callers"],
        input=msgspec.json.encode(order),
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return [msgspec.json.decode(line, type=Found) for line in done.stdout.splitlines()]


def reaches(pid: int, port: int) -> bool:
    """Tell whether the network of process `pid` leads to the local port (needs root)."""
    code = (
        "import ctypes, os, socket, sys\n"
        f"fd = os.open('/proc/{pid}/ns/net', os.O_RDONLY)\n"
        f"assert ctypes.CDLL(None).setns(fd, {CLONE_NEWNET}) == 0\n"
        f"sys.exit(socket.socket().connect_ex(('127.0.0.1', {port})) == 0)\n"
    )
    return subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 1


def _try_all(order: Order) -> Found:
    return Found(
        sockets={path: _calls(path) for path in order.sockets},
        read={path: _outcome(_read, Path(path)) for path in order.paths},
        written={path: _outcome(_write, Path(path)) for path in order.paths},
        memory={pid: _outcome(_read, Path(f"/proc/{pid}/mem")) for pid in order.pids},
        signals=[pid for pid in order.pids if _outcome(_signal, pid) == "open"],
    )


def _outcome(attempt: Callable[..., None], *arguments: object) -> str:
    try:
        attempt(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "open"


def _read(path: Path) -> None:
    if path.is_dir():
        next(path.iterdir(), None)
    else:
        os.close(os.open(path, os.O_RDONLY))


def _write(path: Path) -> None:
    if path.is_dir():
        new = path / "intruder"
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        new.unlink()
    else:
        os.close(os.open(path, os.O_WRONLY))


def _signal(pid: int) -> None:
    os.kill(pid, 0)


def _calls(path: str) -> list[str] | str:
    """Return the names of the calls that are answered on a socket, each on its own link."""
    answered = []
    for kind in CALLS:
        try:
            reply = _call(path, kind)
        except EOFError:
            return "cut off"
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        if not (isinstance(reply, Failure) and (reply.code, reply.what) == ("refused", "call")):
            answered.append(kind.__name__)
    return answered


def _call(path: str, kind: type[Call]) -> Reply:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(path)
        try:
            for message in (request(1, Hello(PROTOCOL, zegel.__version__), 5.0), sample(kind)):
                link.sendall(struct.pack(">I", len(message)) + message)
            _receive(link)  # the welcome
            return _receive(link)
        except ConnectionError as error:
            raise EOFError from error


def _receive(link: socket.socket) -> Reply:
    (length,) = struct.unpack(">I", _exactly(link, 4))
    reply: Reply = msgspec.msgpack.decode(_exactly(link, length), type=Reply)
    return reply


def _exactly(link: socket.socket, size: int) -> bytes:
    data = link.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        raise EOFError
    return data


def sample(kind: type[Call]) -> bytes:
    """Write a request of this kind; every field that must be there has a value of its type."""
    plain: dict[str, object] = {"type": kind.__name__}
    for field in msgspec.structs.fields(kind):
        if field.default is msgspec.NODEFAULT:
            value = {int: 1, bytes: b"x", str: "x", memoryview: b"x"}.get(field.type, [])
            plain[field.name] = value
    return msgspec.msgpack.encode([2, 5000, msgspec.Raw(msgspec.msgpack.encode(plain))])


def _as_user(trial: Trial, order: Order) -> bytes:
    """Fork, become the user, try, and hand the outcome back."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setgroups(trial.groups)
                os.setresgid(trial.user, trial.user, trial.user)
                os.setresuid(trial.user, trial.user, trial.user)
            os.write(write, msgspec.json.encode(_try_all(order)))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    for trial in order.who:
        sys.stdout.buffer.write(_as_user(trial, order) + b"\n")


if __name__ == "__main__":
    main()
