"""What the demo asks of a node's API, as any operator's program could."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import httpx
import msgspec
import pyarrow as pa

from zegel.calls.store import FatesReport, ImportReport, MeterRow
from zegel.errors import UnreachableError, ZegelError, from_code

__all__ = ["NodeApi", "least_isolation"]

TIMEOUT_S = 150.0
T = TypeVar("T", bound=msgspec.Struct)
ARROW = "application/vnd.apache.arrow.stream"


class NodeApi:
    """One node's API, over one kept-open connection. `repr` shows no token.

    Every method raises the node's own error, or `UnreachableError` if it does not answer.
    """

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __repr__(self) -> str:
        return f"NodeApi({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exit_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def import_key(self) -> bytes:
        """Return the public key that shipment files are sealed to."""
        return bytes.fromhex(self._json("GET", "/v1/keys/import-key")["public"])

    def import_meters(self, rows: list[MeterRow]) -> ImportReport:
        """Bring meters into the registry."""
        found = self._json("POST", "/v1/meters", content=msgspec.json.encode(rows))
        return _convert(found, ImportReport)

    def import_shipment(self, sealed: bytes) -> int:
        """Hand a shipment file over; return how many meters' keys the vault now has of it."""
        headers = {"Content-Type": "application/octet-stream"}
        found = self._json("POST", "/v1/shipments", content=sealed, headers=headers)
        return int(found["imported"]) + int(found["unchanged"])

    def fates(self) -> FatesReport:
        """Return the fates of all frames."""
        found = self._json("GET", "/v1/frames/fates")
        return _convert({**found, "position": int(found["position"])}, FatesReport)

    def isolation(self) -> str:
        """Return the isolation of the zone that has least of it."""
        zones = self._json("GET", "/v1/zones")["zones"]
        return least_isolation(zone["isolation"] or "none" for zone in zones)

    def readings(self, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """Read all meters' interval values with start < t <= end (UTC seconds)."""
        params = {"from": _time(start), "to": _time(end)}
        try:
            with self._http.stream(
                "GET", "/v1/readings", params=params, headers={"Accept": ARROW}
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _error(answer)
                body = answer.read()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not body:
            return
        try:
            yield from pa.ipc.open_stream(body)
        except pa.ArrowInvalid as error:
            raise UnreachableError("readings", where=self.url, found=error) from error

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code != 200:
            raise _error(answer)
        found: dict[str, Any] = msgspec.json.decode(answer.content)
        return found

    def _unreachable(self, error: httpx.HTTPError) -> UnreachableError:
        return UnreachableError(
            "API", where=self.url, expected="an answer", found=type(error).__name__
        )


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


def _error(answer: httpx.Response) -> ZegelError:
    """Rebuild the node's error from its problem document (RFC 9457)."""
    try:
        found = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        return ZegelError("API", where=str(answer.url), found=f"status {answer.status_code}")
    fields = (found.get(name) for name in ("code", "what", "where", "expected", "found"))
    code, what, where, expected, seen = (None if value is None else str(value) for value in fields)
    return from_code(code or "error", what or "request refused", where, expected, seen)
