import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from zegel.node import switches
from zegel.node.switches import Switches


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    switches.reset()
    yield
    switches.reset()


def test_every_guard_is_on_by_default() -> None:
    assert switches.guard("vault.tag")
    assert not switches.is_test()


def test_a_guard_is_off_only_by_its_own_name() -> None:
    switches.install(Switches(guard_off=("vault.tag",)))
    assert not switches.guard("vault.tag")
    assert switches.guard("vault.tags")
    assert switches.is_test()


@pytest.mark.parametrize(("die_at", "reached"), [("sync.before", 1), ("sync.before:3", 3)])
def test_a_process_dies_at_the_nth_time_of_its_step(die_at: str, reached: int) -> None:
    code = (
        "from zegel.node import switches\n"
        f"switches.install(switches.Switches(die_at={die_at!r}))\n"
        "for n in range(5):\n"
        "    switches.step('sync.after')\n"
        "    print(n + 1, flush=True)\n"
        "    switches.step('sync.before')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, env=environment
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == [str(n + 1).encode() for n in range(reached)]


def test_the_clock_switch_shifts_time() -> None:
    before = switches.now()
    switches.install(Switches(clock_s=86_400.0))
    assert 86_399 < switches.now() - before < 86_500
