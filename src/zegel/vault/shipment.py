"""Opening shipment files: all of a file or nothing of it."""

from typing import NoReturn

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from zegel.calls.shipment import (
    HEAD_BYTES,
    HPKE,
    INFO,
    SUITE,
    ShipmentRow,
    check_rows,
    fingerprint,
    read_head,
)
from zegel.calls.vault import ImportKeyInfo
from zegel.errors import MalformedError, SecurityError

__all__ = ["ImportSecret"]

_ROWS = msgspec.msgpack.Decoder(list[ShipmentRow])


class ImportSecret:
    """The private half of the import key. `repr` shows the fingerprint only."""

    def __init__(self, raw: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(raw)
        public = self._private.public_key().public_bytes_raw()
        self.info = ImportKeyInfo(public=public, suite=SUITE, fingerprint=fingerprint(public))

    def open(self, sealed: bytes) -> list[ShipmentRow]:
        """Open a shipment file and check its rows.

        Raises:
            MalformedError: no shipment file, or wrong rows in it.
            UnsupportedError: sealed with another suite.
            SecurityError: sealed to another import key, or damaged.
        """
        head = read_head(sealed)
        if head.recipient != self.info.fingerprint:
            what = "shipment sealed to another import key"
            raise SecurityError(what, expected=self.info.fingerprint, found=head.recipient)
        try:
            plaintext = HPKE.decrypt(sealed[HEAD_BYTES:], self._private, INFO + head.raw)
        except InvalidTag:
            raise SecurityError(
                "shipment is damaged", expected="the bytes that were sealed"
            ) from None
        try:
            rows = _ROWS.decode(plaintext)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedError("rows of the shipment", found=error) from None
        check_rows(rows)
        return rows

    def __repr__(self) -> str:
        return f"ImportSecret({self.info.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ImportSecret is not pickled")
