"""The main job, by the commands that people run."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ZEGEL = str(Path(sys.executable).parent / "zegel")


def demo(*options: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [ZEGEL, "demo", "--once", "--json", *options],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout), done.stderr


def right(document: dict[str, Any], readings: int) -> None:
    assert document["readings"] == {
        "expected": readings, "stored": readings, "missing": 0, "twice": 0, "wrong": 0,
    }  # fmt: skip
    frames = document["frames"]
    assert frames["received"] == frames["stored"] + frames["duplicate"] + frames["quarantined"]
    assert frames["received"] == frames["sent"]


def test_three_hundred_meters_of_three_operators_come_back_after_three_days() -> None:
    code, document, errors = demo("--meters", "300", "--days", "3")
    assert code == 0, errors
    assert [node["name"] for node in document["nodes"]] == ["noord", "midden", "zuid"]
    right(document, 172_800)
    assert document["frames"]["quarantined"] == 0


def test_two_demos_at_once_do_not_clash_and_days_of_92_and_100_quarters_are_whole() -> None:
    runs = [
        ("--meters", "10", "--days", "1", "--start", "2026-03-29"),
        ("--meters", "10", "--days", "1", "--start", "2026-10-25"),
    ]
    with ThreadPoolExecutor(2) as pool:
        (code, spring, errors), (code_2, autumn, errors_2) = pool.map(lambda r: demo(*r), runs)
    assert (code, code_2) == (0, 0), errors + errors_2
    right(spring, 1_840)
    right(autumn, 2_000)


def test_equal_seeds_give_equal_truth_and_days_around_a_changed_clock_add_up() -> None:
    options = ("--meters", "7", "--days", "2", "--start", "2026-10-24")
    with ThreadPoolExecutor(2) as pool:
        (code, first, errors), (code_2, second, errors_2) = pool.map(
            lambda seed: demo(*options, "--seed", seed), ["1", "1"]
        )
    assert (code, code_2) == (0, 0), errors + errors_2
    right(first, 2_744)
    assert first["truth_sha256"] == second["truth_sha256"]
    _, other, _ = demo("--meters", "3", "--days", "1", "--start", "2026-10-24", "--seed", "2")
    assert other["truth_sha256"] != first["truth_sha256"]


@pytest.mark.parametrize(
    ("fault", "found"), [("truth", {"wrong": 1}), ("foreign-operator", {"unknown_meter": 1})]
)
def test_a_fault_is_found_by_the_demo_itself(fault: str, found: dict[str, int]) -> None:
    code, document, errors = demo("--meters", "3", "--fault", fault)
    assert code == 0, errors  # it went as the fault says
    assert document["fault"]["found"] == found


def test_a_start_in_the_future_is_a_usage_error() -> None:
    done = subprocess.run(
        [ZEGEL, "demo", "--once", "--start", "2999-01-01"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("zegel: usage: ")
    assert "Traceback" not in done.stderr
