"""Open and decode pushes with gurux-dlms (GPL-2); prints JSON. Runs in its own environment only.

Usage: read_gurux_dlms.py FRAMES.jsonl COUNT
Each line of FRAMES: {"frame", "key", "auth_key", "plaintext"} in hex. Seconds are CPU time a
frame, of the fastest slice. A peer for decoding, not for authenticity: it accepts a changed tag.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.secure import GXDLMSSecureClient

HEAD_BYTES = 18  # what stands before the body of a push's plaintext
SLICE = 4


def client() -> GXDLMSSecureClient:
    """Return a client that takes bare APDUs, authenticated and encrypted."""
    made = GXDLMSSecureClient(
        useLogicalNameReferencing=True,
        clientAddress=1,
        serverAddress=1,
        forAuthentication=Authentication.NONE,
        interfaceType=InterfaceType.PDU,
    )
    made.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    return made


def registers(body: list[Any]) -> int:
    """Return the sum of both registers of all rows."""
    return sum(int(row[2]) + int(row[3]) for row in body[2])


def whole(reader: GXDLMSSecureClient, frame: dict[str, bytes]) -> int:
    """Open and decode a frame."""
    reader.ciphering.blockCipherKey = frame["key"]
    reader.ciphering.authenticationKey = frame["auth_key"]
    notification = GXReplyData()
    reader.getData(GXByteBuffer(frame["frame"]), GXReplyData(), notification)
    return registers(notification.value)


def decode(reader: GXDLMSSecureClient, frame: dict[str, bytes]) -> int:
    """Decode a plaintext."""
    body = GXByteBuffer(frame["plaintext"][HEAD_BYTES:])
    return registers(_GXCommon.getData(reader.settings, body, _GXDataInfo()))


def measure(step: Callable[..., int], frames: list[dict[str, bytes]]) -> tuple[int, float]:
    """Return the sum of `step` over the frames, and seconds a frame of the fastest slice."""
    reader, total, best = client(), 0, float("inf")
    for at in range(0, len(frames), SLICE):
        part = frames[at : at + SLICE]
        start = time.process_time()
        total += sum(step(reader, frame) for frame in part)
        best = min(best, (time.process_time() - start) / len(part))
    return total, best


def main() -> None:
    """Measure opening and decoding together, then decoding alone."""
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    texts = [json.loads(line) for line in path.read_text("ascii").splitlines()[:count]]
    frames = [{name: bytes.fromhex(text) for name, text in frame.items()} for frame in texts]
    checksum, seconds = measure(whole, frames)
    _, decode_seconds = measure(decode, frames)
    found = {"frames": len(frames), "seconds": seconds, "decode_seconds": decode_seconds}
    print(json.dumps(found | {"checksum": checksum, "version": version("gurux-dlms")}))


main()
