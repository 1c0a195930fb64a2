"""Figures say what they are beside, what was asked, and whether it was reached."""

import msgspec
import pytest

from zegel.cli.bench.document import Must, machine, met, result, rounded


@pytest.mark.parametrize(
    ("must", "value", "ratio", "reached"),
    [
        (("value", ">=", 5.0), 5.0, None, True),
        (("value", ">=", 5.0), 4.9, 9.0, False),
        (("value", "<=", 5.0), 5.1, None, False),
        (("ratio", ">=", 0.12), 1.0, 0.13, True),
        (("ratio", ">=", 0.12), 1.0, None, False),
    ],
)
def test_what_is_asked_is_held_against_value_or_ratio(
    must: Must, value: float, ratio: float | None, reached: bool
) -> None:
    assert met(must, value, ratio) is reached


def test_a_figure_carries_its_limit_its_ratio_and_what_is_asked() -> None:
    line = result("core", "open", 50.0, "frames/s", peer="x", limit=200.0, must=("ratio", ">=", 1))
    assert (line.limit, line.ratio, line.must, line.met) == (200.0, 0.25, "ratio >= 1", False)


def test_a_figure_without_a_limit_has_no_ratio() -> None:
    assert result("core", "open", 50.0, "frames/s").ratio is None


@pytest.mark.parametrize(
    ("value", "shown"), [(123_456.7, 123_457.0), (0.123456, 0.1235), (12.3456, 12.35), (0, 0)]
)
def test_figures_are_rounded_but_never_before_the_point(value: float, shown: float) -> None:
    assert rounded(value) == shown


def test_the_machine_is_described() -> None:
    found = msgspec.to_builtins(machine())
    assert found["cores"] >= 1
    assert found["memory"] > 10**8
    assert found["python"].startswith("3.")
