"""What the demo asks of a node's API, as any operator's program could."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from zegel.calls.store import FatesReport, ImportReport, MeterRow
from zegel.cli.client import Api
from zegel.errors import MalformedError

__all__ = ["NodeApi", "least_isolation"]

T = TypeVar("T", bound=msgspec.Struct)
ARROW = "application/vnd.apache.arrow.stream"


class NodeApi:
    """One node's API in the words of the demo. Its methods raise what `Api` raises."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def import_key(self) -> bytes:
        """Return the public key that shipment files are sealed to."""
        return bytes.fromhex(self._api.get("/v1/keys/import-key")["public"])

    def import_meters(self, rows: list[MeterRow]) -> ImportReport:
        """Bring meters into the registry."""
        return _convert(self._api.post("/v1/meters", json=rows), ImportReport)

    def import_shipment(self, sealed: bytes) -> int:
        """Hand a shipment file over; return how many meters' keys the vault now has of it."""
        found = self._api.post("/v1/shipments", content=sealed)
        return int(found["imported"]) + int(found["unchanged"])

    def fates(self) -> FatesReport:
        """Return the fates of all frames."""
        found = self._api.get("/v1/frames/fates")
        return _convert({**found, "position": int(found["position"])}, FatesReport)

    def isolation(self) -> str:
        """Return the isolation of the zone that has least of it."""
        zones = self._api.get("/v1/zones")["zones"]
        return least_isolation(zone["isolation"] or "none" for zone in zones)

    def readings(self, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """Read all meters' interval values with start < t <= end (UTC seconds)."""
        params = {"from": _time(start), "to": _time(end)}
        body = b"".join(self._api.stream("/v1/readings", params, ARROW))
        if not body:
            return
        try:
            yield from pa.ipc.open_stream(body)
        except pa.ArrowInvalid as error:
            raise MalformedError("Arrow stream of the node", found=error) from error


def least_isolation(names: Iterable[str]) -> str:
    """Return the weakest of these isolations."""
    found = set(names)
    return next((name for name in ("none", "uid") if name in found), "namespace")


def _convert(found: dict[str, Any], kind: type[T]) -> T:
    """Build a struct from the fields that it knows."""
    known = {name: found[name] for name in kind.__struct_fields__}
    return msgspec.convert(known, kind)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
