"""One node for the whole session; every test takes in meters of its own."""

from collections.abc import Iterator

import pytest

from helpers.nodes import RunningNode


@pytest.fixture(scope="session")
def node() -> Iterator[RunningNode]:
    with RunningNode() as running:
        yield running
