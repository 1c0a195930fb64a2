"""The stages of `zegel bench`: each measures, and returns figures and details."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from zegel.cli.bench import core, trial
from zegel.cli.bench.document import Result, result

__all__ = ["PEERS", "STAGES", "Asked", "Found"]

Say = Callable[[str], None]
LOOPBACK_PUSHES = 60_000
E2E_METERS = 100_000
DEMO_METERS = 30_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for. `seconds` of one end-to-end case; `rate` 0: all of them."""

    peers: Path | None
    seconds: float
    rate: float
    say: Say


@dataclass(frozen=True, slots=True)
class Found:
    """What a stage found."""

    results: list[Result]
    details: Any
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerKind:
    """A peer: how many frames it is given, and how many times faster ours must be."""

    frames: int
    must: float
    general: bool


# In DIR/NAME of --peers: an environment with bin/python, and read.py (benchmarks/peers).
PEERS = {
    "dlms-cosem": PeerKind(frames=400, must=80.0, general=True),
    "gurux-dlms": PeerKind(frames=40, must=1500.0, general=False),
}


def core_stage(asked: Asked) -> Found:
    """Opening, decoding, building and sealing on one core."""
    peers = [] if asked.peers is None else [_peer(asked.peers, name) for name in PEERS]
    found = core.run(peers=peers, rounds=3, seconds=min(1.0, asked.seconds / 60))
    results = []
    for line in found["results"]:
        must = None if line["must"] is None else ("ratio", ">=", float(line["must"]))
        line_ = result(
            "core",
            line["name"],
            line["value"],
            line["unit"],
            peer=line["peer"],
            limit=line["limit"],
            must=must,  # type: ignore[arg-type]  # of constants
        )
        results.append(line_)
    missing = tuple(found.pop("missing"))
    del found["results"]
    return Found(results, found, missing)


def _peer(folder: Path, name: str) -> core.Peer:
    kind, place = PEERS[name], (folder / name).absolute()
    command = (str(place / "bin" / "python"), str(place / "read.py"))
    return core.Peer(name, command, kind.frames, kind.must, kind.general)


def limits_stage(asked: Asked) -> Found:
    """What bounds everything else: a synced write, and the kernel's loopback sockets."""
    from zegel.cli.bench import limits

    sync = limits.sync_latency()
    pushes = round(LOOPBACK_PUSHES * min(1.0, asked.seconds / 60)) or 1
    each = asyncio.run(limits.loopback(pushes, keep_open=False))
    kept = asyncio.run(limits.loopback(pushes, keep_open=True))
    note = "closed loop; a server that only answers, and the same generator, on the same cores"
    results = [
        result("limits", "write of 4 kB and fdatasync, p50", sync.p50, "ms"),
        result("limits", "write of 4 kB and fdatasync, p99", sync.p99, "ms"),
        result("limits", "loopback, connection per push", each.pushes_per_s, "pushes/s", note=note),
        result("limits", "loopback, kept open", kept.pushes_per_s, "pushes/s", note=note),
    ]
    details = {"sync_ms": sync, "connection_per_push": each, "kept_open": kept}
    return Found(results, msgspec.to_builtins(details))


def spool_stage(asked: Asked) -> Found:
    """Appending and syncing group commits, beside a bare write and fdatasync."""
    found = trial.run("spool", min(6.0, asked.seconds / 10))
    peer = "write and fdatasync of the same bytes"
    results = [
        result(
            "spool",
            f"append and sync, {group['frames']} frames a commit",
            group["spool_per_s"],
            "frames/s",
            peer=peer,
            limit=group["bare_per_s"],
        )
        for group in found["groups"]
    ]
    return Found(results, found)


def vault_stage(asked: Asked) -> Found:
    """Opening as the store asks for it, beside the bare cipher."""
    found = trial.run("vault", min(9.0, asked.seconds / 6))
    results = []
    for batch in found["batches"]:
        speeds = batch["per_s"]
        for name in ("in the vault", "through the link"):
            line = result(
                "vault",
                f"open {name}, {batch['batch']} a call",
                speeds[name],
                "frames/s",
                peer="bare Cipher, key at hand",
                limit=speeds["bare"],
                note="per second of CPU" + ("; both ends" if "link" in name else ""),
            )
            results.append(line)
    return Found(results, found)


