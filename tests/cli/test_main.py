"""The command line as a whole: one line of error, exit codes, and what it does not load."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zegel.cli.main import COMMANDS, application

ZEGEL = [sys.executable, "-W", "error", "-m", "zegel.cli.main"]


def line(text: str) -> str:
    """Check that stderr is one line of the wanted form, and return it."""
    assert text.count("\n") == 1
    assert text.startswith("zegel: ")
    return text.rstrip()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "Unknown command"),
        (["meters", "lisst"], 'Did you mean "list"'),
        (["zones", "--colour"], "--colour"),
        (["readings", "export"], "--from"),
        (["readings", "export", "--from", "x", "--to", "y", "--format", "xml"], "xml"),
        (["meters", "list", "--limit", "many"], "many"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(run: Any, words: list[str], told: str) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert line(ran.err).startswith("zegel: usage: ")
    assert told in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["meters"], ["meters", "import", "--help"]])
def test_help_is_a_result(run: Any, words: list[str]) -> None:
    ran = run(*words)
    assert ran.code == 0
    assert "Usage: zegel" in ran.out
    assert ran.err == ""


def test_the_five_groups_stand_in_their_order(run: Any) -> None:
    text = run("--help").out
    places = [text.index(f" {group} ") for group in ("Try", "Run", "Meters", "Govern", "Prove")]
    assert places == sorted(places)


@pytest.mark.parametrize(("name", "words"), [(command[1], command[3]) for command in COMMANDS])
def test_every_command_is_there_and_says_what_it_does(name: str, words: str) -> None:
    assert words.endswith(".")
    assert application()[name].name == (name,)


def test_a_node_that_is_not_there_is_exit_4(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEGEL_URL", "http://127.0.0.1:9")
    ran = run("zones")
    assert ran.code == 4
    assert line(ran.err).startswith("zegel: unreachable: node; http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["nonsense", "ftp://localhost", "http://[::1"])
def test_a_wrong_address_is_exit_2(run: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ZEGEL_URL", url)
    ran = run("zones")
    assert ran.code == 2
    assert line(ran.err).startswith("zegel: config: ZEGEL_URL")


def test_a_file_that_is_not_there_is_one_line(run: Any, tmp_path: Path) -> None:
    ran = run("keys", "import", tmp_path / "absent")
    assert ran.code == 1
    assert (
        line(ran.err) == f"zegel: storage: file; {tmp_path}/absent; found No such file or directory"
    )


def test_an_unknown_key_is_exit_2_and_named(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[edge]\nprot = 1\n", encoding="utf-8")
    for words in (["config", "check"], ["config", "show"], ["serve"]):
        ran = run(*words, "--config", path)
        assert ran.code == 2
        assert "[edge] prot" in line(ran.err)


def test_config_show_is_the_configuration(run: Any, tmp_path: Path) -> None:
    shown = run("config", "show").out
    path = tmp_path / "node.toml"
    path.write_text(shown, encoding="utf-8")
    assert run("config", "show", "--config", path).out == shown
    assert run("config", "check", "--config", path).code == 0
    assert json.loads(run("config", "show", "--json").out)["edge"]["port"] == 9598


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [*ZEGEL, "config", "show"], stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(write)
    assert ran.returncode == 141
    assert ran.stderr == b""


def test_ctrl_c_leaves_no_traceback(node: Any) -> None:
    node.vault.silent = True  # the command waits for its answer
    process = subprocess.Popen(
        [sys.executable, "-c", _TELLING], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b""


_TELLING = """
import sys
from zegel.cli import client, main
real = client.Api.get
def get(self, *args, **params):
    print("ready", flush=True)
    for _ in range(60):
        real(self, *args, **params)
client.Api.get = get
sys.exit(main.main(["zones", "--json"]))
"""
_LOADED = """
import sys
from zegel.cli.main import main
code = main(sys.argv[1:])
sys.stdout.write("\\n" + " ".join(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "most"),
    [(["--help"], 300), (["decode", "--help"], 420), (["zones", "--help"], 520)],
)
def test_help_loads_nothing_heavy(words: list[str], most: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED, *words], capture_output=True, check=True, timeout=60
    )
    loaded = ran.stdout.decode().splitlines()[-1].split(" ")
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {
        "litestar",
        "uvicorn",
        "chdb",
        "numpy",
        "pyarrow",
        "sqlalchemy",
        "structlog",
    }
    assert len(loaded) <= most
    if words == ["--help"]:
        assert "httpx" not in roots
        assert "cryptography" not in roots
