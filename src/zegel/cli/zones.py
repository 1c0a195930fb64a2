"""`zegel zones`: each zone's process, its isolation and what it has loaded."""

from typing import Annotated

from cyclopts import App, Parameter

from zegel.cli.client import Api
from zegel.cli.output import document, table

__all__ = ["app"]

app = App(name="zones", help="Show the zones of the node.")


@app.default
def zones(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Show each zone's process: user, isolation, reasons why it is not well.

    Example: zegel zones --json

    Parameters
    ----------
    as_json
        One JSON document (zegel.zones/1), with loaded modules and counters.
    """
    found = Api.from_environment().get("/v1/zones")
    if as_json:
        document(found)
        return
    table(
        ("zone", "well", "isolation", "uid", "pid", "since", "test", "reasons"),
        (
            (
                zone["zone"],
                "yes" if zone["ok"] else "no",
                *(zone[name] for name in ("isolation", "uid", "pid", "started")),
                "yes" if zone["test"] else "",
                ", ".join(zone["reasons"]),
            )
            for zone in found["zones"]
        ),
    )
