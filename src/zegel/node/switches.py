"""The one test-only door: guards that can be off, a step to die at, a shifted clock.

Only a start document sets them, and `zegel serve` cannot write one. A node with any switch
set binds loopback only and says `test: true` in health, zones and every claim.
"""

import os
import signal
import time
from collections import Counter
from typing import ClassVar

import msgspec

__all__ = ["NONE", "Switches", "current", "guard", "install", "is_test", "now", "reset", "step"]


class Switches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`guard_off` names guards; `die_at` is `step.before` or `step.after`, with `:n` for the nth.

    `clock_s` is added to the clock of every zone.
    """

    guard_off: tuple[str, ...] = ()
    die_at: str = ""
    clock_s: float = 0.0


NONE = Switches()


class _State:
    switches = NONE
    seen: ClassVar[Counter[str]] = Counter()


def install(switches: Switches) -> None:
    """Set the switches of this process. Called once, from the start document."""
    _State.switches = switches
    _State.seen.clear()


def reset() -> None:
    """Put every switch back (between tests)."""
    install(NONE)


def current() -> Switches:
    """Return the switches of this process."""
    return _State.switches


def is_test() -> bool:
    """Tell whether any switch is set: such a process proves nothing about a real node."""
    return _State.switches != NONE


def guard(name: str) -> bool:
    """Tell whether the guard `name` is on: always, but in an attack's control."""
    return name not in _State.switches.guard_off


def step(name: str) -> None:
    """Mark a named step of the path, `append.before`; die here if the switch says so."""
    wanted = _State.switches.die_at
    if not wanted:
        return
    place, _, nth = wanted.partition(":")
    if name != place:
        return
    _State.seen[name] += 1
    if _State.seen[name] >= int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)


def now() -> float:
    """Return UTC seconds, shifted by the `clock` switch."""
    return time.time() + _State.switches.clock_s
