"""The demo's result: one JSON document (zegel.demo/1), or a few lines for people."""

from typing import Literal

import msgspec

__all__ = ["Document", "FaultResult", "Frames", "Node", "Readings", "right", "text"]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One operator's node."""

    name: str
    meters: int


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """Fates of frames over all nodes; `sent` counts whole frames that left, resends included."""

    sent: int
    received: int
    stored: int
    duplicate: int
    quarantined: int
    reasons: dict[str, int]


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """Register values: expected by the truth file, and how they came back through the API."""

    expected: int
    stored: int
    missing: int
    twice: int
    wrong: int


class FaultResult(msgspec.Struct, frozen=True, kw_only=True):
    """The fault that was asked for, the counts that it must cause, and those found."""

    name: str
    expected: dict[str, int]
    found: dict[str, int]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo found. `isolation` is that of the zone that has least of it."""

    schema: Literal["zegel.demo/1"] = "zegel.demo/1"
    meters: int
    days: int
    start: str
    seed: int
    suite: int
    nodes: list[Node]
    frames: Frames
    rows_refused: int
    readings: Readings
    fault: FaultResult | None
    truth_sha256: str
    isolation: str
    seconds: float


def right(document: Document) -> bool:
    """Tell whether every reading is right; with a fault, whether it ended exactly as named."""
    frames, readings = document.frames, document.readings
    adds_up = (
        frames.received == frames.stored + frames.duplicate + frames.quarantined
        and frames.quarantined == sum(frames.reasons.values())
    )
    if document.fault is not None:
        return adds_up and document.fault.found == document.fault.expected
    return adds_up and not (readings.missing or readings.twice or readings.wrong)


def text(document: Document) -> str:
    """Return the result for people."""
    frames, readings = document.frames, document.readings
    nodes = ", ".join(f"{node.name} {node.meters}" for node in document.nodes)
    reasons = ", ".join(f"{name} {count}" for name, count in frames.reasons.items())
    fates = (
        f"{frames.stored} stored, {frames.duplicate} duplicate, {frames.quarantined} quarantined"
    )
    errors = f"{readings.missing} missing, {readings.twice} twice, {readings.wrong} wrong"
    lines = [
        f"meters    {document.meters}: {nodes}; suite {document.suite}",
        f"days      {document.days} from {document.start}; seed {document.seed}",
        f"frames    {frames.sent} sent, {frames.received} received: {fates}"
        + (f" ({reasons})" if reasons else ""),
        f"readings  {readings.expected} expected, {readings.stored} stored: {errors}",
        f"truth     {document.truth_sha256}",
        f"zones     isolation {document.isolation}",
    ]
    if document.fault is not None:
        expected, found = _counts(document.fault.expected), _counts(document.fault.found)
        lines.append(f"fault     {document.fault.name}: expected {expected}; found {found}")
    verdict = "as it must be" if right(document) else "NOT as it must be"
    return "\n".join((*lines, f"{verdict}, {document.seconds:.1f} s"))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"
