"""`zegel demo`: three operators, sealed pushes over real sockets, every reading checked."""

import sys
from datetime import date, datetime, timedelta
from typing import Annotated

from cyclopts import App, Parameter

from zegel.errors import UsageError, ZegelError

__all__ = ["app", "demo"]

app = App(name="demo", help="Run three operators' nodes and check every reading.")
FLAG = Parameter(negative=())


@app.default
def demo(
    *,
    meters: int = 30,
    days: int = 1,
    start: str | None = None,
    seed: int = 1,
    suite: int = 0,
    fault: str | None = None,
    once: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Run three nodes (noord, midden, zuid), push a simulated fleet at them, check every reading.

    Example: zegel demo --meters 10 --days 1 --start 2026-03-29 --once --json

    Args:
        meters: Meters in all, split evenly over the nodes.
        days: Days of quarter hours that each meter pushes.
        start: First local day, YYYY-MM-DD; default: yesterday minus DAYS.
        seed: Seed of the simulated world; keys are random all the same.
        suite: Security suite: 0, 1 or 2.
        fault: Make one thing go wrong, by its name: bitflip, wrong-key, replay, same-counter,
            plain, truncated, oversize, unknown-meter, foreign-operator, resend or truth.
        once: Stop after the check and remove everything; else keep running until Ctrl-C.
        json: Print one JSON document (zegel.demo/1).
    """
    from zegel.cli.demo.main import Options, run_demo

    try:
        first = _start(start, days)
        options = Options(meters, days, first, seed, suite, fault, once=once, json=json)
        return run_demo(options)
    except ZegelError as error:
        print(error.line(), file=sys.stderr)
        return error.exit_code


def _start(text: str | None, days: int) -> date:
    """Return the first day; all days must be over, by the clock of the Netherlands."""
    from zegel.cli.demo.run import ZONE

    today = datetime.now(ZONE).date()
    if not 1 <= days <= 366:
        raise UsageError("--days", expected="1 to 366", found=days)
    if text is None:
        return today - timedelta(days=1 + days)
    try:
        first = date.fromisoformat(text)
    except ValueError:
        raise UsageError("--start", expected="YYYY-MM-DD", found=text) from None
    if not date(2000, 1, 1) <= first <= today - timedelta(days=days):
        expected = f"2000-01-01 to {today - timedelta(days=days)}, so that all days are over"
        raise UsageError("--start", expected=expected, found=text)
    return first
