from collections.abc import Iterator

import httpx
import pytest

from helpers.api_node import TOKEN, sample_node, serving


@pytest.fixture(scope="session")
def api() -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with (
        serving(sample_node()) as node,
        httpx.Client(base_url=node.url, headers=headers, trust_env=False, timeout=20) as client,
    ):
        yield client
