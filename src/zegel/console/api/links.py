"""What the routes speak to: the other zones of this node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from zegel.calls.base import HealthReport
from zegel.node.link import Link

__all__ = ["Links"]


@dataclass(frozen=True, slots=True)
class Links:
    """A link to every other zone, and what the console knows of itself.

    `time_zone` is where a day begins; `node` is the node's name for people.
    """

    edge: Link
    vault: Link
    store: Link
    own_health: Callable[[], HealthReport]
    node: str
    time_zone: tzinfo

    def zones(self) -> Mapping[str, Link]:
        """Return the links by the name of the zone."""
        return {"edge": self.edge, "vault": self.vault, "store": self.store}
