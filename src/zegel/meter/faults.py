"""The faults of the demo: frames that go wrong on purpose, and how each must end.

Every fault concerns one meter and is sent beside the fleet's right pushes, after these have
their receipts. `expected` is exact: the counts of fates beyond `stored` that must be found.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from zegel.cosem import wrapper
from zegel.cosem.push import DESTINATION_WPORT, SOURCE_WPORT, wrap
from zegel.cosem.seal import seal
from zegel.errors import UsageError
from zegel.meter.fleet import KEY_BYTES, Fleet
from zegel.meter.frames import Push, counters_of, plaintexts, sealed_push
from zegel.meter.truth import TruthBlock

__all__ = ["FAULTS", "Fault", "Scene", "fault_frames"]

DAY_S = 86_400
OVERSIZE_APDU = 60_000  # what the wrapper's length field says, in bytes
UNKNOWN_TITLE = b"ZGM\x00\x00\x00\x00\x00"  # operator 0 does not exist


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a fault happens: the first meter of `fleet`, which has just pushed `block`.

    `number` is the number of that push since intake, `pushed` its moment; `other` is another
    operator's fleet with its own push, `other_block`.
    """

    fleet: Fleet
    block: TruthBlock
    number: int
    pushed: int
    zone: ZoneInfo
    other: Fleet
    other_block: TruthBlock

    @property
    def counter(self) -> int:
        """The counter of the meter's push."""
        return int(counters_of(self.fleet, self.number)[0])

    def plaintext(self, counter: int, *, back_s: int = 0, more_wh: int = 0) -> bytes:
        """Write the meter's push, moved in time or with other registers."""
        block = TruthBlock(
            self.block.day,
            self.block.serials[:1],
            self.block.t - back_s,
            self.block.import_wh[:1] + more_wh,
            self.block.export_wh[:1],
        )
        counters = counters_of(self.fleet, self.number)[:1] * 0 + counter
        return bytes(plaintexts(block, counters, self.pushed - back_s, self.zone)[0])

    def push(self) -> Push:
        """Return the push that the meter sent, bit by bit."""
        return sealed_push(self.fleet, 0, self.counter, self.plaintext(self.counter))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by its name: the frames it sends, and the counts that must be found for it."""

    name: str
    make: Callable[[Scene], tuple[Push, ...]]
    expected: Mapping[str, int]


def fault_frames(name: str, scene: Scene) -> tuple[Push, ...]:
    """Make the frames of a fault.

    Raises:
        UsageError: no fault of that name, or the scene lacks the second operator it needs.
    """
    fault = FAULTS.get(name)
    if fault is None:
        raise UsageError("fault", expected=", ".join(FAULTS), found=name)
    return fault.make(scene)


def _bitflip(scene: Scene) -> tuple[Push, ...]:
    push = scene.push()
    wire = bytearray(push.wire)
    wire[len(wire) // 2] ^= 0x10  # the ciphertext begins at byte 26 and ends 12 before the end
    return (Push(bytes(wire), push.invoke_id),)


def _wrong_key(scene: Scene) -> tuple[Push, ...]:
    counter, size = scene.counter + 1, KEY_BYTES[scene.fleet.suite]
    key, auth_key = secrets.token_bytes(size), secrets.token_bytes(size)
    plaintext = scene.plaintext(counter)
    frame = seal(plaintext, key, auth_key, scene.fleet.title(0), counter, scene.fleet.suite)
    return (Push(wrap(frame), counter & 0xFFFFFF),)


def _replay(scene: Scene) -> tuple[Push, ...]:
    counter = int(scene.fleet.floors[0])  # its last push before intake, the day before
    used = int(scene.block.import_wh[0, -1] - scene.block.import_wh[0, 0])
    back = (scene.number + 1) * DAY_S
    plaintext = scene.plaintext(counter, back_s=back, more_wh=-used * (scene.number + 1))
    return (sealed_push(scene.fleet, 0, counter, plaintext),)


def _same_counter(scene: Scene) -> tuple[Push, ...]:
    plaintext = scene.plaintext(scene.counter, more_wh=1000)
    return (sealed_push(scene.fleet, 0, scene.counter, plaintext),)


def _plain(scene: Scene) -> tuple[Push, ...]:
    counter = scene.counter + 1
    return (Push(wrap(scene.plaintext(counter)), counter & 0xFFFFFF, cut=True),)


def _truncated(scene: Scene) -> tuple[Push, ...]:
    push = scene.push()
    return (Push(push.wire[: len(push.wire) * 3 // 5], push.invoke_id, cut=True),)


def _oversize(scene: Scene) -> tuple[Push, ...]:
    push = scene.push()
    header = wrapper.HEADER.pack(1, SOURCE_WPORT, DESTINATION_WPORT, OVERSIZE_APDU)
    return (Push(header + push.wire[wrapper.HEADER.size :], push.invoke_id, cut=True),)


def _unknown_meter(scene: Scene) -> tuple[Push, ...]:
    counter, suite = scene.counter, scene.fleet.suite
    key, auth_key = scene.fleet.keys.encryption(0), scene.fleet.keys.authentication(0)
    frame = seal(scene.plaintext(counter), key, auth_key, UNKNOWN_TITLE, counter, suite)
    return (Push(wrap(frame), counter & 0xFFFFFF),)


def _foreign_operator(scene: Scene) -> tuple[Push, ...]:
    if not len(scene.other):
        raise UsageError("fault", where="foreign-operator", expected="two meters or more")
    theirs = Scene(
        scene.other, scene.other_block, scene.number, scene.pushed, scene.zone,
        scene.fleet, scene.block,
    )  # fmt: skip
    return (theirs.push(),)


def _resend(scene: Scene) -> tuple[Push, ...]:
    return (scene.push(),)


def _truth(_scene: Scene) -> tuple[Push, ...]:
    return ()  # the truth file is falsified, not a frame


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("bitflip", _bitflip, {"bad_tag": 1}),
        Fault("wrong-key", _wrong_key, {"bad_tag": 1}),
        Fault("replay", _replay, {"replay": 1}),
        Fault("same-counter", _same_counter, {"forged_counter": 1}),
        Fault("plain", _plain, {"not_authenticated": 1}),
        Fault("truncated", _truncated, {"framing": 1}),
        Fault("oversize", _oversize, {"too_large": 1}),
        Fault("unknown-meter", _unknown_meter, {"unknown_meter": 1}),
        Fault("foreign-operator", _foreign_operator, {"unknown_meter": 1}),
        Fault("resend", _resend, {"duplicate": 1}),
        Fault("truth", _truth, {"wrong": 1}),
    )
}
