"""`zegel bench`: measure this machine's figures, each beside what limits it."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.errors import UsageError

__all__ = ["app", "bench"]

app = App(name="bench", help="Measure every stage of the path, each beside its limit.")
FLAG = Parameter(negative=())


@app.default
def bench(
    *stages: str,
    peers: Path | None = None,
    seconds: float = 60.0,
    rate: float = 0.0,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Measure core, limits, spool, vault, insert, e2e and demo, or only the stages named.

    Progress goes to standard error. A figure that misses what is asked of it changes no exit
    code: a busy machine is no bug; a stage that breaks is exit 1.

    Example: zegel bench core --peers .peers

    Args:
        stages: core, limits, spool, vault, insert, e2e, demo; default: all.
        peers: Folder of other decoders to compare with (benchmarks/peers/setup.sh makes it).
        seconds: How long the end-to-end case that must be kept runs; all others follow it.
        rate: Only this rate end to end, in pushes a second; default: several.
        json: Print one JSON document (zegel.bench/1).
    """
    from zegel.cli import output
    from zegel.cli.bench.run import run, text
    from zegel.cli.bench.stages import STAGES, Asked

    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise UsageError("stage", expected=", ".join(STAGES), found=unknown[0])
    if not 1 <= seconds <= 3600 or not 0 <= rate <= 100_000:
        expected = "--seconds 1 to 3600, --rate 0 to 100000"
        raise UsageError("benchmark", expected=expected, found=f"{seconds:g}, {rate:g}")
    document = run(stages, Asked(peers, seconds, rate, _progress()))
    if json:
        output.document(document)
    else:
        columns = ("Stage", "Figure", "Value", "Beside", "Ratio", "Asked")
        output.table(columns, text(document))
    return 1 if document.failed else 0


def _progress() -> Callable[[str], None]:
    """Return what tells on standard error how far it is."""
    began = time.monotonic()

    def say(line: str) -> None:
        at = time.monotonic() - began
        print(f"zegel: bench {at:5.0f} s  {line}", file=sys.stderr, flush=True)

    return say
