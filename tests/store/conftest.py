"""Benches of a store, closed at the end of each test."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.store_bench import StoreBench
from helpers.vault_meters import meters
from zegel.node import switches

MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: these tests sync a lot, and cut no power."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < 200_000_000:
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="zegel-test-", dir=MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def make_bench(folder: Path) -> Iterator[Callable[..., StoreBench]]:
    made: list[StoreBench] = []

    def make(count: int = 3, **how: Any) -> StoreBench:
        bench = StoreBench(folder, meters(count), **how)
        made.append(bench)
        return bench

    yield make
    switches.reset()
    for bench in made:
        bench.end()


@pytest.fixture
def bench(make_bench: Callable[..., StoreBench]) -> StoreBench:
    return make_bench()
