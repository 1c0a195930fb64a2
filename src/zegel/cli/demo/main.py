"""The demo from its options to its exit code: nodes up, a run, its result, live until Ctrl-C."""

import asyncio
import signal
import sys
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import msgspec

from zegel.cli.demo.document import Document, right, text
from zegel.cli.demo.live import Feed
from zegel.cli.demo.nodes import Nodes
from zegel.cli.demo.progress import Display
from zegel.cli.demo.run import ZONE, Demo, Settings, run
from zegel.errors import UsageError
from zegel.meter.faults import FAULTS
from zegel.meter.fleet import KEY_BYTES

__all__ = ["Options", "Stop", "run_demo"]

MOST_METERS = 1_000_000
PERIOD_S = 2.0  # between live pushes
STOPPED = 128 + signal.SIGINT


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, read."""

    meters: int
    days: int
    start: date
    seed: int
    suite: int
    fault: str | None
    once: bool
    json: bool


class Stop:
    """Ctrl-C or SIGTERM ends the demo once; while it cleans up, more of them change nothing."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._asked)

    def _asked(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()


def run_demo(options: Options) -> int:
    """Run the demo and return its exit code.

    Raises:
        UsageError: an option that makes no demo.
        ZegelError: a node did not start, refused or did not answer.
    """
    _check(options)
    try:
        return asyncio.run(_demo(options))
    except asyncio.CancelledError:
        return STOPPED


def _check(options: Options) -> None:
    if not 1 <= options.meters <= MOST_METERS:
        raise UsageError("--meters", expected=f"1 to {MOST_METERS}", found=options.meters)
    if options.suite not in KEY_BYTES:
        raise UsageError("--suite", expected="0, 1 or 2", found=options.suite)
    if options.fault is not None and options.fault not in FAULTS:
        raise UsageError("--fault", expected=", ".join(FAULTS), found=options.fault)
    if options.fault == "foreign-operator" and options.meters < 2:
        raise UsageError("--meters", expected=">= 2 for this fault", found=options.meters)


async def _demo(options: Options) -> int:
    began = time.monotonic()
    Stop()
    settings = Settings(
        options.meters, options.days, options.start, options.seed, options.suite, options.fault
    )
    with Display.on_terminal(quiet=options.json) as display:
        async with Nodes(ended=_ended(options)) as nodes:
            with Demo(settings, nodes, display, began=began) as demo:
                document = await run(demo, nodes)
                display.finish()
                _show(document, json=options.json)
                if not options.once:
                    await _live(demo, nodes)
    return 0 if right(document) else 1


def _ended(options: Options) -> float:
    """Return when the last day that is pushed has ended, UTC seconds."""
    last = options.start + timedelta(days=options.days)
    return datetime(last.year, last.month, last.day, tzinfo=ZONE).timestamp()


def _show(document: Document, *, json: bool) -> None:
    line = msgspec.json.encode(document).decode() if json else text(document)
    print(line, flush=True)


async def _live(demo: Demo, nodes: Nodes) -> None:
    """Keep the nodes running and meters pushing until Ctrl-C."""
    say = [
        f"\nThe nodes keep running; every {PERIOD_S:g} s a meter of each pushes. Ctrl-C ends it."
    ]
    for node in nodes:
        ports = f"API {node.url}  push port {node.push_port}"
        say.append(f"  {node.name:7} {ports}  token {node.token_file}")
    print("\n".join(say), file=sys.stderr, flush=True)
    feed = Feed(demo)
    try:
        while True:
            await asyncio.sleep(PERIOD_S)
            await asyncio.to_thread(feed.push)
    except asyncio.CancelledError:
        return  # Ctrl-C is how a live demo ends
