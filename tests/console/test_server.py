"""The socket of the API, and a console that starts and stops as a zone."""

import asyncio
import json
import socket
import subprocess
import sys
from typing import Any

import httpx
import pytest

from helpers.api_node import Log
from zegel.console.server import Server, bind
from zegel.errors import ConfigError, ConflictError, ZegelError


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"port in use; 127.0.0.1:{port}"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.9", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=host):
        bind(host, 0)


def test_port_0_takes_a_free_port() -> None:
    with bind("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0


async def _echo(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


async def _fail(_scope: Any, _receive: Any, _send: Any) -> None:
    raise ZegelError("secret")


def test_a_server_answers_until_it_is_stopped() -> None:
    async def live() -> None:
        server = Server(_echo, bind("127.0.0.1", 0), Log())
        await server.start()
        url = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(url)).content == b"here"
            await server.stop()
            with pytest.raises(httpx.ConnectError):
                await client.get(url, headers={"Connection": "close"})

    asyncio.run(live())


def test_a_failing_application_is_a_line_in_the_log() -> None:
    log = Log()

    async def live() -> None:
        server = Server(_fail, bind("127.0.0.1", 0), log)
        await server.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{server.port}")
        assert answer.status_code == 500
        await server.stop()

    asyncio.run(live())
    assert len(log.lines) == 1
    assert "Exception in ASGI application" in log.lines[0]
    assert "secret" not in log.lines[0]


_LATE = """
import asyncio, importlib, json, sys
sys.path.insert(0, sys.argv[1])
from zegel.console import zone
from zegel.console.api.app import build
from zegel.console.server import Server, bind
from zegel.console.token import Token
before = set(sys.modules)
import httpx
from helpers.api_node import TOKEN, sample_node, serving
from helpers.api_samples import ASKED, answer
ours = set(sys.modules) - before
with serving(sample_node()) as node:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=node.url, headers=headers, trust_env=False) as api:
        api.get("/healthz")
        test_side = set(sys.modules)
        for name in ASKED:
            answer(api, name)
        api.get("/openapi.json")
        api.get("/nowhere")
late = set(sys.modules) - before - ours
roots = ("zegel", "litestar", "uvicorn", "msgspec", "h11", "anyio")  # the store is a stand-in
print(json.dumps(sorted(name for name in late if name.partition(".")[0] in roots)))
"""


def test_a_console_loads_nothing_once_it_has_given_its_rights_away(
    request: pytest.FixtureRequest,
) -> None:
    tests = str(request.config.rootpath / "tests")
    ran = subprocess.run(
        [sys.executable, "-c", _LATE, tests], capture_output=True, check=True, timeout=60
    )
    assert json.loads(ran.stdout) == []
