from datetime import date, datetime, timedelta

import pytest
from cyclopts import App

from zegel.cli.demo.command import app, demo
from zegel.cli.demo.document import Document, FaultResult, Frames, Node, Readings, right, text
from zegel.cli.demo.run import ZONE
from zegel.cli.fleet import run as fleet_run


def today() -> date:
    return datetime.now(ZONE).date()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"start": str(today())}, "--start"),
        ({"start": str(today() - timedelta(days=2)), "days": 3}, "--start"),
        ({"start": "29-03-2026"}, "--start"),
        ({"days": 0}, "--days"),
        ({"meters": 0}, "--meters"),
        ({"suite": 3}, "--suite"),
        ({"fault": "gremlin"}, "--fault"),
        ({"fault": "foreign-operator", "meters": 1}, "--meters"),
    ],
)
def test_an_option_that_makes_no_demo_is_exit_2_and_named(
    arguments: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(**arguments) == 2  # type: ignore[arg-type]  # a table of options
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"zegel: usage: {named}; ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"meters": 0}, "load"),
        ({"rate": 1e6, "seconds": 60.0}, "pushes"),
        ({"suite": 9}, "--suite"),
    ],
)
def test_a_load_that_cannot_be_is_exit_2_and_named(
    arguments: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet_run(**arguments) == 2  # type: ignore[arg-type]  # a table of options
    assert capsys.readouterr().err.startswith(f"zegel: usage: {named}; ")


def test_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    from zegel.meter.faults import FAULTS

    assert isinstance(app, App)
    assert demo.__doc__ is not None
    for name in FAULTS:
        assert name in demo.__doc__


def document(
    readings: Readings, *, fault: FaultResult | None = None, quarantined: int = 0
) -> Document:
    return Document(
        meters=1,
        days=1,
        start="2026-06-01",
        seed=1,
        suite=0,
        nodes=[Node(name="noord", meters=1)],
        frames=Frames(
            sent=1 + quarantined,
            received=1 + quarantined,
            stored=1,
            duplicate=0,
            quarantined=quarantined,
            reasons={"bad_tag": quarantined} if quarantined else {},
        ),
        rows_refused=0,
        readings=readings,
        fault=fault,
        truth_sha256="00",
        isolation="uid",
        seconds=1.0,
    )


GOOD = Readings(expected=192, stored=192, missing=0, twice=0, wrong=0)


def test_a_run_is_right_only_if_every_reading_is() -> None:
    assert right(document(GOOD))
    for name in ("missing", "twice", "wrong"):
        counts = {"expected": 192, "stored": 192, "missing": 0, "twice": 0, "wrong": 0, name: 1}
        assert not right(document(Readings(**counts)))


def test_a_run_is_not_right_if_fates_do_not_add_up() -> None:
    torn = document(GOOD, quarantined=1)
    torn.frames.reasons.clear()
    assert not right(torn)


def test_a_fault_is_right_only_if_it_ends_exactly_as_named() -> None:
    named = FaultResult(name="bitflip", expected={"bad_tag": 1}, found={"bad_tag": 1})
    other = FaultResult(name="bitflip", expected={"bad_tag": 1}, found={"bad_tag": 1, "wrong": 2})
    assert right(document(GOOD, fault=named, quarantined=1))
    assert not right(document(GOOD, fault=other, quarantined=1))
    assert "found bad_tag 1" in text(document(GOOD, fault=named, quarantined=1))
