"""What an end-to-end case came to, its figures, and what limits it."""

from typing import Any

import msgspec

from zegel.cli.bench.document import Must, Result, result

__all__ = ["GROWING", "Cpu", "Latency", "Run", "figures", "limit"]

FULL = 0.93  # of all cores: nothing more is to be had
KEPT = 0.99  # of the rate: what is late at the window's edge is not lost
MUST_RATE, MUST_KEPT = 5_000, 12_000  # pushes a second that must be kept
GROWING = 0.01  # of the rate: a backlog that grows by less stands still


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from the instant at which a push was due."""

    p50: float
    p95: float
    p99: float
    worst: float


class Cpu(msgspec.Struct, frozen=True):
    """CPU of one kind of process: µs per push in user and system mode, share of all cores."""

    user_us: float
    system_us: float
    share: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one case came to, over all nodes."""

    name: str
    rate: float
    seconds: float
    kept_open: bool
    nodes: int
    sent: int
    confirmed: int
    confirmed_in_window: int
    stored: int
    stored_in_window: int
    resent: int
    failed: int
    took_s: float  # to the last receipt
    drain_s: float  # from the last receipt until all is stored
    receipt_ms: Latency
    queryable_ms: Latency
    backlog_growth: float  # pushes a second, of what is due and not stored
    backlog_most: int  # receipted and not stored
    segments_most: int
    growing: bool
    off_fast_path: float  # share of the stored pushes
    cpu: dict[str, Cpu]
    machine_busy: float
    others_busy: float  # share of all cores that was used by neither node nor generator
    memory_mb: dict[str, tuple[float, float]]  # now, at most
    disk_bytes_per_reading: float
    zones_restarted: int
    limited_by: str


def limit(run: Run) -> str:
    """Say in a few words what limits a run."""
    largest = sorted(run.cpu.items(), key=lambda item: -item[1].share)[:3]
    shares = ", ".join(f"{name} {used.share:.0%}" for name, used in largest)
    if run.others_busy > 0.1:
        shares += f"; others on the machine {run.others_busy:.0%}"
    kept = not run.growing and run.confirmed_in_window >= KEPT * run.rate * run.seconds
    if run.machine_busy >= FULL:
        what = "the rate was kept with all cores busy" if kept else "all cores are busy"
        return f"{what} ({shares})"
    if kept:
        return f"nothing: the rate was kept with {run.machine_busy:.0%} of the cores ({shares})"
    return f"not the cores as a whole, {run.machine_busy:.0%} busy ({shares})"


def figures(stage: str, run: Run) -> list[Result]:
    """Return a run's figures; the case of 5 000 a second, each on a connection, is a must."""
    asked = not run.kept_open and run.rate == MUST_RATE
    asked_kept = run.kept_open and run.rate >= MUST_KEPT
    must = (run.rate * KEPT) if stage == "e2e" and (asked or asked_kept) else None
    state = "growing" if run.growing else "steady"

    def line(name: str, value: float, unit: str, **more: Any) -> Result:
        return result(stage, f"{run.name}: {name}", value, unit, **more)

    at_least: Must | None = None if must is None else ("value", ">=", must)
    still: Must | None = None if must is None else ("value", "<=", GROWING * run.rate)
    soon: Must | None = ("value", "<=", 1000.0) if run.rate == MUST_RATE / 2 else None
    lines = [
        line("receipted in the window", run.confirmed_in_window / run.seconds, "pushes/s",
             peer="the rate", limit=run.rate, must=at_least),
        line("stored in the same window", run.stored_in_window / run.seconds, "pushes/s",
             peer="the rate", limit=run.rate, note=run.limited_by),
        line("growth of the backlog", run.backlog_growth, "pushes/s", must=still, note=state),
        line("drain after the last receipt", run.drain_s, "s"),
        line("receipt, p50", run.receipt_ms.p50, "ms"),
        line("receipt, p99", run.receipt_ms.p99, "ms"),
        line("push to queryable, p50", run.queryable_ms.p50, "ms"),
        line("push to queryable, p95", run.queryable_ms.p95, "ms", must=soon),
        line("off the fast path", 100 * run.off_fast_path, "%", must=("value", "<=", 1.0)),
        line("disk per reading, frames and replaced parts included",
             run.disk_bytes_per_reading, "B"),
    ]  # fmt: skip
    for name, used in run.cpu.items():
        share = f"{used.user_us:g} user, {used.system_us:g} system; {used.share:.1%} of all cores"
        lines.append(line(f"CPU, {name}", used.user_us + used.system_us, "µs/push", note=share))
    for name, (now, most) in run.memory_mb.items():
        lines.append(line(f"memory, {name}", now, "MB", note=f"at most {most:.0f}"))
    return lines
