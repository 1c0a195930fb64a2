"""The supervisor: starts a node's zones, restarts them with back-off, stops them in order.

It holds no key and answers no call. A zone's standard input is its start document and its
life line; its standard output tells readiness; its standard error goes to ours.
"""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field

import msgspec

from zegel.calls.table import ZONES
from zegel.errors import ConfigError, RefusedError, ZegelError
from zegel.node import datadir
from zegel.node.config import Config
from zegel.node.start import Ready, StartDocument
from zegel.node.switches import NONE, Switches

__all__ = ["StartError", "Supervisor"]

_READY_S = 60.0
_STOP_S = 15.0
_BACK_OFF_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
_STEADY_S = 30.0  # a zone that lived this long starts again at the first back-off
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# glibc gives big blocks back to the kernel by default; page faults then cost more than
# decoding (docs/explanation/architecture.md).
_MALLOC = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "268435456"}


_PASSED_ON = ("PATH", "LANG", "LC_", "TZ", "HOME", "TMPDIR", "PYTHON", "SSL_CERT_", "OPENBLAS_")
_SECTIONS = {
    "edge": ("node", "edge", "spool"),
    "vault": ("node", "vault"),
    "store": ("node", "store", "registry"),
    "console": ("node", "console"),
}


class StartError(ZegelError):
    """A zone could not start; its own line says why."""

    code = "start"

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self._line = line
        self.exit_code = exit_code  # type: ignore[misc]  # the zone's own, not the class's

    def line(self) -> str:
        """Return the zone's own line."""
        return self._line


@dataclass(slots=True)
class _Zone:
    name: str
    switches: Switches
    process: asyncio.subprocess.Process | None = None
    keeper: "asyncio.Task[None] | None" = None
    up: asyncio.Event = field(default_factory=asyncio.Event)
    ports: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    endings: list[int] = field(default_factory=list)  # return codes
    armed: bool = True  # the next process gets all switches; its successors die at no step


