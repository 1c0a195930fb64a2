"""`zegel bench` measures what is asked, prints one document, and fails for no figure."""

import json

import pytest

from zegel.cli.bench import trial
from zegel.cli.bench.stages import STAGES, Asked, Found
from zegel.cli.main import main
from zegel.errors import ZegelError


def test_one_stage_gives_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "spool", "--seconds", "1", "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["schema"] == "zegel.bench/1"
    assert {line["stage"] for line in found["results"]} == {"spool"}
    assert all(line["value"] > 0 and line["ratio"] > 0 for line in found["results"])
    assert found["machine"]["cores"] >= 1
    assert len(found["load_before"]) == 3
    assert set(found["details"]) == {"spool"}
    assert "spool: " in told.err


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "vault", "--seconds", "1"]) == 0
    assert "open through the link, 256 a call" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["nothing"], ["core", "--seconds", "0"], ["e2e", "--rate", "-1"]]
)
def test_what_cannot_be_measured_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert capsys.readouterr().err.startswith("zegel: usage: ")


def test_stages_run_from_the_narrow_to_the_whole() -> None:
    assert list(STAGES) == ["core", "limits", "spool", "vault", "insert", "e2e", "demo"]


def test_a_stage_that_breaks_says_why() -> None:
    with pytest.raises(ZegelError, match="benchmark failed"):
        trial.run("no such stage", 1.0)


def test_a_stage_that_breaks_loses_nothing_of_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_asked: Asked) -> Found:
        raise ZegelError("broken on purpose")

    monkeypatch.setitem(STAGES, "core", broken)
    assert main(["bench", "core", "spool", "--seconds", "1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == {"core": "zegel: error: broken on purpose"}
    assert {line["stage"] for line in found["results"]} == {"spool"}
