from collections.abc import Iterator

import httpx
import pytest

from helpers.api_node import TOKEN, ApiNode, sample_node, serving


@pytest.fixture(scope="session")
def served() -> Iterator[ApiNode]:
    with serving(sample_node()) as running:
        yield running


@pytest.fixture
def node(served: ApiNode) -> ApiNode:
    """The one node of the session, as if it were new."""
    served.reset()
    return served


@pytest.fixture
def api(node: ApiNode) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=node.url, headers=headers, trust_env=False, timeout=20) as client:
        yield client
