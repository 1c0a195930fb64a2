"""Every command of README and tutorial runs as it stands there."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
ZEGEL = str(Path(sys.executable).parent / "zegel")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#]+)")
PAGES = [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]


def commands(page: str) -> list[str]:
    text = (HERE / page).read_text(encoding="utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), page
    return [line[2:] for line in lines]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-light.md"])
def test_every_command_of_a_page_runs_as_it_stands_there(page: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="zegel-docs-"))
    folder.chmod(0o711)
    (folder / "tests").symlink_to(HERE / "tests")
    environment = {**os.environ, "TMPDIR": str(folder)}
    served: subprocess.Popen[bytes] | None = None
    try:
        for command in commands(page):
            line = command.replace(".venv/bin/zegel", ZEGEL)
            if command.startswith("make "):
                continue  # this very run is one of them; the others have their own tests
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
                continue
            if " serve" in line:
                port = free_port()
                line = re.sub(r" --(push|api)-port \d+", "", line)
                line += f" --push-port 0 --api-port {port}"
                environment["ZEGEL_URL"] = f"http://localhost:{port}"
                served = subprocess.Popen(line.split(), cwd=folder, env=environment)
                wait_for(port)
                continue
            line = line if "demo" not in line else line.replace(" demo", " demo --meters 3", 1)
            done = subprocess.run(
                ["/bin/bash", "-c", line], cwd=folder, env=environment, check=False,
                capture_output=True, text=True, timeout=100,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    finally:
        if served is not None:
            served.send_signal(signal.SIGTERM)
            served.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the node did not come up")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    missing = [
        target
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []
