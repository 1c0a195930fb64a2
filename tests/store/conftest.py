"""Benches of a store, closed at the end of each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.store_bench import StoreBench
from helpers.vault_meters import meters

from zegel.node import switches


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., StoreBench]]:
    made: list[StoreBench] = []

    def make(count: int = 3, **how: Any) -> StoreBench:
        bench = StoreBench(tmp_path, meters(count), **how)
        made.append(bench)
        return bench

    yield make
    switches.reset()
    for bench in made:
        bench.end()


@pytest.fixture
def bench(make_bench: Callable[..., StoreBench]) -> StoreBench:
    return make_bench()
