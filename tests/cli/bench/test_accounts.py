"""What a process used is told as the kernel tells it."""

import os
import time
from pathlib import Path

from zegel.cli.bench.accounts import Snapshot, bytes_below, memory_kb, take


def test_cpu_of_a_busy_process_is_seen_between_two_snapshots() -> None:
    before = take({"this": [os.getpid()], "gone": [2**22 + 1]})
    until = time.process_time() + 0.1
    while time.process_time() < until:
        sum(range(1000))
    used = take({"this": [os.getpid()], "gone": [2**22 + 1]}).since(before)
    assert 0.05 < sum(used.used["this"]) < 2
    assert sum(used.used["gone"]) == 0
    assert 0 <= used.busy <= 1.01


def test_the_share_of_the_machine_that_was_busy() -> None:
    assert Snapshot(1.0, {}, (1.5, 2.0)).busy == 0.75


def test_memory_is_that_of_the_process() -> None:
    now, most = memory_kb(os.getpid())
    assert 1000 < now <= most
    assert memory_kb(2**22 + 1) == (0, 0)


def test_files_count_with_what_they_take_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 10_000)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10_000_000)
    assert 10_000 <= bytes_below(tmp_path) < 1_000_000
