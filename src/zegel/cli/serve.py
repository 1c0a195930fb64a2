"""`zegel serve`: run a node until it is told to stop."""

import asyncio
import contextlib
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.errors import ConfigError
from zegel.node import config

__all__ = ["app"]

app = App(name="serve", help="Run a node.")

_NEEDED = ("litestar", "uvicorn", "uvloop", "chdb", "numpy", "pyarrow", "sqlalchemy", "structlog")


@app.default
def serve(
    *,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    data_dir: Path | None = None,
    push_port: int | None = None,
    api_port: int | None = None,
) -> None:
    """Run a node: a process per zone, until SIGINT or SIGTERM.

    Example: zegel serve --config node.toml

    Parameters
    ----------
    config_file
        TOML file; see `zegel config show` for the settings.
    data_dir
        Where the node keeps its data.
    push_port
        Port for meters that push; 0 takes a free one.
    api_port
        Port of the API; 0 takes a free one.
    """
    flags = {"node.data_dir": data_dir, "edge.port": push_port, "console.port": api_port}
    settings = config.load(
        config_file, {name: value if value is None else str(value) for name, value in flags.items()}
    )
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        expected, found = "pip install 'zegel[server]'", f"no {', '.join(missing)}"
        raise ConfigError("server extra is not installed", expected=expected, found=found)
    asyncio.run(_run(settings))


async def _run(settings: config.Config) -> None:
    from zegel.node.supervisor import Supervisor

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(settings)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    await starting
    for zone, pid in supervisor.pids.items():
        _say(f"{zone} is up; pid {pid}")
    _say(f"meters push to {settings.edge.host}:{supervisor.ports['push']}, TCP and UDP")
    _say(f"API at http://{settings.console.host}:{supervisor.ports['api']}")
    _say(f"token in {settings.token_file()}")
    await stopping
    _say("stopping")
    await supervisor.stop()


def _say(line: str) -> None:
    print(f"zegel: {line}", file=sys.stderr, flush=True)
