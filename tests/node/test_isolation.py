import os
import subprocess
import sys
from pathlib import Path

import pytest

from zegel.node.isolation import Users, traversable

ROOT = os.geteuid() == 0


def child(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout.strip() or done.stderr.strip()


def test_every_zone_has_its_own_user() -> None:
    users = Users.from_base(61_200)
    assert len({users.of(zone) for zone in ("edge", "vault", "store", "console")}) == 4


@pytest.mark.skipif(not ROOT, reason="needs root; the run as root has it")
def test_a_dropped_process_cannot_come_back() -> None:
    code = (
        "import os\nfrom zegel.node.isolation import drop_to\ndrop_to(61300)\n"
        "try:\n    os.setuid(0)\nexcept PermissionError:\n    print(os.getresuid())\n"
    )
    assert child(code) == "(61300, 61300, 61300)"


@pytest.mark.skipif(not ROOT, reason="needs root; the run as root has it")
def test_an_empty_network_reaches_nothing_not_even_loopback() -> None:
    code = (
        "from zegel.node.isolation import *\n"
        "print(network_is_empty(), enter_empty_network(), network_is_empty())\n"
    )
    assert child(code) == "False True True"


def test_hidden_memory_cannot_be_read_by_the_same_user() -> None:
    code = (
        "import os, sys\nfrom zegel.node.isolation import drop_to, hide_memory\n"
        "if os.geteuid() == 0:\n    drop_to(61301)\n"
        "guard = sys.argv[1:] != ['off']\n"
        "read, write = os.pipe()\npid = os.fork()\n"
        "if pid == 0:\n    hide_memory() if {guard} else None\n    os.write(write, b'x')\n"
        "    os.read(os.pipe()[0], 1)\n"
        "os.read(read, 1)\n"
        "try:\n    open(f'/proc/{{pid}}/mem', 'rb').close(); print('open')\n"
        "except PermissionError:\n    print('closed')\n"
        "os.kill(pid, 9)\n"
    )
    assert child(code.format(guard=True)) == "closed"
    # a process that dropped its user is not dumpable until it executes again, so the
    # control of this guard can only be seen where no user was dropped
    if not ROOT:
        assert child(code.format(guard=False)) == "open"


def test_the_first_closed_folder_above_a_path_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "a" / "b"
    (closed / "c").mkdir(parents=True)
    closed.chmod(0o700)
    found = traversable(closed / "c" / "d")
    assert found is not None
    assert not found.stat().st_mode & 0o001


@pytest.mark.skipif(not ROOT, reason="needs root; the run as root has it")
@pytest.mark.parametrize("opened", [True, False])
def test_a_program_below_a_closed_folder_is_reached_only_where_a_way_was_opened(
    tmp_path: Path, *, opened: bool
) -> None:
    program = tmp_path / "closed" / "deep" / "program"
    program.mkdir(parents=True)
    (program / "code.txt").write_text("x")
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "closed" / "other.txt").write_text("secret")
    code = (
        "import os\nfrom pathlib import Path\n"
        "from zegel.node.isolation import drop_to, open_way_to\n"
        f"folder = Path({str(program)!r})\n"
        f"assert not {opened} or open_way_to([folder])\n"
        "drop_to(61302)\n"
        "for path in (folder / 'code.txt', folder.parents[1] / 'other.txt'):\n"
        "    try:\n        print(path.read_text())\n"
        "    except OSError as error:\n        print(type(error).__name__)\n"
    )
    seen = child(code).split()
    assert seen[0] == ("x" if opened else "PermissionError")
    assert seen[1] in ("PermissionError", "FileNotFoundError")
    assert (tmp_path / "closed" / "other.txt").read_text() == "secret"
