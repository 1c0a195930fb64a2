"""The measuring process of the stages spool, vault and insert; prints JSON on its last line.

Each runs in a process of its own, with the malloc thresholds of a zone: what one leaves behind
in memory must not slow the next. Usage: python -m zegel.cli.bench.trial STAGE SECONDS
"""

import json
import os
import subprocess
import sys
from typing import Any

from zegel.cli.bench.core import MALLOC
from zegel.errors import UsageError, ZegelError

__all__ = ["main", "run"]

TIMEOUT_S = 600.0


def run(stage: str, seconds: float) -> dict[str, Any]:
    """Run a stage in a child and return what it measured.

    Raises:
        ZegelError: it failed; its last line says why.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "zegel.cli.bench.trial", stage, str(seconds)],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **MALLOC},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason"]
        raise ZegelError("benchmark failed", where=stage, found=lines[-1])
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main(stage: str, seconds: float) -> dict[str, Any]:
    """Measure one stage in this process."""
    if stage == "spool":
        from zegel.cli.bench import spool_trial

        return spool_trial.main(seconds)
    if stage == "vault":
        from zegel.cli.bench import vault_trial

        return vault_trial.main(seconds)
    if stage == "insert":
        from zegel.cli.bench import insert_trial

        return insert_trial.main()
    raise UsageError("stage", expected="spool, vault, insert", found=stage)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], float(sys.argv[2]))))
