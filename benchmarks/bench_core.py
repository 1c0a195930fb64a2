"""Opening and decoding beside `openssl speed` and two peers; prints JSON.

Usage: python benchmarks/bench_core.py [ROUNDS]
The peers' environments are made by `benchmarks/peers/setup.sh`; one that is not there is named
in `missing`. The measuring itself is `zegel.cli.bench.core`, which `zegel bench` runs as well.
"""

import json
import sys
from pathlib import Path

from zegel.cli.bench.core import Peer, run

ROOT = Path(__file__).resolve().parent.parent


def peer(name: str, script: str, *, frames: int, must: float, general: bool = False) -> Peer:
    """Return a peer in its environment `.peers/NAME`."""
    python = ROOT / ".peers" / name / "bin" / "python"
    program = ROOT / "benchmarks" / "peers" / script
    return Peer(name, (str(python), str(program)), frames, must, general)


PEERS = (
    peer("dlms-cosem", "read_dlms_cosem.py", frames=400, must=80.0, general=True),
    peer("gurux-dlms", "read_gurux_dlms.py", frames=40, must=1500.0),
)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(json.dumps(run(peers=PEERS, rounds=rounds), indent=1))


if __name__ == "__main__":
    main()
