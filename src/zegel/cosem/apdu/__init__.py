"""Application protocol data units, one file per service. Names load on first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zegel.cosem.apdu.block_transfer import BlockAssembler, GeneralBlock
    from zegel.cosem.apdu.data_notification import DataNotification, DataNotificationConfirm
    from zegel.cosem.apdu.names import apdu_name

__all__ = [
    "BlockAssembler",
    "DataNotification",
    "DataNotificationConfirm",
    "GeneralBlock",
    "apdu_name",
]

_HOME_OF = {
    "BlockAssembler": "block_transfer",
    "GeneralBlock": "block_transfer",
    "DataNotification": "data_notification",
    "DataNotificationConfirm": "data_notification",
    "apdu_name": "names",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
