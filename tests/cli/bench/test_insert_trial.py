"""The engine's figures come from a whole month's tables, made as the pipeline makes them."""

import pytest

from zegel.cli.bench import insert_trial


def test_rows_bytes_and_one_meters_month_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("METERS", 40), ("DAYS", 2), ("PER_INSERT", 20)):
        monkeypatch.setattr(insert_trial, name, value)
    found = insert_trial.main()
    assert 40 * 2 * 92 <= found["rows"] <= 40 * 2 * 100
    assert 0 < found["bytes_per_reading"] < 5
    assert 0 < found["frames_bytes_per_reading"] < 5
    assert min(found["rows_per_s"], found["month_ms"], found["export_mb_per_s"]) > 0
