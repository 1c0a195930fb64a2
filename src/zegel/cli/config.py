"""`zegel config`: check a configuration, show what holds."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.cli.output import document
from zegel.node import config

__all__ = ["app"]

app = App(name="config", help="Check and show the configuration.")

ConfigFile = Annotated[Path | None, Parameter(name="--config", help="TOML file.")]


@app.command
def check(*, config_file: ConfigFile = None) -> None:
    """Check file and environment; an unknown key is named (exit 2)."""
    config.load(config_file)
    sys.stdout.write("configuration: right\n")


@app.command
def show(
    *,
    config_file: ConfigFile = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show every setting as it holds: environment over file over default.

    Parameters
    ----------
    as_json
        One JSON document (zegel.config/1) instead of TOML.
    """
    sections = config.show(config.load(config_file))
    if as_json:
        document({"schema": "zegel.config/1", **sections})
        return
    for name, keys in sections.items():
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        sys.stdout.write("\n".join((f"[{name}]", *lines)) + "\n\n")
