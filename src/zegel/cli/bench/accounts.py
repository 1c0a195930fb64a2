"""What processes used: CPU and memory as /proc tells them, and what files take on the disk."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Snapshot", "bytes_below", "memory_kb", "take"]

TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """CPU seconds since their start, (user, system) by name, and of the whole machine.

    `at` on the monotonic clock; `machine` is (busy, all) seconds over all cores.
    """

    at: float
    used: dict[str, tuple[float, float]]
    machine: tuple[float, float]

    def since(self, earlier: "Snapshot") -> "Snapshot":
        """Return what was used between two snapshots; `at` becomes the seconds between them."""
        used = {
            name: (user - earlier.used[name][0], system - earlier.used[name][1])
            for name, (user, system) in self.used.items()
            if name in earlier.used
        }
        busy = self.machine[0] - earlier.machine[0]
        return Snapshot(self.at - earlier.at, used, (busy, self.machine[1] - earlier.machine[1]))

    @property
    def busy(self) -> float:
        """Share of the machine that was busy, by whomever."""
        return self.machine[0] / max(self.machine[1], 1e-9)


def take(pids: Mapping[str, Iterable[int]]) -> Snapshot:
    """Add up what the processes of each name have used. One that is gone used nothing."""
    used = {}
    for name, some in pids.items():
        times = [_times(pid) for pid in some]
        used[name] = (sum(t[0] for t in times), sum(t[1] for t in times))
    return Snapshot(time.monotonic(), used, _machine())


def _times(pid: int) -> tuple[float, float]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0, 0.0
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def _machine() -> tuple[float, float]:
    """Return busy and all seconds over all cores: idle and waiting for a disk are not busy."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    every = sum(fields) / TICK
    return every - (fields[3] + fields[4]) / TICK, every


def memory_kb(pid: int) -> tuple[int, int]:
    """Return resident memory now and at its highest, kB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0, 0
    found = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Vm"))
    now, most = (found.get(name, "0").split()[0] for name in ("VmRSS", "VmHWM"))
    return int(now), int(most)


def bytes_below(folder: Path) -> int:
    """Return what the files below a folder take on the disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).lstat().st_blocks * 512
            except OSError:
                continue  # a merge has removed it meanwhile
    return total
