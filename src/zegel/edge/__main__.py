"""Start the edge's process: `python -m zegel.edge`, by the supervisor."""

from zegel.node.zone import run_zone

run_zone("edge", "zegel.edge.zone")
