"""Measure opening and decoding of pushes on one core, beside what limits them and their peers.

Every figure is CPU time of one process. Each round measures ours in short slices, `openssl speed`
and the peers; on every side the fastest slice counts, because others on the machine only ever add.
The measuring process is a child with malloc thresholds that keep it from handing memory back to
the kernel: page faults would cost more than decoding.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["MALLOC", "Peer", "run"]

MALLOC = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "268435456"}
OPENSSL = "openssl speed aes-128-gcm"
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Peer:
    """Another decoder: a program that reads a file of frames and prints JSON.

    `command FRAMES.jsonl COUNT` prints `{frames, seconds, decode_seconds, checksum, version}` as
    its last line; seconds are CPU time a frame, of the fastest slice. `must` is how many times
    faster ours has to be; `general` whether the general decoder is compared with it too.
    """

    name: str
    command: tuple[str, ...]
    frames: int
    must: float
    general: bool = False


# what ours is compared with, and the ratio that it must reach
GENERAL_MUST = 5.0
OPENSSL_MUST = 0.12


def run(*, peers: Sequence[Peer] = (), rounds: int = 3, seconds: float = 0.5) -> dict[str, Any]:
    """Measure and return one document.

    Args:
        peers: decoders to compare with; none are needed.
        rounds: how often everything is measured.
        seconds: at least this long for each of our own figures, each round.

    Returns:
        Sizes, versions, frames on and off the fast path, whether the sums of all
        registers are equal, and `results`: each has `name`, `unit`, `value`, `peer`, `limit`
        (what the peer reached), `ratio` and `must` (null where nothing is asked). A peer that is
        not there is named in `missing`.
    """
    with TemporaryDirectory(prefix="zegel-bench-") as folder:
        frames = Path(folder) / "frames.jsonl"
        found = [_round(frames, peers, seconds) for _ in range(rounds)]
    last = found[-1]
    present = [peer for peer in peers if peer.name in last["peers"]]
    results = [_result(found, *line) for line in _comparisons(present, has_limit=last["openssl"])]
    return {
        "frame_bytes": last["ours"]["frame_bytes"],
        "plaintext_bytes": last["ours"]["plaintext_bytes"],
        "batch": last["ours"]["batch"],
        "rounds": rounds,
        "versions": last["ours"]["versions"],
        "on_fast_path": last["ours"]["on_fast_path"],
        "off_fast_path": last["ours"]["off_fast_path"],
        "checksums_equal": all(_checksums_equal(one) for one in found),
        "missing": [peer.name for peer in peers if peer not in present],
        "results": results,
    }


Line = tuple[str, str, Callable[[dict[str, Any]], float] | None, float | None]


def _comparisons(peers: Sequence[Peer], *, has_limit: object) -> list[Line]:
    """Return (our figure, peer's name, its frames/s in a round, ratio asked) per result."""

    def limit(found: dict[str, Any]) -> float:
        return float(found["openssl"])

    against_openssl = limit if has_limit else None
    steps = ("open", "decode", "open+decode to Arrow", "open+general decoder", "build", "seal")
    musts = {"open+decode to Arrow": OPENSSL_MUST}
    lines: list[Line] = [(name, OPENSSL, against_openssl, musts.get(name)) for name in steps]
    for peer in peers:

        def whole(found: dict[str, Any], key: str = peer.name) -> float:
            return _speed(found["peers"][key], "seconds")

        def decoding(found: dict[str, Any], key: str = peer.name) -> float:
            return _speed(found["peers"][key], "decode_seconds")

        lines.append(("open+decode to Arrow", peer.name, whole, peer.must))
        lines.append(("decode", peer.name, decoding, None))
        if peer.general:
            lines.append(("open+general decoder", peer.name, whole, GENERAL_MUST))
            lines.append(("general decoder", peer.name, decoding, GENERAL_MUST))
            lines.append(("open+general decoder to columns", peer.name, whole, None))
    return lines


def _speed(peer: dict[str, Any], key: str) -> float:
    return 1 / float(peer[key])


def _result(
    found: list[dict[str, Any]],
    name: str,
    peer: str,
    speed: Callable[[dict[str, Any]], float] | None,
    must: float | None,
) -> dict[str, Any]:
    """Return one line: the best of the rounds, ours and theirs."""
    value = max(one["ours"]["frames_per_s"][name] for one in found)
    result = {"name": name, "unit": "frames/s", "value": round(value), "peer": peer}
    limit = ratio = None
    if speed is not None:
        best = max(map(speed, found))
        limit, ratio = float(f"{best:.4g}"), float(f"{value / best:.3g}")
    return result | {"limit": limit, "ratio": ratio, "must": must}


def _checksums_equal(found: dict[str, Any]) -> bool:
    sums = found["ours"]["sums"]
    return all(peer["checksum"] == sum(sums[: peer["frames"]]) for peer in found["peers"].values())


def _round(frames: Path, peers: Sequence[Peer], seconds: float) -> dict[str, Any]:
    """Measure ours, the limit and the peers once."""
    command = [sys.executable, "-m", "zegel.cli.bench.core_trial", str(frames), str(seconds)]
    ours = _run_json(command, os.environ | MALLOC)
    speeds = {}
    for peer in peers:
        if Path(peer.command[0]).exists():
            speeds[peer.name] = _run_json([*peer.command, str(frames), str(peer.frames)])
    return {"ours": ours, "openssl": _openssl(ours["plaintext_bytes"]), "peers": speeds}


def _run_json(command: Sequence[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a program and return the JSON of its last line."""
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S, env=env
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _openssl(size: int) -> float | None:
    """Return how many buffers of `size` bytes a second `openssl speed` encrypts (CPU time)."""
    command = ["openssl", "speed", "-seconds", "1", "-bytes", str(size), "-evp", "aes-128-gcm"]
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"AES-128-GCM\s+([\d.]+)k", done.stdout)
    return float(match.group(1)) * 1000 / size if match else None
