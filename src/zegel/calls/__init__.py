"""Every sentence one zone may say to another: a file of structs per callee, and who may say it."""

from zegel.calls.base import Call, Stream
from zegel.calls.table import CALLERS, TABLE, ZONES, allowed

__all__ = ["CALLERS", "TABLE", "ZONES", "Call", "Stream", "allowed"]
