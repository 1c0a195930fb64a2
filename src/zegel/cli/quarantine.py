"""`zegel quarantine`: frames that were set aside, and why."""

from typing import Annotated
from urllib.parse import quote

from cyclopts import App, Parameter

from zegel.cli.client import Api
from zegel.cli.output import document, fields, table

__all__ = ["app"]

app = App(name="quarantine", help="Look at frames that were set aside.")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="One JSON document.")]
_COLUMNS = ("frame_id", "received", "reason", "system_title", "peer", "source", "size", "what")


@app.command(name="list")
def list_(*, reason: str = "", limit: int = 100, cursor: str = "0", as_json: Json = False) -> None:
    """List quarantined frames, oldest first.

    Example: zegel quarantine list --reason bad_tag

    Parameters
    ----------
    reason
        Only this reason, for example bad_tag.
    limit
        At most so many, up to 10 000.
    cursor
        Go on after this frame id.
    """
    found = Api.from_environment().get(
        "/v1/quarantine", reason=reason or None, limit=limit, cursor=cursor
    )
    if as_json:
        document(found)
        return
    table(_COLUMNS, ([entry[name] for name in _COLUMNS] for entry in found["entries"]))
    fields({**found["counts"], "sampled away": found["sampled_away"], "next": found["next"]})


@app.command
def show(frame_id: str, /, *, as_json: Json = False) -> None:
    """Show one quarantined frame with its bytes.

    Parameters
    ----------
    frame_id
        The number of the frame, from `zegel quarantine list`.
    """
    found = Api.from_environment().get(f"/v1/quarantine/{quote(frame_id, safe='')}")
    if as_json:
        document(found)
        return
    fields({**found["entry"], "body": found["body"]})