def insert_stage(asked: Asked) -> Found:
    """Inserting the fleet's month, what it takes on the disk, and one meter's month back."""
    del asked
    found = trial.run("insert", 0)
    both = found["bytes_per_reading"] + found["frames_bytes_per_reading"]
    results = [
        result(
            "insert",
            f"readings and frames, {found['frames_per_insert']} frames an insert",
            found["rows_per_s"],
            "rows/s",
            peer="write and fsync of the same blocks",
            limit=found["bare_rows_per_s"],
            note="synced, encrypted, background merges included; a row is two readings",
        ),
        result(
            "insert",
            "bytes per reading after merges, frames included",
            both,
            "B",
            must=("value", "<=", 1.0),
            note=f"readings {found['bytes_per_reading']:.3f}, "
            f"frames {found['frames_bytes_per_reading']:.3f}",
        ),
        result("insert", "one meter's month", found["month_ms"], "ms", must=("value", "<=", 30.0)),
        result("insert", "one meter's month, before merges", found["month_ms_before_merges"], "ms"),
        result("insert", "export of two days, all meters, Arrow", found["export_mb_per_s"], "MB/s"),
    ]
    return Found(results, found)


def e2e_stage(asked: Asked) -> Found:
    """A whole node at fixed rates, the generator on the same cores."""
    return asyncio.run(_e2e(asked))


async def _e2e(asked: Asked) -> Found:
    from zegel.cli.bench import e2e, verdict

    half, whole = asked.seconds / 2, asked.seconds
    cases = [
        e2e.Case(2_500, half),
        e2e.Case(5_000, whole),
        e2e.Case(7_500, whole),
        e2e.Case(10_000, half),
        e2e.Case(12_000, half, keep_open=True, connections=1000),
    ]
    if asked.rate:
        cases = [
            e2e.Case(asked.rate, whole),
            e2e.Case(asked.rate, whole, keep_open=True, connections=1000),
        ]
    most = max(round(case.rate * case.seconds) for case in cases)
    async with e2e.one_node() as bed:
        took = await bed.take_in(min(E2E_METERS, most), operator=40)
        asked.say(f"e2e: {min(E2E_METERS, most)} meters taken in within {took:.1f} s")
        warm = await e2e.measure([bed], e2e.Case(1_000, 2), asked.say)
        runs = [await e2e.measure([bed], case, asked.say) for case in cases]
    results = [line for run in runs for line in verdict.figures("e2e", run)]
    details = {"meters": min(E2E_METERS, most), "intake_s": took, "warm_up": warm, "runs": runs}
    return Found(results, msgspec.to_builtins(details))


def demo_stage(asked: Asked) -> Found:
    """The demo's three nodes together, each with a generator of its own."""
    return asyncio.run(_demo(asked))


async def _demo(asked: Asked) -> Found:
    from zegel.cli.bench import e2e, verdict
    from zegel.cli.bench.bed import bed
    from zegel.cli.demo.nodes import Nodes

    async with Nodes() as nodes, AsyncExitStack() as stack:
        beds = [await stack.enter_async_context(bed(node.supervisor)) for node in nodes]
        for number, one in enumerate(beds):
            await one.take_in(DEMO_METERS // len(beds), operator=50 + number)
        await e2e.measure(beds, e2e.Case(900, 2), asked.say)
        case = e2e.Case(asked.rate or 3_000, asked.seconds / 2)
        run = await e2e.measure(beds, case, asked.say)
    return Found(verdict.figures("demo", run), msgspec.to_builtins(run))


Stage = Callable[[Asked], Found]

# in the order in which they run
STAGES: dict[str, Stage] = {
    "core": core_stage,
    "limits": limits_stage,
    "spool": spool_stage,
    "vault": vault_stage,
    "insert": insert_stage,
    "e2e": e2e_stage,
    "demo": demo_stage,
}
