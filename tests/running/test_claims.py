"""Claims about what is stored, each under attack; with its guard off the attack succeeds.

- What is stored is what was measured.
- A frame that is not authenticated is not stored.
"""

import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256

from helpers.attack import ask
from helpers.nodes import ZONE, RunningNode, Street, stored, street
from zegel.calls.store import FatesReport
from zegel.cosem.keys import Key
from zegel.cosem.push import wrap
from zegel.cosem.seal import seal
from zegel.cosem.security import ProtectedApdu, SecurityHeader, encode_protected, seal_apdu
from zegel.meter.faults import Scene, fault_frames
from zegel.node.switches import Switches

WRAPPER, HEAD, TAG = 8, 18, 12  # bytes of a push: wrapper; header in the clear; tag at its end
MORE_WH = 1000  # what a forger would have been used
GENERAL_GLO, GENERAL_DED = 0xDB, 0xDC

Frames = list[bytes]


def scene(made: Street, place: int = 0) -> Scene:
    """Return where an attack on the first meter happens, after `place` pushes."""
    block = made.block(0)
    return Scene(made.fleet, block, place, int(time.time()), ZONE, made.fleet, block)


def sent(node: RunningNode, frames: Frames) -> tuple[dict[str, int], int]:
    """Send frames over one connection; return how they were quarantined, how many were stored."""
    before = node.api.fates()
    with socket.create_connection(("127.0.0.1", node.push_port), timeout=10) as attacker:
        attacker.sendall(b"".join(frames))
        after = node.settled(before.received + len(frames))
    assert after.received - before.received == len(frames)
    return reasons(before, after), after.stored - before.stored


def reasons(before: FatesReport, after: FatesReport) -> dict[str, int]:
    more = {name: n - before.reasons.get(name, 0) for name, n in after.reasons.items()}
    return {name: n for name, n in more.items() if n}


def flipped(frame: bytes, bit: int) -> bytes:
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bit_of_a_value(made: Street) -> int:
    """Return the place, in the first meter's push, of the lowest bit of its import at noon."""
    value = int(made.block(0).import_wh[0, 48])
    (counter,) = (scene(made).counter,)
    plaintext = scene(made).plaintext(counter)
    return 8 * (WRAPPER + HEAD + plaintext.index(value.to_bytes(4, "big")) + 3)


def test_a_push_with_any_bit_flipped_is_not_stored_and_the_true_one_still_is(
    node: RunningNode,
) -> None:
    made = street(node, meters=1)
    push = made.pushes()[0].wire
    size = 8 * len(push)
    header, tag = range(8 * WRAPPER, 8 * (WRAPPER + HEAD)), range(size - 8 * TAG, size)
    some = random.Random(5).sample(range(8 * (WRAPPER + HEAD), size - 8 * TAG), 100)
    bits = [*header, *some, *tag, bit_of_a_value(made)]
    quarantined, kept = sent(node, [flipped(push, bit) for bit in bits])
    assert kept == 0
    assert sum(quarantined.values()) == len(bits)
    assert quarantined["bad_tag"] >= 100 + 8 * TAG
    assert stored(node, made) == []
    assert sent(node, [push]) == ({}, 1)
    assert dict(stored(node, made)) == made.truth()


def test_without_the_check_of_the_tag_a_flipped_bit_is_stored_as_another_value() -> None:
    with RunningNode({"vault": Switches(guard_off=("vault.tag",))}) as node:
        made = street(node, meters=1)
        push = made.pushes()[0].wire
        assert sent(node, [flipped(push, bit_of_a_value(made))]) == ({}, 1)
        found, truth = dict(stored(node, made)), made.truth()
    assert found.keys() == truth.keys()
    ((false, true),) = ((found[at], truth[at]) for at in truth if found[at] != truth[at])
    assert false == (true[0] ^ 1, true[1])


def protected(made: Street, control: int, tag: int = GENERAL_GLO) -> bytes:
    """Seal a false push with the meter's own keys, but not as it must be."""
    at, keys = scene(made, 1), made.fleet.keys
    header = SecurityHeader(tag, made.fleet.title(0), control, at.counter)
    plaintext = at.plaintext(at.counter, more_wh=MORE_WH)
    if not control & 0x30 or control & 0x80:
        return encode_protected(ProtectedApdu(header, plaintext, b""))
    return seal_apdu(
        plaintext,
        header,
        encryption_key=Key(keys.encryption(0), kind="encryption"),
        authentication_key=Key(keys.authentication(0), kind="authentication"),
    )


def plain(made: Street) -> bytes:
    at = scene(made, 1)
    return at.plaintext(at.counter, more_wh=MORE_WH)


def with_keys(made: Street, key: bytes, auth_key: bytes) -> bytes:
    at = scene(made, 1)
    plaintext = at.plaintext(at.counter, more_wh=MORE_WH)
    return seal(plaintext, key, auth_key, made.fleet.title(0), at.counter)


