"""A meter switches to its new key; nothing that was receipted is lost on the way."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.vault_meters import Bench, Meter, Sealed, call_of, meters, plaintexts
from zegel.calls.vault import KeysStatus, Opened, OpenVerdict
from zegel.errors import StorageError

OLD, NEW = b"under the old key", b"under the new key"
OK, BAD_TAG, NOT_AUTHENTICATED = 0, OpenVerdict.BAD_TAG, OpenVerdict.NOT_AUTHENTICATED
EPOCH = 1 << 40


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.vault.close()


def opened(bench: Bench, *frames: Sealed, first: int = EPOCH) -> Opened:
    return asyncio.run(bench.vault.open_frames(call_of(list(frames), first)))


def told(answer: Opened) -> list[tuple[int, int]]:
    """Verdict and version of each frame."""
    versions = np.frombuffer(answer.versions, "<u2").tolist()
    return list(zip(answer.verdicts, versions, strict=True))


def rotating(bench: Bench, suite: int = 0, number: int = 1) -> tuple[list[Meter], list[Meter]]:
    """Bring in meters, then their next keys."""
    old = meters(number)
    new = [Meter(meter.title, suite, version=2) for meter in old]
    asyncio.run(bench.bring_in(*old))
    asyncio.run(bench.bring_in(*new))
    return old, new


def states(bench: Bench) -> dict[str, int]:
    counts = asyncio.run(bench.vault.keys_status(KeysStatus())).by_state
    return {state.split()[1]: n for state, n in counts.items() if state.startswith("unicast")}


def test_until_the_meter_switches_its_old_key_opens(bench: Bench) -> None:
    (old,), _ = rotating(bench)
    for first in (EPOCH, EPOCH + 1):
        answer = opened(bench, old.seal(OLD), first=first)
        assert (told(answer), plaintexts(answer)) == ([(OK, 1)], [OLD])
    bench.again()
    assert told(opened(bench, old.seal(OLD))) == [(OK, 1)]
    assert states(bench) == {"active": 1, "new": 1}


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_the_first_frame_under_the_new_key_switches(bench: Bench, suite: int) -> None:
    (old, other), (new, _) = rotating(bench, suite, number=2)
    frames = [old.seal(OLD), other.seal(OLD), new.seal(NEW), old.seal(OLD + b"!"), new.seal(NEW)]
    answer = opened(bench, *frames)
    assert told(answer) == [(OK, 1), (OK, 1), (OK, 2), (OK, 1), (OK, 2)]
    assert plaintexts(answer) == [OLD, OLD, NEW, OLD + b"!", NEW]
    assert states(bench) == {"active": 2, "expired": 1, "new": 1}
    for _ in range(2):  # as the vault was, and as it comes back
        later = opened(bench, new.seal(NEW), old.seal(OLD), other.seal(OLD), first=EPOCH + 5)
        assert told(later)[::2] == [(OK, 2), (OK, 1)]
        assert later.verdicts[1] in (BAD_TAG, NOT_AUTHENTICATED)
        bench.again()


def test_the_same_frames_asked_for_again_open_again(bench: Bench) -> None:
    (old,), (new,) = rotating(bench)
    frames = [old.seal(OLD), new.seal(NEW)]
    first = opened(bench, *frames)
    assert told(opened(bench, *frames)) == told(first)
    bench.again()
    again = opened(bench, *frames)
    assert (told(again), plaintexts(again)) == (told(first), [OLD, NEW])
    assert told(opened(bench, frames[0])) == [(OK, 1)]  # the others may be stored already
    assert told(opened(bench, old.seal(OLD), first=EPOCH + 2)) == [(BAD_TAG, 2)]
    assert told(opened(bench, old.seal(OLD), first=1)) == [(BAD_TAG, 2)]  # of another epoch


def test_the_switch_is_durable_before_the_answer_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,), (new,) = rotating(bench)
    db = sqlite3.connect(bench.data / "keys.db")
    db.execute("PRAGMA busy_timeout = 0")
    bench.vault._keys._db.execute("PRAGMA busy_timeout = 0")
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="key database"):
        opened(bench, new.seal(NEW))
    assert "key database cannot be written" in bench.health.reasons[0]
    assert told(opened(bench, old.seal(OLD))) == [(OK, 1)]
    db.execute("ROLLBACK")
    db.close()
    assert told(opened(bench, new.seal(NEW))) == [(OK, 2)]
    assert not bench.health.reasons

    def dies(_opening: object) -> None:
        raise KeyboardInterrupt

    (newer,) = [Meter(new.title, version=3)]
    asyncio.run(bench.bring_in(newer))
    monkeypatch.setattr(bench.vault, "_note", dies)
    with pytest.raises(KeyboardInterrupt):
        opened(bench, newer.seal(NEW), first=EPOCH + 9)
    bench.again()
    assert states(bench) == {"active": 1, "expired": 2}


def test_a_frame_that_no_key_opens_switches_nothing(bench: Bench) -> None:
    (old, other), (new, _) = rotating(bench, number=2)
    frame = new.seal(NEW)
    forged = Sealed(new.title, frame.control, frame.counter, bytes(len(frame.sealed)))
    moved = Sealed(other.title, frame.control, frame.counter, frame.sealed)
    assert told(opened(bench, forged, moved)) == [(BAD_TAG, 1), (BAD_TAG, 1)]
    assert told(opened(bench, old.seal(OLD, control=0x10))) == [(NOT_AUTHENTICATED, 1)]
    assert states(bench) == {"active": 2, "new": 2}


def test_a_meter_may_switch_again_and_again(bench: Bench) -> None:
    fleet = meters(5)
    asyncio.run(bench.bring_in(*fleet))
    first = EPOCH
    for version in range(2, 6):
        fleet = [Meter(meter.title, version=version) for meter in fleet]
        asyncio.run(bench.bring_in(*fleet))
        for meter in fleet:  # one by one: keys used up and keys not used yet lie side by side
            assert told(opened(bench, meter.seal(NEW), first=first)) == [(OK, version)]
            first += 1
        assert (
            told(opened(bench, *(m.seal(NEW) for m in fleet), first=first)) == [(OK, version)] * 5
        )
        first += 5
    assert states(bench) == {"active": 5, "expired": 20}
    assert bench.health.counters["keys_switched"] == 20
    assert len(bench.vault._rotation._new) == 0


def test_frames_of_meters_without_another_key_are_deciphered_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meter, _), (_, _) = rotating(bench, number=2)
    asyncio.run(bench.bring_in(*meters(2, first=50)))
    (single, _) = meters(2, first=50)
    tried: list[object] = []
    decipher = bench.vault._opener._decipher

    def noting(*args: Any) -> None:
        tried.append(args)
        decipher(*args)

    monkeypatch.setattr(bench.vault._opener, "_decipher", noting)
    opened(bench, single.seal(OLD), meter.seal(OLD))
    assert len(tried) == 1
