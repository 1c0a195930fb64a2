"""Who may say what to whom: rights are data. A pair without a row has no socket."""

from zegel.calls import edge, store, vault
from zegel.calls.base import Call, Health, Hello

__all__ = ["CALLERS", "TABLE", "ZONES", "allowed", "callers_of"]

ZONES = ("edge", "console", "store", "vault")  # in the order in which they are stopped
CALLERS = ZONES

TABLE: dict[tuple[str, str], tuple[type[Call], ...]] = {
    ("store", "vault"): (vault.OpenFrames, vault.DiskKey, vault.UseSummary),
    ("store", "edge"): (edge.Release,),
    ("console", "edge"): (Health,),
    ("console", "vault"): (
        Health,
        vault.ImportKey,
        vault.ImportShipment,
        vault.KeysStatus,
        vault.UseSummary,
    ),
    ("console", "store"): (
        Health,
        store.ImportMeters,
        store.ListMeters,
        store.ShowMeter,
        store.ReadReadings,
        store.ListQuarantine,
        store.ShowQuarantine,
        store.FrameFates,
    ),
}


def allowed(caller: str, callee: str) -> tuple[type[Call], ...]:
    """Return the calls that `caller` may make to `callee`; empty if there is no row."""
    row = TABLE.get((caller, callee), ())
    return (Hello, *row) if row else ()


def callers_of(callee: str) -> tuple[str, ...]:
    """Return the zones that have a socket at `callee`."""
    return tuple(caller for caller, other in TABLE if other == callee)
