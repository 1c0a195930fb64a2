"""Feed the decoder what is almost a frame: only our own errors may come out.

    PYTHONPATH=src:tests python tests/fuzz/fuzz_decode.py --count 1000000 --seed 7

Inputs are random bytes, and mutations of the vectors at every layer: the capture as it is, and
the APDU inside it, mutated and framed (and sealed) again with right checks, so that the
mutation reaches the layer it was meant for. The last line counts how they ended; exit 1 and
the input's hex if anything but a `ZegelError` came out, or a notification that was read is
not written back to the same bytes.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from helpers.vectors import vectors
from zegel.cosem import hdlc, mbus, wrapper
from zegel.cosem.apdu import DataNotification
from zegel.cosem.apdu.block_transfer import GeneralBlock
from zegel.cosem.decode import decode_capture
from zegel.cosem.decode.framing import read_bytes, unframe
from zegel.cosem.keys import Key
from zegel.cosem.security import SecurityHeader, seal_apdu
from zegel.errors import ZegelError

KEY = Key(bytes(range(16)), kind="encryption")
AUTHENTICATION_KEY = Key(bytes(range(16, 32)), kind="authentication")
LONGEST = 1500
# a notification of two compact-arrays, which no vector has
COMPACT = "0f00000001000202 1312040001000213020311090100020f0a0502abcdff010600 0203"


class Escaped(Exception):  # noqa: N818 -- it is what got away
    """An input that brought out something else than our own errors."""

    def __init__(self, capture: bytes, cause: str) -> None:
        super().__init__(f"{cause}: {capture.hex()}")


def fuzz(count: int, seed: int) -> Counter[str]:
    """Run `count` inputs; return how often each outcome came (`decoded` or an error's code).

    Raises:
        Escaped: at the first input that broke the rule.
    """
    dice, outcomes = random.Random(seed), Counter[str]()
    captures, apdus = _seeds()
    for _ in range(count):
        capture = _input(dice, captures, apdus)
        outcomes[_run(capture)] += 1
    return outcomes


def _seeds() -> tuple[list[bytes], list[bytes]]:
    captures, apdus = [], []
    for vector in vectors():
        raw = read_bytes(vector.capture)
        captures.append(raw)
        if vector.kind != "malformed":
            apdus.append(unframe(raw).apdu)
            plaintext = decode_capture(raw, **vector.keys()).plaintext
            apdus.append(bytes.fromhex(plaintext or "0f"))
    apdus.append(bytes.fromhex(COMPACT))
    return captures, apdus


def _run(capture: bytes) -> str:
    try:
        document = decode_capture(capture, key=KEY, authentication_key=AUTHENTICATION_KEY)
    except ZegelError as error:
        if not error.line().isprintable():
            raise Escaped(capture, "an error line that is not printable") from error
        return error.code
    except Exception as error:
        raise Escaped(capture, repr(error)) from error
    if document.apdu == "data-notification":
        plaintext = bytes.fromhex(document.plaintext or "")
        if DataNotification.decode(plaintext).encode() != plaintext:
            raise Escaped(capture, "read and written differ")
    return "decoded"


def _input(dice: random.Random, captures: list[bytes], apdus: list[bytes]) -> bytes:
    kind = dice.random()
    if kind < 0.1:
        start = dice.choice([b"", b"\x7e\xa0", b"\x68", b"\x00\x01", b"\x0f", b"\xdb\x08", b"\xe0"])
        return start + dice.randbytes(dice.randrange(200))
    if kind < 0.3:
        return _mutate(dice, dice.choice(captures), captures)
    apdu = _mutate(dice, dice.choice(apdus), apdus)
    return dice.choice(FRAMES)(dice, apdu)


def _mutate(dice: random.Random, data: bytes, others: list[bytes]) -> bytes:
    out = bytearray(data[:LONGEST])
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        at, end = sorted((dice.randrange(len(out) + 1), dice.randrange(len(out) + 1)))
        other = dice.choice(others)
        match dice.randrange(7):
            case 0 | 1 if out:
                out[dice.randrange(len(out))] = dice.choice(
                    [0, 1, 2, 9, 19, 0x7F, 0x80, 0x82, 0xFF]
                )
            case 2 if out:
                out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
            case 3:
                del out[at : min(end, at + 20)]
            case 4:
                out[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 5:
                out[at:at] = out[at : min(end, at + 60)]
            case _:
                out[at:] = other[dice.randrange(len(other)) :]
    return bytes(out[:LONGEST])


def _sealed(dice: random.Random, apdu: bytes) -> bytes:
    control = dice.choice([0x10, 0x20, 0x30, 0x31, 0x71])
    header = SecurityHeader(dice.choice([0xDB, 0xDC]), b"ZGL00001", control, dice.getrandbits(32))
    return seal_apdu(apdu, header, encryption_key=KEY, authentication_key=AUTHENTICATION_KEY)


def _hdlc(dice: random.Random, apdu: bytes) -> bytes:
    size = dice.choice([60, 120, 1900])
    parts = [apdu[at : at + size] for at in range(0, len(apdu), size)] or [b""]
    frames = [
        hdlc.HdlcFrame(b"\x41", b"\x08\x83", 0x13, part, segmented=part is not parts[-1])
        for part in parts
    ]
    return b"".join(map(hdlc.encode, frames))


def _mbus(_: random.Random, apdu: bytes) -> bytes:
    parts = [apdu[at : at + 240] for at in range(0, len(apdu), 240)] or [b""]
    out = b""
    for number, part in enumerate(parts):
        ci = number & 0x0F | (0x10 if number == len(parts) - 1 else 0)
        out += mbus.encode(mbus.MbusFrame(0x53, 0xFF, ci, b"\x01\x67" + part))
    return out


def _blocks(dice: random.Random, apdu: bytes) -> bytes:
    size = dice.choice([30, 100, 700])
    parts = [apdu[at : at + size] for at in range(0, len(apdu), size)] or [b""]
    frames = []
    for number, part in enumerate(parts, 1):
        last = 0x80 if number == len(parts) else 0
        block = GeneralBlock(0x40 | last, number, 0, part).encode()
        frames.append(wrapper.encode(wrapper.WrapperFrame(1, 102, block)))
    return b"".join(frames)


def _wrapper(_: random.Random, apdu: bytes) -> bytes:
    return wrapper.encode(wrapper.WrapperFrame(1, 102, apdu))


FRAMES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda _, apdu: apdu,
    _wrapper,
    _hdlc,
    _mbus,
    _blocks,
    _sealed,
    lambda dice, apdu: _hdlc(dice, _sealed(dice, apdu)),
    lambda _, apdu: apdu.hex(" ").encode(),
)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    start = time.monotonic()
    try:
        outcomes = fuzz(options.count, options.seed)
    except Escaped as escaped:
        print(f"seed {options.seed}: {escaped}", file=sys.stderr)
        return 1
    counts = ", ".join(f"{code} {number}" for code, number in sorted(outcomes.items()))
    took = time.monotonic() - start
    print(f"seed {options.seed}: {outcomes.total()} inputs in {took:.0f} s: {counts}; escaped 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
