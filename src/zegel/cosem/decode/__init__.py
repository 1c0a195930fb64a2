"""Any captured frame to one document: framing, security, APDU, values (`zegel.decode/1`)."""

from zegel.cosem.decode.capture import decode_capture
from zegel.cosem.decode.document import Document

__all__ = ["Document", "decode_capture"]
