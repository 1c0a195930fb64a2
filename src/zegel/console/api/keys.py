"""Keys, as far as the console may know: how many, and the way in for a sealed shipment."""

from typing import Any, Literal

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from zegel.calls.shipment import MAX_SHIPMENT
from zegel.calls.vault import (
    ImportKey,
    ImportKeyInfo,
    ImportShipment,
    KeysReport,
    KeysStatus,
    ShipmentReceipt,
)
from zegel.console.api.links import Links
from zegel.errors import UsageError

__all__ = ["ROUTES", "SHIPMENT_TYPE", "ImportKeyDocument", "Keys", "Shipment"]

SHIPMENT_TYPE = "application/octet-stream"
_IMPORT_S = 120.0


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """How many meters the vault holds keys of, by state; never a key."""

    schema: Literal["zegel.keys/1"] = "zegel.keys/1"
    meters: int
    by_state: dict[str, int]
    provider: str


class ImportKeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The public key that shipment files are sealed to (HPKE, RFC 9180); `public` in hex."""

    schema: Literal["zegel.import_key/1"] = "zegel.import_key/1"
    public: str
    suite: str
    fingerprint: str


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a shipment. `shipment` is the SHA-256 of the file."""

    schema: Literal["zegel.shipment/1"] = "zegel.shipment/1"
    shipment: str
    imported: int
    unchanged: int


@get("/v1/keys", summary="Count the keys", tags=["Govern"])
async def keys(links: NamedDependency[Links]) -> Keys:
    """Say how many meters the vault holds keys of."""
    report: KeysReport = await links.vault.call(KeysStatus())
    by_state = dict(sorted(report.by_state.items()))
    return Keys(meters=report.meters, by_state=by_state, provider=report.provider)


@get("/v1/keys/import-key", summary="Show the import key", tags=["Govern"])
async def import_key(links: NamedDependency[Links]) -> ImportKeyDocument:
    """Show the public key that shipment files are sealed to."""
    info: ImportKeyInfo = await links.vault.call(ImportKey())
    return ImportKeyDocument(
        public=info.public.hex(), suite=info.suite, fingerprint=info.fingerprint
    )


@post(
    "/v1/shipments",
    summary="Import a shipment file",
    tags=["Govern"],
    status_code=200,
    request_max_body_size=MAX_SHIPMENT,
)
async def import_shipment(
    links: NamedDependency[Links], request: Request[Any, Any, Any]
) -> Shipment:
    """Carry a sealed shipment file to the vault. Importing it again changes nothing."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != SHIPMENT_TYPE:
        raise UsageError("Content-Type", expected=SHIPMENT_TYPE, found=kind or "none")
    sealed = await request.body()
    receipt: ShipmentReceipt = await links.vault.call(ImportShipment(sealed), timeout_s=_IMPORT_S)
    return Shipment(**msgspec.structs.asdict(receipt))


ROUTES = (keys, import_key, import_shipment)
