"""The meter's language: DLMS/COSEM, bytes in, typed values out; no socket, clock or file.

Names load on first use, so that a process holds only what it needs: the vault, which opens
frames, never loads a decoder of values.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zegel.cosem import axdr, hdlc, mbus, wrapper
    from zegel.cosem.apdu import DataNotification, DataNotificationConfirm, apdu_name
    from zegel.cosem.apdu.block_transfer import BlockAssembler, GeneralBlock
    from zegel.cosem.datetime import CosemDate, CosemDateTime, CosemTime
    from zegel.cosem.decode import Document, decode_capture
    from zegel.cosem.keys import Key
    from zegel.cosem.obis import Obis
    from zegel.cosem.security import (
        Opened,
        ProtectedApdu,
        SecurityHeader,
        open_apdu,
        seal_apdu,
        split_protected,
    )
    from zegel.cosem.types import BitString, CompactArray, Tag, Value, type_name
    from zegel.cosem.wrapper import WrapperFrame, WrapperReader

__all__ = [
    "BitString",
    "BlockAssembler",
    "CompactArray",
    "CosemDate",
    "CosemDateTime",
    "CosemTime",
    "DataNotification",
    "DataNotificationConfirm",
    "Document",
    "GeneralBlock",
    "Key",
    "Obis",
    "Opened",
    "ProtectedApdu",
    "SecurityHeader",
    "Tag",
    "Value",
    "WrapperFrame",
    "WrapperReader",
    "apdu_name",
    "axdr",
    "decode_capture",
    "hdlc",
    "mbus",
    "open_apdu",
    "seal_apdu",
    "split_protected",
    "type_name",
    "wrapper",
]

# The module of each name, for those that are no module themselves.
_HOMES = {
    "apdu.block_transfer": ("BlockAssembler", "GeneralBlock"),
    "apdu.data_notification": ("DataNotification", "DataNotificationConfirm"),
    "apdu.names": ("apdu_name",),
    "datetime": ("CosemDate", "CosemDateTime", "CosemTime"),
    "decode": ("Document", "decode_capture"),
    "keys": ("Key",),
    "obis": ("Obis",),
    "security": (
        *("Opened", "ProtectedApdu", "SecurityHeader"),
        *("open_apdu", "seal_apdu", "split_protected"),
    ),
    "types": ("BitString", "CompactArray", "Tag", "Value", "type_name"),
    "wrapper": ("WrapperFrame", "WrapperReader"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF.get(name)
    module = import_module(f"{__name__}.{home or name}")
    return module if home is None else getattr(module, name)
