"""One full sample of every document of the API stands in the reference, and is what comes."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.api_samples import ASKED, answer
from zegel.console.api.app import ROUTES
from zegel.console.api.description import describe

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SAMPLES = REFERENCE / "samples"


@pytest.mark.parametrize("name", ASKED)
def test_the_sample_is_what_the_api_answers(name: str, api: httpx.Client) -> None:
    sample = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    assert answer(api, name) == sample


def test_every_schema_has_a_sample() -> None:
    schemas = describe(ROUTES)["components"]["schemas"].values()
    named: set[str] = set()
    for schema in schemas:
        field: dict[str, Any] = schema["properties"].get("schema", {})
        named |= set(field.get("enum", []))
    assert len(named) == 12
    samples = [json.loads(path.read_text(encoding="utf-8")) for path in SAMPLES.glob("*.json")]
    shown = {sample.get("schema") for sample in samples}
    assert named <= shown
