"""Vectors of real meters: where they are, and what the expected file says of a document."""

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from zegel.cosem.keys import Key

OURS = Path(__file__).parents[1] / "vectors"
KINDS = (
    *("encrypted", "encrypted-no-key", "general-block-transfer"),
    *("han-hdlc", "hdlc-segmented", "malformed"),
)
FRAMING = (("hdlc", "hdlc"), ("m-bus", "mbus"), ("wrapper", "wrapper"), ("none", "none"))
SECURITY = (
    *("system_title", "security_control", "suite"),
    *("authenticated", "encrypted", "invocation_counter"),
)


class Vector(NamedTuple):
    """A capture, its kind (the folder) and its expected answer."""

    kind: str
    name: str
    capture: bytes
    expected: dict[str, Any]

    def keys(self) -> dict[str, Key | None]:
        """Return the published keys as `decode_capture` takes them."""
        keys = self.expected.get("keys") or {}
        guek, gak = keys.get("guek"), keys.get("gak")
        return {
            "key": Key.from_hex(guek, kind="encryption") if guek else None,
            "authentication_key": Key.from_hex(gak, kind="authentication") if gak else None,
        }

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def vectors() -> list[Vector]:
    """Return our vectors, and those in the folder that ZEGEL_VECTORS names, if any."""
    more = os.environ.get("ZEGEL_VECTORS")
    folders = [OURS, *([Path(more)] if more else [])]
    return [vector for folder in folders for vector in _read(folder)]


def _read(folder: Path) -> Iterator[Vector]:
    for answer in sorted(folder.rglob("*.expected.json")):
        stem = answer.name.removesuffix(".expected.json")
        capture = next(
            path
            for path in (answer.with_name(stem + end) for end in (".hex", ".txt"))
            if path.exists()
        )
        if answer.parent.name in KINDS:
            expected = json.loads(answer.read_text())
            yield Vector(answer.parent.name, stem, capture.read_bytes(), expected)


def differences(vector: Vector, document: dict[str, Any]) -> list[str]:
    """Compare a decoded document with the expected file; an empty list means agreement."""
    wrong = _header(vector.expected, document)
    if vector.kind == "encrypted-no-key":
        wrong += [f"{name}: not null" for name in ("body", "plaintext") if document[name]]
        return wrong
    security = vector.expected.get("security") or {}
    notification = vector.expected.get("notification") or {}
    if document["plaintext"] != (security.get("plaintext") or notification.get("apdu_hex")):
        wrong.append("plaintext")
    wrong += _time(notification.get("datetime"), document["time"])
    return wrong + _values(vector.expected["values"], document["values"])


def _header(expected: dict[str, Any], document: dict[str, Any]) -> list[str]:
    kind = expected["framing"]["kind"].lower()
    wrong = []
    if document["framing"]["kind"] != next(ours for theirs, ours in FRAMING if theirs in kind):
        wrong.append(f"framing.kind: {document['framing']['kind']}")
    frames = expected["framing"].get("frames")
    if frames and len(document["framing"]["frames"]) != len(frames):
        wrong.append(f"framing.frames: {len(document['framing']['frames'])}")
    want, have = expected.get("security"), document["security"]
    if not want:
        return wrong + (["security: not null"] if have else [])
    fields = [*SECURITY, "apdu"]
    wrong += [f"security.{name}" for name in fields if name in want and have[name] != want[name]]
    if want.get("tag_verified") and have["verified"] is not True:
        wrong.append("security.verified")
    return wrong


def _time(want: dict[str, Any] | None, have: dict[str, Any] | None) -> list[str]:
    if want is None:
        return [] if have is None else ["time: not null"]
    if have is None or have["raw"] != want["raw"]:
        return ["time.raw"]
    local = want["local"].removesuffix(".00")
    return [] if have["local"] == local else [f"time.local: {have['local']}"]


def _values(wanted: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    pool, wrong = list(found), []
    for want in wanted:
        if isinstance(want.get("raw"), dict) or str(want.get("raw", "")).startswith("("):
            continue  # a whole array: its leaves are compared through the plaintext
        name = want.get("obis") or want.get("obis_by_position")
        name = name.replace("*", ".") if name else None
        same = (
            item
            for item in pool
            if (name is None or item["obis"] == name)
            and (item["type"], item["raw"]) == (want["type"], want["raw"])
        )
        match = next(same, None)
        if match is None:
            wrong.append(f"not found: {name} {want['type']} {want['raw']}")
            continue
        pool.remove(match)
        if "scaler" in want or "scaler_by_convention" in want:
            scale = "wire" if "scaler" in want else "convention"
            if Decimal(match["value"]) != Decimal(str(want["value"])) or match["scale"] != scale:
                wrong.append(f"{name}: {match['value']} {match['scale']}")
            if match["unit"] != want.get("unit_name"):
                wrong.append(f"{name}: unit {match['unit']}")
    names = {want.get("obis") or want.get("obis_by_position") for want in wanted}
    known = {name.replace("*", ".") for name in names if name}
    return wrong + [f"not expected: {item}" for item in pool if item["obis"] not in {None, *known}]
