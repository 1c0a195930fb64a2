"""What a node cannot do it says in one line, and what it cannot keep it does not confirm."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.load import push_each
from helpers.nodes import RunningNode, Street, stored, street
from zegel.meter.frames import Push

READY = "token in"  # the last line of a start
LINE = re.compile(r"zegel: (\w+): ")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that zones of other users can pass through."""
    made = Path(tempfile.mkdtemp(prefix="zegel-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "zegel.cli.main", "serve", *map(str, arguments)]


def refused(*arguments: object) -> tuple[int, str]:
    """Run `zegel serve`, which must not start; return its exit code and its one line."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("zegel: ")]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert LINE.match(lines[0]), lines[0]
    for line in done.stderr.splitlines():
        assert line in lines or json.loads(line), "all else on stderr is the zones' log"
    return done.returncode, lines[0]


class Serving:
    """`zegel serve` as a process, once it is up."""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            command("--data-dir", data, "--push-port", 0, "--api-port", 0),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.zones: dict[str, int] = {}
        self.lines: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.match(r"zegel: (\w+) is up; pid (\d+)", line):
                self.zones[found[1]] = int(found[2])
            if READY in line:
                break
        self._rest = threading.Thread(target=self._read_on)
        self._rest.start()

    def _read_on(self) -> None:
        assert self.process.stderr is not None
        self.lines += list(self.process.stderr)

    def end(self) -> int:
        code = self.process.wait(20)
        self._rest.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def alive(pid: int) -> bool:
    """Tell whether a process lives; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(holds: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


# Refused at the start


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_a_push_port_in_use_is_named(folder: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            taken.listen()
        code, line = refused("--data-dir", folder / "data", "--push-port", port, "--api-port", 0)
    assert code == 1
    assert line.startswith("zegel: conflict: push port in use")
    assert f"127.0.0.1:{port}" in line


def test_an_api_port_in_use_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refused("--data-dir", folder / "data", "--push-port", 0, "--api-port", port)
    assert code == 1
    assert line.startswith("zegel: conflict: port in use")
    assert f"127.0.0.1:{port}" in line


def test_an_unknown_key_is_named(folder: Path) -> None:
    file = folder / "node.toml"
    file.write_text("[edge]\nprot = 9598\n")
    code, line = refused("--config", file)
    assert code == 2
    assert line.startswith("zegel: config: unknown key; [edge] prot; ")


def test_an_unwritable_data_directory_is_named(folder: Path) -> None:
    (folder / "file").write_text("no folder")
    code, line = refused("--data-dir", folder / "file" / "data")
    assert code == 2
    assert line.startswith("zegel: config: data directory; ")
    assert str(folder / "file") in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_of_somebody_else_is_named(folder: Path) -> None:
    folder.chmod(0o511)
    code, line = refused("--data-dir", folder / "data")
    assert (code, "Permission denied" in line) == (2, True)


@root_only
def test_a_data_directory_on_a_read_only_disk_is_named(folder: Path) -> None:
    with mounted(folder / "disk", "ro,mode=711"):
        code, line = refused("--data-dir", folder / "disk" / "data")
    assert (code, "Read-only file system" in line) == (2, True)


@root_only
def test_a_data_directory_behind_a_closed_folder_is_named(folder: Path) -> None:
    folder.chmod(0o700)
    code, line = refused("--data-dir", folder / "data")
    assert code == 2
    assert str(folder) in line


def test_a_data_directory_in_use_is_named(node: RunningNode) -> None:
    code, line = refused("--data-dir", node.data, "--push-port", 0, "--api-port", 0)
    assert code == 1
    assert line.startswith(f"zegel: conflict: data directory in use; {node.data}; ")


@pytest.mark.parametrize("text", ["2", "99999999999999999999", "one", "", "²"])
def test_data_of_another_version_is_refused(folder: Path, text: str) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "VERSION").write_text(f"{text}\n")
    code, line = refused("--data-dir", folder / "data", "--push-port", 0, "--api-port", 0)
    assert code == 1
    assert "data version" in line
    assert str(folder / "data" / "VERSION") in line


def test_a_folder_that_is_no_nodes_is_left_alone(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "letters.txt").write_text("dear")
    code, line = refused("--data-dir", folder / "data", "--push-port", 0, "--api-port", 0)
    assert (code, "letters.txt" in line) == (2, True)
    assert not (folder / "data" / "VERSION").exists()


def test_a_vault_that_cannot_open_its_keys_ends_the_start_at_once(folder: Path) -> None:
    serving = Serving(folder / "data")
    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == 0
    (folder / "data" / "vault" / "operator.key").unlink()
    began = time.monotonic()
    code, line = refused("--data-dir", folder / "data", "--push-port", 0, "--api-port", 0)
    assert time.monotonic() - began < 30
    assert (code, "operator.key" in line) == (2, True)


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_is_told_to_stop_leaves_no_process_behind(
    folder: Path, number: signal.Signals
) -> None:
    serving = Serving(folder / "data")
    assert sorted(serving.zones) == ["console", "edge", "store", "vault"]
    assert all(map(alive, serving.zones.values()))
    began = time.monotonic()
    serving.process.send_signal(number)
    assert serving.end() == 0
    assert time.monotonic() - began < 10
    assert not any(map(alive, serving.zones.values()))
    assert not any("Traceback" in line for line in serving.lines)
    assert serving.lines[-1].startswith("zegel: ")


def test_a_supervisor_that_is_killed_leaves_no_orphan(folder: Path) -> None:
    serving = Serving(folder / "data")
    serving.process.kill()
    serving.end()
    until(lambda: not any(map(alive, serving.zones.values())), 10, "a zone lives on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_cut_short_leaves_no_orphan(folder: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        command("--data-dir", folder / "data", "--push-port", 0, "--api-port", 0),
        stderr=subprocess.PIPE,
        text=True,
    )
    zones: list[int] = []
    until(lambda: len(children(process.pid)) == 4, 20, "no zones")
    zones = children(process.pid)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    until(lambda: not any(map(alive, zones)), 20, "a zone lives on")
    assert "Traceback" not in said
    assert process.returncode == (-9 if number == signal.SIGKILL else 0)


# What happens while it runs


def test_a_damaged_segment_is_set_aside_and_named_and_the_rest_goes_on() -> None:
    with RunningNode(spool__segment_s=0.2) as running:
        made = street(running, meters=30, days=1)
        segments = running.data / "edge" / "spool"
        os.kill(running.pids["store"], signal.SIGSTOP)
        try:
            pushes = dict(enumerate(made.pushes()))
            assert len(push_each(running.push_port, pushes, threads=2)) == 30
            until(lambda: list(segments.glob("*.seg")), 10, "no sealed segment")
            path = min(segments.glob("*.seg"))
            data = bytearray(path.read_bytes())
            blocks = [found.start() for found in re.finditer(b"ZSP1", data)]
            assert len(blocks) > 3
            hit = blocks[1]  # the second block: some are before it, more behind it
            data[hit + 60] ^= 0x01
            path.write_bytes(data)
        finally:
            os.kill(running.pids["store"], signal.SIGCONT)
        lost = int.from_bytes(data[hit + 4 : hit + 8], "little")
        fates = running.settled(30 - lost)
        assert (fates.stored, fates.quarantined) == (30 - lost, 0)
        truth = made.truth()
        found = dict(stored(running, made))
        assert found.items() <= truth.items()
        assert len(found) == len(truth) * (30 - lost) // 30
        assert (running.data / "store" / "damaged" / path.name).read_bytes() == bytes(data)
        until(lambda: not path.exists(), 10, "not released")
        for _ in range(2):  # the alarm stays over a restart of the store
            alarm = next(r for r in running.health()["reasons"] if "damaged" in r)
            assert path.name in alarm
            assert f"byte {hit}" in alarm
            assert re.search(r"frames \d+ to \d+ lost", alarm)
            running.kill("store")
            running.wait_up("store")
        again = street(running, meters=5)
        running.send(again.pushes())
        running.settled(fates.received + 5)
        assert dict(stored(running, again)) == again.truth()


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """Mount a small disk in memory."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "zegel-test", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def small_disk(running: RunningNode) -> Iterator[Callable[[], None]]:
    """Let no file of the edge grow; what is given back makes it grow again."""
    pid = running.pids["edge"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def more() -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield more
    finally:
        with contextlib.suppress(ProcessLookupError):
            more()


def keyed(made: Street, day: int) -> dict[str, Push]:
    serials = [bytes(serial).decode() for serial in made.fleet.serials]
    return dict(zip(serials, made.pushes(day), strict=True))


@pytest.mark.skipif(os.geteuid() == 0, reason="limits of another user's process; see below")
def test_a_file_that_may_not_grow_costs_receipts_and_nothing_else() -> None:
    with RunningNode() as running:
        made = street(running, meters=60, days=1)
        pushes = keyed(made, 0)
        with small_disk(running) as more:
            receipted = push_each(running.push_port, pushes, threads=8, receipt_s=1.0)
            assert len(receipted) < 60
            reasons = running.health()["reasons"]
            assert any("EFBIG" in r and "reading stopped" in r for r in reasons), reasons
            more()
        check_goes_on(running, made, pushes, receipted)


@root_only
def test_a_full_disk_costs_receipts_and_nothing_else(folder: Path) -> None:
    with RunningNode(folder=folder, spool__segment_s=0.2):
        spool = folder / "data" / "edge" / "spool"
    kept = folder / "kept"
    shutil.copytree(spool, kept)
    owner = spool.stat()
    options = f"size=256k,uid={owner.st_uid},gid={owner.st_gid},mode=2750"
    with mounted(spool, options):
        for file in kept.iterdir():
            shutil.copy2(file, spool)
            os.chown(spool / file.name, owner.st_uid, owner.st_gid)
        with RunningNode(folder=folder, spool__segment_s=0.2) as running:
            made = street(running, meters=120, days=1)
            pushes = keyed(made, 0)
            os.kill(running.pids["store"], signal.SIGSTOP)
            try:
                receipted = push_each(running.push_port, pushes, threads=8, receipt_s=0.3)
                assert 10 < len(receipted) < 120
                reasons = running.health()["reasons"]
                assert any("ENOSPC" in r and "reading stopped" in r for r in reasons), reasons
            finally:
                os.kill(running.pids["store"], signal.SIGCONT)
            check_goes_on(running, made, pushes, receipted)


def check_goes_on(
    running: RunningNode, made: Street, pushes: dict[str, Push], receipted: set[str]
) -> None:
    """There is space again: what was receipted is stored, and the others get in as well."""
    rest = [push for serial, push in pushes.items() if serial not in receipted]
    sent = running.send(rest, in_flight=8, receipt_s=5.0, tries=10)
    assert sent.failed == 0
    until(lambda: running.settled(0).stored == len(pushes), 30, "not all are stored")
    assert running.settled(0).quarantined == 0
    found = stored(running, made)
    assert len(found) == len(made.truth())
    assert dict(found) == made.truth()
    until(lambda: running.health()["status"] == "ok", 15, "health stays bad")