class Supervisor:
    """One node's processes."""

    def __init__(
        self, config: Config, switches: dict[str, Switches] | None = None, *, quiet: bool = False
    ) -> None:
        self.config, self._quiet = config, quiet
        self._zones = {name: _Zone(name, (switches or {}).get(name, NONE)) for name in ZONES}
        self._test = any(zone.switches != NONE for zone in self._zones.values())
        self._directory: datadir.DataDirectory | None = None
        self._stopping = False

    @property
    def ports(self) -> dict[str, int]:
        """The ports of all zones, by name: push, api."""
        return {name: port for zone in self._zones.values() for name, port in zone.ports.items()}

    @property
    def pids(self) -> dict[str, int]:
        """The process of each zone that runs."""
        return {
            zone.name: zone.process.pid
            for zone in self._zones.values()
            if zone.process is not None and zone.process.returncode is None
        }

    @property
    def restarts(self) -> dict[str, int]:
        """How often each zone was started again."""
        return {zone.name: max(0, zone.starts - 1) for zone in self._zones.values()}

    @property
    def endings(self) -> dict[str, list[int]]:
        """The return codes of each zone's processes that ended while the node ran."""
        return {zone.name: list(zone.endings) for zone in self._zones.values()}

    async def start(self) -> None:
        """Prepare the data directory and start every zone.

        Raises:
            ConfigError, ConflictError: the data directory.
            StartError: a zone's own reason.
        """
        if self._test and {self.config.edge.host, self.config.console.host} - set(_LOOPBACK):
            raise ConfigError("a test node binds loopback only", where="[edge] host")
        self._directory = datadir.prepare(self.config, must_be_new=self._test)
        try:
            await self._start_all()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the zones in the order edge, console, store, vault."""
        self._stopping = True
        for name in ZONES:
            await self._stop_zone(self._zones[name])
        if self._directory is not None:
            self._directory.close()
            self._directory = None

    async def wait_up(self, zone: str, timeout_s: float = _READY_S) -> None:
        """Wait until a zone says that it is up (again)."""
        await asyncio.wait_for(self._zones[zone].up.wait(), timeout_s)

    def kill(self, zone: str) -> None:
        """Send SIGKILL to a zone; it is started again (tests and attacks)."""
        process = self._zones[zone].process
        if process is not None and process.returncode is None:
            self._zones[zone].up.clear()
            process.kill()

    async def restart(self, zone: str, switches: Switches) -> None:
        """Stop one zone of a test node and start it with other switches (attacks, controls).

        Raises:
            RefusedError: no test node.
        """
        if not self._test:
            raise RefusedError("switches", where=zone, expected="a test node", found="a node")
        kept = self._zones[zone]
        kept.switches, kept.armed = switches, True
        kept.up.clear()
        if kept.process is not None and kept.process.returncode is None:
            kept.process.terminate()
        await self.wait_up(zone)

    async def kill_all(self) -> None:
        """End every zone with SIGKILL and start none again: a power cut, as zones see it."""
        self._stopping = True
        for zone in self._zones.values():
            if zone.process is not None and zone.process.returncode is None:
                zone.process.kill()
        await self.stop()

    async def _start_all(self) -> None:
        """Start the vault, which others ask at their start, then the others at once."""
        await self._first_start(self._zones["vault"])
        try:
            async with asyncio.TaskGroup() as group:
                for zone in self._zones.values():
                    if zone.name != "vault":
                        group.create_task(self._first_start(zone))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _first_start(self, zone: _Zone) -> None:
        ready = await self._launch(zone)
        if ready.error:
            raise StartError(ready.error, ready.exit_code)
        zone.keeper = asyncio.create_task(self._keep(zone))

    async def _launch(self, zone: _Zone) -> Ready:
        """Start a zone's process and wait for its first line."""
        assert self._directory is not None  # noqa: S101 - start() prepared it
        switches = zone.switches
        if not zone.armed:
            switches = Switches(guard_off=switches.guard_off, clock_s=switches.clock_s)
        zone.armed = False
        document = StartDocument(
            zone.name, _told(self._pinned(), zone.name), self._directory.users, switches
        )
        zone.starts += 1
        zone.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            f"zegel.{zone.name}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL if self._quiet else None,
            env=_environment(),
            start_new_session=True,
        )
        assert zone.process.stdin is not None  # noqa: S101 - piped
        with contextlib.suppress(ConnectionError):
            zone.process.stdin.write(msgspec.json.encode(document) + b"\n")
            await zone.process.stdin.drain()
        ready = await self._first_line(zone)
        if not ready.error:
            zone.ports = ready.ports or zone.ports
            zone.up.set()
        return ready

    async def _first_line(self, zone: _Zone) -> Ready:
        assert zone.process is not None  # noqa: S101 - just started
        assert zone.process.stdout is not None  # noqa: S101 - piped
        try:
            line = await asyncio.wait_for(zone.process.stdout.readline(), _READY_S)
            return msgspec.json.decode(line, type=Ready)
        except TimeoutError:
            zone.process.kill()
            await zone.process.wait()
            return Ready(
                error=f"zegel: start: {zone.name} was not up in {_READY_S:g} s", exit_code=1
            )
        except msgspec.MsgspecError:
            code = await zone.process.wait()
            return Ready(error=f"zegel: start: {zone.name} ended at once; exit {code}", exit_code=1)

    def _pinned(self) -> Config:
        """Return the settings with the ports that are known by now: they stay over a restart."""
        edge, console = self.config.edge, self.config.console
        edge = msgspec.structs.replace(edge, port=self.ports.get("push", edge.port))
        console = msgspec.structs.replace(console, port=self.ports.get("api", console.port))
        return msgspec.structs.replace(self.config, edge=edge, console=console)

    async def _keep(self, zone: _Zone) -> None:
        """Start a zone again whenever it ends."""
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            assert zone.process is not None  # noqa: S101 - started before
            began = loop.time()
            code = await zone.process.wait()
            zone.up.clear()
            zone.endings.append(code)
            if self._is_stopping():
                return
            steady = zone.armed or loop.time() - began > _STEADY_S
            tries = 0 if steady else min(tries + 1, len(_BACK_OFF_S))
            await asyncio.sleep(_BACK_OFF_S[max(tries - 1, 0)])
            if self._is_stopping():
                return
            ready = await self._relaunch(zone)
            if ready.error and not self._quiet:
                print(ready.error, file=sys.stderr, flush=True)  # noqa: T201 - our log line

    async def _relaunch(self, zone: _Zone) -> Ready:
        """Launch; what the machine refuses just now is tried again like any failed start."""
        try:
            return await self._launch(zone)
        except OSError as error:
            return Ready(error=f"zegel: start: {zone.name}; {error.strerror}", exit_code=1)

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _stop_zone(self, zone: _Zone) -> None:
        if zone.keeper is not None:  # first: it may be about to start another process
            zone.keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await zone.keeper
            zone.keeper = None
        process = zone.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)  # a stopped process cannot hear us
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        if process is not None:
            _close_pipes(process)


def _close_pipes(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _environment() -> dict[str, str]:
    """Return what a zone needs of our environment: whatever else it holds stays with us."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return {**passed, **_MALLOC, "PYTHONUNBUFFERED": "1"}


def _told(config: Config, zone: str) -> Config:
    """Return a zone's own sections, with absolute paths; the others stand at their defaults."""
    node = msgspec.structs.replace(
        config.node, data_dir=str(config.data()), run_dir=str(config.run())
    )
    config = msgspec.structs.replace(config, node=node)
    return Config(**{name: getattr(config, name) for name in _SECTIONS[zone]})
