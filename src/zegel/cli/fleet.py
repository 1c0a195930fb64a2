"""`zegel fleet run`: push a simulated fleet at a node that runs, at a fixed rate."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.errors import ZegelError

__all__ = ["app", "run"]

app = App(name="fleet", help="Simulated meters against a node that runs.")
FLAG = Parameter(negative=())


@app.command
def run(
    *,
    host: str = "127.0.0.1",
    port: int = 9598,
    url: str | None = None,
    token_file: Path | None = None,
    meters: int = 1000,
    rate: float = 100.0,
    seconds: float = 10.0,
    seed: int = 1,
    suite: int = 0,
    keep_open: Annotated[bool, FLAG] = False,
    udp: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Bring new meters in through the API, then push at a fixed rate, one connection a push.

    Example: zegel fleet run --meters 1000 --rate 200 --seconds 10

    Args:
        host: Address of the node's edge.
        port: Its push port.
        url: The node's API; default ZEGEL_URL, else http://localhost:8480.
        token_file: File of the API token; default ZEGEL_TOKEN_FILE, else the data directory's.
        meters: New meters to bring in.
        rate: Pushes a second in all; 0 pushes as fast as receipts come.
        seconds: How long to push.
        seed: Seed of the simulated world; keys and serials are new each time.
        suite: Security suite: 0, 1 or 2.
        keep_open: Use each connection for many pushes.
        udp: One datagram a push.
        json: Print one JSON document (zegel.fleet_run/1).
    """
    from zegel.cli.client import Api
    from zegel.cli.load import Load, text

    try:
        load = Load(meters, rate, seconds, seed, suite, keep_open=keep_open, udp=udp)
        for name, value in (("ZEGEL_URL", url), ("ZEGEL_TOKEN_FILE", token_file)):
            if value is not None:
                os.environ[name] = str(value)  # a flag goes before the environment
        result = load.run(host, port, Api.from_environment())
    except ZegelError as error:
        print(error.line(), file=sys.stderr)
        return error.exit_code
    if json:
        import msgspec

        print(msgspec.json.encode(result).decode())
    else:
        print(text(result))
    return 1 if result.failed else 0
