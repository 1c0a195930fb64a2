import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zegel

PROGRAM = "import sys; from zegel.cli.demo.command import app; sys.exit(app())"


class Run:
    """One `zegel demo` in its own process; what it leaves behind lies in `folder`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        source = str(Path(zegel.__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": source, "TMPDIR": str(folder)},
        )

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=100)
        return self.process.returncode, out, err


Start = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[Start]:
    runs: list[Run] = []

    def begin(*arguments: str) -> Run:
        folder = Path("/tmp") / f"zegel-test-{os.getpid()}-{len(runs)}"  # short and passable
        folder.mkdir(mode=0o711)
        runs.append(Run(folder, *arguments))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait(60)
        for pipe in (run.process.stdout, run.process.stderr):
            assert pipe is not None
            pipe.close()
        run.folder.rmdir()  # fails if anything was left in it


def test_a_fault_ends_as_named_and_every_other_reading_is_right(start: Start) -> None:
    run = start("--meters", "4", "--start", "2026-03-29", "--fault", "resend", "--once", "--json")
    code, out, err = run.end()
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["schema"] == "zegel.demo/1"
    assert [node["meters"] for node in found["nodes"]] == [2, 1, 1]
    assert found["frames"]["received"] == found["frames"]["sent"] == 5
    assert found["fault"] == {
        "name": "resend",
        "expected": {"duplicate": 1},
        "found": {"duplicate": 1},
    }
    right = {"expected": 736, "stored": 736, "missing": 0, "twice": 0, "wrong": 0}
    assert found["readings"] == right


def test_a_live_demo_ends_with_ctrl_c_and_leaves_nothing(start: Start) -> None:
    run = start("--meters", "3")
    assert run.process.stderr is not None
    for line in run.process.stderr:
        if "zuid" in line and "token" in line:
            break
    run.process.send_signal(signal.SIGINT)
    code, out, err = run.end()
    assert (code, err) == (0, "")
    assert "0 missing, 0 twice, 0 wrong" in out
    assert not list(run.folder.iterdir())


def test_a_demo_that_is_stopped_early_leaves_nothing_and_no_traceback(start: Start) -> None:
    run = start("--meters", "3", "--once")
    until = time.monotonic() + 60
    while not list(run.folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    run.process.send_signal(signal.SIGTERM)
    code, out, err = run.end()
    assert (code, out, err) == (130, "", "")
    assert not list(run.folder.iterdir())
