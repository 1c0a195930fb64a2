"""The command `zegel`: commands in five groups, each imported when it is called."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

import zegel
from zegel.errors import StorageError, UsageError, ZegelError

__all__ = ["COMMANDS", "application", "main"]

_GROUPS = ("Try", "Run", "Meters", "Govern", "Prove")

# group, command, where its App is, what it does
COMMANDS = (
    (
        "Try",
        "demo",
        "zegel.cli.demo.command:app",
        "Run three nodes and a fleet, and compare with the truth.",
    ),
    ("Try", "decode", "zegel.cli.decode:app", "Decode any frame, hex or binary."),
    ("Run", "serve", "zegel.cli.serve:app", "Run a node."),
    ("Run", "zones", "zegel.cli.zones:app", "Show the zones of the node."),
    ("Run", "config", "zegel.cli.config:app", "Check and show the configuration."),
    ("Meters", "meters", "zegel.cli.meters:app", "List, show and import meters."),
    ("Meters", "readings", "zegel.cli.readings:app", "Export readings."),
    ("Meters", "quarantine", "zegel.cli.quarantine:app", "Look at frames that were set aside."),
    ("Govern", "keys", "zegel.cli.keys:app", "Bring sealed keys to the vault, and count them."),
    ("Prove", "fleet", "zegel.cli.fleet:app", "Run simulated meters."),
    (
        "Prove",
        "bench",
        "zegel.cli.bench.command:app",
        "Measure every stage of the path, each beside its limit.",
    ),
)


def application() -> App:
    """Return the command line with its commands mounted, none of them imported."""
    groups = {name: Group.create_ordered(name) for name in _GROUPS}
    other = Group.create_ordered("Other")
    app = App(
        name="zegel",
        help="Central reading system for smart meters.",
        help_format="plaintext",
        version=zegel.__version__,
        result_action="return_value",
    )
    app["--help"].group = other
    app["--version"].group = other
    for group, name, place, words in COMMANDS:
        app.command(place, name=name, help=words, group=groups[group])
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; errors are one line on stderr."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except ZegelError as error:
        print(error.line(), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has gone; nothing may be written to it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        named = StorageError("file", where=error.filename, found=error.strerror or error)
        print(named.line(), file=sys.stderr)
        return named.exit_code
    return code


def _run(argv: Sequence[str]) -> int:
    try:
        result = application()(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(" ".join(str(error).split())) from error
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
