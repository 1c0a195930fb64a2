"""`zegel keys`: no key passes here; a shipment file stays sealed on its way to the vault."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.cli.client import Api
from zegel.cli.output import document, fields

__all__ = ["app"]

app = App(name="keys", help="Bring sealed keys to the vault, and count them.")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="One JSON document.")]


@app.command
def status(*, as_json: Json = False) -> None:
    """Count the meters that the vault holds keys of."""
    found = Api.from_environment().get("/v1/keys")
    if as_json:
        document(found)
        return
    fields({"meters": found["meters"], **found["by_state"], "provider": found["provider"]})


@app.command(name="import-key")
def import_key(*, as_json: Json = False) -> None:
    """Show the public key that shipment files are sealed to."""
    found = Api.from_environment().get("/v1/keys/import-key")
    if as_json:
        document(found)
        return
    fields({name: found[name] for name in ("public", "suite", "fingerprint")})


@app.command(name="import")
def import_(file: Path, /, *, as_json: Json = False) -> None:
    """Bring a shipment file to the vault; again changes nothing.

    Example: zegel keys import keys.zship

    Parameters
    ----------
    file
        A shipment file, sealed to the import key.
    """
    found = Api.from_environment().post("/v1/shipments", content=file.read_bytes())
    if as_json:
        document(found)
        return
    fields({name: found[name] for name in ("shipment", "imported", "unchanged")})
