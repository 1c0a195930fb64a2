"""A callee that accepts and says nothing: a stopped process is one."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from zegel.calls.base import Health
from zegel.errors import UnreachableError
from zegel.node.link import SocketLink


def test_a_connection_whose_greeting_is_not_answered_is_given_up() -> None:
    ended: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(await reader.read())  # until the other side closes
        writer.close()

    async def scene(path: Path) -> None:
        server = await asyncio.start_unix_server(silent, path)
        link = SocketLink(path, "vault")
        async with server:
            for _ in range(3):
                with pytest.raises(UnreachableError):
                    await link.call(Health(), timeout_s=0.05)
            async with asyncio.timeout(5):
                while len(ended) < 3:  # noqa: ASYNC110 - three tasks of the server's
                    await asyncio.sleep(0.01)
        await link.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder) / "vault.sock"))
    assert len(ended) == 3
