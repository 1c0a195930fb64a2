"""Open and decode pushes with dlms-cosem; prints JSON. Runs in its own environment only.

Usage: read_dlms_cosem.py FRAMES.jsonl COUNT
Each line of FRAMES: {"frame", "key", "auth_key", "plaintext"} in hex. Seconds are CPU time a
frame, of the fastest slice.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from dlms_cosem.protocol.xdlms import DataNotification, GeneralGlobalCipher
from dlms_cosem.utils import parse_as_dlms_data

SLICE = 25


def registers(plaintext: bytes) -> int:
    """Return the sum of both registers of all rows."""
    body = DataNotification.from_bytes(plaintext).body
    return sum(row[2] + row[3] for row in parse_as_dlms_data(body)[2])


def opened(frame: dict[str, bytes]) -> bytes:
    """Return the plaintext of a frame; the library checks its tag."""
    cipher = GeneralGlobalCipher.from_bytes(frame["frame"])
    return bytes(cipher.to_plain_apdu(frame["key"], frame["auth_key"]))


def measure(step: Callable[..., int], frames: list[dict[str, bytes]]) -> tuple[int, float]:
    """Return the sum of `step` over the frames, and seconds a frame of the fastest slice."""
    total, best = 0, float("inf")
    for at in range(0, len(frames), SLICE):
        part = frames[at : at + SLICE]
        start = time.process_time()
        total += sum(step(frame) for frame in part)
        best = min(best, (time.process_time() - start) / len(part))
    return total, best


def main() -> None:
    """Measure opening and decoding together, then decoding alone."""
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    texts = [json.loads(line) for line in path.read_text("ascii").splitlines()[:count]]
    frames = [{name: bytes.fromhex(text) for name, text in frame.items()} for frame in texts]
    checksum, seconds = measure(lambda frame: registers(opened(frame)), frames)
    _, decode_seconds = measure(lambda frame: registers(frame["plaintext"]), frames)
    found = {"frames": len(frames), "seconds": seconds, "decode_seconds": decode_seconds}
    print(json.dumps(found | {"checksum": checksum, "version": version("dlms-cosem")}))


main()
