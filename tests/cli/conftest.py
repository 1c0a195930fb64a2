from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.api_node import TOKEN, ApiNode, sample_node, serving
from zegel.cli.main import main


@pytest.fixture(scope="session")
def served() -> Iterator[ApiNode]:
    with serving(sample_node()) as running:
        yield running


@pytest.fixture
def node(served: ApiNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ApiNode:
    """A running node, and an environment in which the command line finds it."""
    served.reset()
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n", encoding="ascii")
    monkeypatch.setenv("ZEGEL_URL", served.url)
    monkeypatch.setenv("ZEGEL_TOKEN_FILE", str(token))
    return served


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def go(*words: Any) -> Ran:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return go
