"""`python -m zegel.vault`: started by the supervisor only."""

from zegel.node.zone import run_zone

run_zone("vault", "zegel.vault.zone")
