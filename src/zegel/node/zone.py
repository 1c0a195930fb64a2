"""The life of a zone's process: start document, isolation, sockets, main, end."""

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

import zegel
from zegel.calls.base import Call, Empty, Health, HealthReport
from zegel.calls.table import callers_of
from zegel.errors import StorageError, ZegelError
from zegel.node import log, start, switches
from zegel.node.health import HealthState
from zegel.node.isolation import (
    drop_to,
    enter_empty_network,
    hide_memory,
    network_is_empty,
    open_way_to,
)
from zegel.node.link import Link, SocketLink, socket_path
from zegel.node.serving import Answerer, CallerSocket, Handler
from zegel.node.start import Ready, StartDocument

__all__ = ["Empty", "ZoneContext", "run_zone"]

_WITHOUT_NETWORK = ("vault", "store")
_GRACE_S = 5.0  # for main to return after it was asked to stop


class ZoneContext:
    """What a zone's main gets: its settings, its folder, and links to the others."""

    def __init__(
        self, document: StartDocument, bound: dict[str, socket.socket], isolation: str
    ) -> None:
        self.zone = document.zone
        self.config = document.config
        self.data: Path = document.config.data(document.zone)
        self.spool_dir: Path = document.config.spool_dir()
        self.health = HealthState(document.zone, isolation=isolation)
        self.log = log.configure(document.zone)
        self.stopping = asyncio.Event()
        self.is_ready = False
        self._users = document.users
        self._bound = bound
        self._sockets: list[CallerSocket] = []
        self._links: list[Link] = []

    def link(self, callee: str) -> Link:
        """Return a link to another zone; it connects at its first call."""
        path = socket_path(self.config.run(), callee, self.zone)
        link = SocketLink(path, callee, callee_user=self._users.of(callee))
        self._links.append(link)
        return link

    async def serve(self, handlers: Mapping[type[Call], Handler]) -> None:
        """Answer calls from now on. `Health` is answered here unless given."""
        answers: dict[type[Call], Handler] = {Health: self._health, **handlers}
        for caller, bound in self._bound.items():
            answerer = Answerer(answers, caller=caller, callee=self.zone, on_fault=self._fault)
            answering = CallerSocket(answerer, caller_user=self._users.of(caller))
            await answering.listen(bound)
            self._sockets.append(answering)

    def ready(self, **ports: int) -> None:
        """Tell the supervisor that this zone is up, and on which ports."""
        self.is_ready = True
        _say(Ready(ports=ports))

    async def close(self) -> None:
        """Close links and sockets."""
        for answering in self._sockets:
            answering.close()
        for link in self._links:
            await link.close()

    async def _health(self, _call: Health) -> HealthReport:
        return self.health.report()

    def _fault(self, call: str, error: BaseException) -> None:
        self.health.count("internal_errors")
        self.log.error("call failed", call=call, exc_info=error)


def run_zone(zone: str, module: str) -> None:
    """Run a zone's process until it is told to stop, or its supervisor is gone."""
    line = _first_line()
    code = 1
    try:
        document = start.read(line)
        switches.install(document.switches)
        isolation, bound, main = _isolate(document, zone, module)
        code = _run(document, bound, isolation, main)
    except ZegelError as error:
        _say(Ready(error=error.line(), exit_code=error.exit_code))
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 - an unforeseen failure is told in one line
        wrapped = ZegelError(f"{zone} could not start", found=f"{type(error).__name__}: {error}")
        _say(Ready(error=wrapped.line(), exit_code=1))
    sys.stderr.flush()
    os._exit(code)  # threads of libraries must not keep a stopped zone alive


def _first_line() -> bytes:
    """Read one line from standard input and nothing beyond it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _say(ready: Ready) -> None:
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(ready) + b"\n")


Main = Callable[[ZoneContext], Awaitable[None]]


def _isolate(
    document: StartDocument, zone: str, module: str
) -> tuple[str, dict[str, socket.socket], Main]:
    """Take what needs root, load the zone's code, then give root away."""
    user = document.users.of(zone)
    if user and zone in _WITHOUT_NETWORK and not enter_empty_network():
        raise StorageError("network namespace", where=zone, expected="a new, empty one")
    if user and not open_way_to(_program()):
        raise StorageError("program", where=sys.prefix, expected="a folder that others can reach")
    main: Main = importlib.import_module(module).main
    bound = {
        caller: _bind(document.config.run(), zone, caller, document.users.of(caller))
        for caller in callers_of(zone)
    }
    os.umask(0o027 if zone == "edge" else 0o077)
    if user:
        groups = (document.users.spool,) if zone in ("edge", "store") else ()
        drop_to(user, groups)
    hide_memory()
    if not user:
        return "none", bound, main
    return ("namespace" if network_is_empty() else "uid"), bound, main


def _program() -> tuple[Path, ...]:
    """Return the folders that a running zone may still load code and data from."""
    code = Path(zegel.__file__).absolute().parent
    return (Path(sys.prefix).absolute(), Path(sys.base_prefix).absolute(), code)


def _bind(run: Path, zone: str, caller: str, user: int) -> socket.socket:
    """Make the socket on which `caller`, and nobody else, may call."""
    path = socket_path(run, zone, caller)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    if user:
        os.chown(path, user, user)
    path.chmod(0o600)
    return bound


def _run(
    document: StartDocument, bound: dict[str, socket.socket], isolation: str, main: Main
) -> int:
    factory = _uvloop() if document.zone == "edge" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_live(document, bound, isolation, main))


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop  # noqa: PLC0415 - only the edge needs it

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _live(
    document: StartDocument, bound: dict[str, socket.socket], isolation: str, main: Main
) -> int:
    context = ZoneContext(document, bound, isolation)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, context.stopping.set)
    loop.add_reader(0, _watch_pipe, loop, context.stopping)
    working: asyncio.Future[Any] = asyncio.ensure_future(main(context))
    asked = asyncio.ensure_future(context.stopping.wait())
    await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
    context.stopping.set()
    try:
        await asyncio.wait_for(working, _GRACE_S)
    except TimeoutError:
        context.log.warning("did not stop in time", seconds=_GRACE_S)
        return 1
    except ZegelError as error:
        if context.is_ready:
            context.log.warning("zone failed", error=error.line())
        else:
            _say(Ready(error=error.line(), exit_code=error.exit_code))
        return error.exit_code
    except Exception as error:
        if not context.is_ready:
            raise  # told to the supervisor as the reason why it did not start
        context.log.exception("zone failed", exc_info=error)
        return 1
    finally:
        await context.close()
    return 0


def _watch_pipe(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stopping.set()
