"""`/healthz` and `/v1/zones`: the truth about every zone, in a second at most."""

import httpx
import pytest

from helpers.api_node import ApiNode
from zegel.calls.base import Call
from zegel.errors import UnreachableError


def test_a_healthy_node_is_ok_without_a_token(node: ApiNode) -> None:
    answer = httpx.get(node.url + "/healthz", trust_env=False)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reasons"]) == ("ok", [])
    assert list(answer.json()["zones"]) == ["edge", "console", "store", "vault"]


def test_a_silent_vault_is_named(node: ApiNode) -> None:
    node.vault.silent = True
    answer = httpx.get(node.url + "/healthz", trust_env=False, timeout=20)
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["vault does not answer"]
    assert answer.json()["zones"]["edge"] == {"ok": True, "reasons": []}


def test_a_zone_without_a_socket_is_named(
    monkeypatch: pytest.MonkeyPatch, node: ApiNode, api: httpx.Client
) -> None:
    async def gone(_call: Call) -> None:
        raise UnreachableError("gone")

    monkeypatch.setattr(node.store, "health", gone)
    node.console["reasons"] = ["clock is off"]
    node.console["ok"] = False
    # The link took its handlers when it was made; a new node has the new one.
    from helpers.api_node import serving

    with serving(ApiNode(store=node.store, vault=node.vault, console=node.console)) as other:
        found = httpx.get(other.url + "/healthz", trust_env=False).json()
    assert found["reasons"] == ["console: clock is off", "store does not answer"]


def test_zones_shows_what_is_known_and_nulls_for_a_silent_zone(
    node: ApiNode, api: httpx.Client
) -> None:
    node.vault.silent = True
    found = api.get("/v1/zones").json()
    zones = {zone["zone"]: zone for zone in found["zones"]}
    assert zones["vault"]["isolation"] is None
    assert zones["vault"]["reasons"] == ["vault does not answer"]
    assert (zones["edge"]["isolation"], zones["edge"]["uid"]) == ("uid", 900_001)
    assert zones["store"]["modules"] == ["zegel", "zegel.store", "zegel.store.zone"]
    assert found["test"] is False


def test_a_zone_with_a_switch_makes_the_node_a_test_node(node: ApiNode, api: httpx.Client) -> None:
    node.console.update(test=True, guards_off=["store.replay"])
    found = api.get("/v1/zones").json()
    assert found["test"] is True
    assert found["zones"][1]["guards_off"] == ["store.replay"]
