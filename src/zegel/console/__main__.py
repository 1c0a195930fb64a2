"""The console's process."""

from zegel.node.zone import run_zone

run_zone("console", "zegel.console.zone")
