"""The demo's three nodes: real ones, each with its own processes, users, folders and keys."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from zegel.node.config import Config, ConsoleConfig, EdgeConfig, NodeConfig
from zegel.node.supervisor import Supervisor
from zegel.node.switches import Switches

__all__ = ["NAMES", "DemoNode", "Nodes"]

NAMES = ("noord", "midden", "zuid")
OLDEST_S = 300 * 86_400  # readings older than 13 months are refused as implausible
_HOUR_S = 3600.0
FIRST_USER, USERS_A_NODE, PLACES = 61_200, 8, 170  # numbers that distributions give to nobody


@dataclass(slots=True)
class DemoNode:
    """One operator's node. `token` is read when it has been made."""

    name: str
    supervisor: Supervisor

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.supervisor.ports['api']}"

    @property
    def push_port(self) -> int:
        """Where its edge listens."""
        return self.supervisor.ports["push"]

    @property
    def token_file(self) -> Path:
        """The file of its API token."""
        return self.supervisor.config.token_file()


class Nodes:
    """Three nodes in a temporary folder, on free ports. An async context manager.

    Leaving it stops them and removes the folder. Days that ended long ago (`ended`, UTC
    seconds) are pushed at nodes whose edge lives in that time: these say `test: true`.
    """

    def __init__(self, *, ended: float | None = None) -> None:
        age = 0.0 if ended is None else time.time() - ended
        past = {"edge": Switches(clock_s=-age + _HOUR_S)} if age > OLDEST_S else None
        self.folder = Path(tempfile.mkdtemp(prefix="zegel-demo-"))
        self.folder.chmod(0o711)  # the zones' users pass through, and see nothing
        self._nodes = [
            DemoNode(name, Supervisor(self._config(name, users), past, quiet=True))
            for name, users in zip(NAMES, _users(), strict=True)
        ]

    def __iter__(self) -> Iterator[DemoNode]:
        return iter(self._nodes)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(node.supervisor.start() for node in self._nodes))
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        stops = (node.supervisor.stop() for node in self._nodes)
        await asyncio.gather(*stops, return_exceptions=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _config(self, name: str, users: int) -> Config:
        return Config(
            node=NodeConfig(name=name, data_dir=str(self.folder / name), users=users),
            edge=EdgeConfig(port=0),
            console=ConsoleConfig(port=0),
        )


def _users() -> list[int]:
    """Return the first user of each node's zones: as root no two nodes share one."""
    if os.geteuid():
        return [0] * len(NAMES)
    first = FIRST_USER + len(NAMES) * USERS_A_NODE * secrets.randbelow(PLACES)
    return [first + USERS_A_NODE * number for number in range(len(NAMES))]