def with_a_wrong_key(made: Street, *, of: str) -> bytes:
    key, auth_key = made.fleet.keys.encryption(0), made.fleet.keys.authentication(0)
    wrong = secrets.token_bytes(16)
    return with_keys(made, *((wrong, auth_key) if of == "encryption" else (key, wrong)))


def with_its_neighbours_keys(made: Street) -> bytes:
    return with_keys(made, made.fleet.keys.encryption(1), made.fleet.keys.authentication(1))


def in_its_neighbours_name(made: Street) -> bytes:
    """Seal as oneself, with one's own keys and counter, what the first meter would have said."""
    plaintext, keys = plain(made), made.fleet.keys
    counter = int(made.fleet.floors[1]) + 2
    return seal(plaintext, keys.encryption(1), keys.authentication(1), made.fleet.title(1), counter)


def with_another_suite_named(made: Street) -> bytes:
    frame = bytearray(
        with_keys(made, made.fleet.keys.encryption(0), made.fleet.keys.authentication(0))
    )
    frame[HEAD - 5] = 0x31
    return bytes(frame)


def with_a_tag_cut_short(made: Street) -> bytes:
    """Cut the tag to four bytes; the lengths agree."""
    frame = with_keys(made, made.fleet.keys.encryption(0), made.fleet.keys.authentication(0))
    length = len(frame) - (HEAD - 5) - 8
    return frame[:11] + length.to_bytes(2, "big") + frame[HEAD - 5 : -8]


FORGERIES: dict[str, tuple[Callable[[Street], bytes], str]] = {
    "in the clear": (plain, "not_authenticated"),
    "no protection, in a ciphered frame": (partial(protected, control=0x00), "not_authenticated"),
    "authenticated only": (partial(protected, control=0x10), "not_authenticated"),
    "encrypted only": (partial(protected, control=0x20), "not_authenticated"),
    "with the broadcast key's mark": (partial(protected, control=0x70), "not_authenticated"),
    "compressed": (partial(protected, control=0xB0), "unsupported"),
    "for a suite that is not its own": (partial(protected, control=0x31), "not_authenticated"),
    "another suite named": (with_another_suite_named, "not_authenticated"),
    "dedicated key": (partial(protected, control=0x30, tag=GENERAL_DED), "unsupported"),
    "wrong encryption key": (partial(with_a_wrong_key, of="encryption"), "bad_tag"),
    "wrong authentication key": (partial(with_a_wrong_key, of="authentication"), "bad_tag"),
    "its neighbour's keys": (with_its_neighbours_keys, "bad_tag"),
    "short tag": (with_a_tag_cut_short, "bad_tag"),
    "in its neighbour's name": (in_its_neighbours_name, "identity_mismatch"),
}  # fmt: skip


def test_frames_that_are_not_authenticated_are_not_stored(node: RunningNode) -> None:
    made = {name: street(node, meters=2) for name in FORGERIES}
    before = node.api.fates()
    node.send([push for homes in made.values() for push in homes.pushes()])
    before = node.settled(before.received + 2 * len(made))
    forged = {name: forge(made[name]) for name, (forge, _) in FORGERIES.items()}
    _, kept = sent(node, [wrap(frame) for frame in forged.values()])
    found = {
        entry["sha256"]: entry["reason"]
        for entry in ask(node, "/v1/quarantine", cursor=before.position, limit=100)["entries"]
    }
    fates = {name: found.get(sha256(frame).hexdigest()) for name, frame in forged.items()}
    assert fates == {name: reason for name, (_, reason) in FORGERIES.items()}
    assert kept == 0
    for homes in made.values():
        assert dict(stored(node, homes)) == homes.truth()


def test_a_frame_in_the_clear_is_stored_where_the_store_does_not_ask_for_authentication() -> None:
    with RunningNode({"store": Switches(guard_off=("store.authenticated",))}) as node:
        made = street(node, meters=2)
        assert sent(node, [wrap(plain(made))]) == ({}, 1)
        at = bytes(made.fleet.serials[0]).decode()
        found = dict(stored(node, made))
    false = {k: (v[0] + MORE_WH, v[1]) for k, v in made.truth().items() if k[0] == at}
    assert found == false


def replayed(made: Street) -> Frames:
    """What the meter sent, sealed and true, the day before it was taken in."""
    return [push.wire for push in fault_frames("replay", scene(made))]


def test_a_push_recorded_before_intake_is_not_stored(node: RunningNode) -> None:
    made = street(node, meters=1)
    assert sent(node, replayed(made)) == ({"replay": 1}, 0)
    assert stored(node, made) == []


def test_without_the_floor_a_push_recorded_before_intake_is_stored() -> None:
    with RunningNode({"store": Switches(guard_off=("store.replay",))}) as node:
        made = street(node, meters=1)
        assert sent(node, replayed(made)) == ({}, 1)
        day_before = replace(made, days=[replace(d, day=d.day) for d in made.days])
        assert len(stored(node, day_before)) > 0
