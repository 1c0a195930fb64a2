"""What may be said to the vault."""

from enum import IntEnum
from typing import ClassVar

import msgspec

from zegel.calls.base import Call

__all__ = [
    "DiskKey",
    "DiskSecret",
    "ImportKey",
    "ImportKeyInfo",
    "ImportShipment",
    "KeysReport",
    "KeysStatus",
    "OpenFrames",
    "OpenVerdict",
    "Opened",
    "ShipmentReceipt",
    "UseReport",
    "UseSummary",
]


class OpenVerdict(IntEnum):
    """What the vault says of one sealed frame (rule V6)."""

    OK = 0
    UNKNOWN_METER = 1
    BAD_TAG = 2
    NOT_AUTHENTICATED = 3  # security control is not 0x30 | suite of the key
    MALFORMED = 4  # shorter than a tag


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answer to `OpenFrames`, in its order.

    `verdicts` (n,) u8 `OpenVerdict`; `versions` (n,) little-endian u16 key version;
    `lengths` (n,) little-endian u32 bytes of plaintext, 0 where not opened;
    `plaintexts` the plaintexts end to end.
    """

    verdicts: bytes
    versions: bytes
    lengths: bytes
    plaintexts: memoryview


class OpenFrames(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Open uplink frames of a spool segment (rule V6). At most 16 MiB in all.

    `first` is the frame id of the segment's first frame, `frame_ids` (n,) little-endian u64.
    `titles` n times 8 bytes; `controls` (n,) u8 security control; `counters` (n,) little-endian
    u32; `lengths` (n,) little-endian u32 of `sealed`: ciphertext and 12-byte tag, end to end.
    """

    answer: ClassVar[type] = Opened
    frame_ids: bytes
    titles: bytes
    controls: bytes
    counters: bytes
    lengths: bytes
    sealed: memoryview


class DiskSecret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """32 random bytes for the store's encrypted disk (AES-256-CTR)."""

    key: bytes

    def __repr__(self) -> str:
        return "DiskSecret(<32 bytes>)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("key", "<32 bytes>")]  # msgspec's own would show it


class DiskKey(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for the store's disk key; made once, kept enveloped."""

    answer: ClassVar[type] = DiskSecret


class ImportKeyInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The public key that shipment files are sealed to (HPKE, RFC 9180), and its suite."""

    public: bytes
    suite: str
    fingerprint: str  # first 16 hex digits of SHA-256 of `public`


class ImportKey(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask for the import key's public half."""

    answer: ClassVar[type] = ImportKeyInfo


class ShipmentReceipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`shipment` is the SHA-256 of the file (hex); importing it again changes nothing."""

    shipment: str
    imported: int
    unchanged: int


class ImportShipment(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Take in the keys of a shipment file: opaque to whoever carries it."""

    answer: ClassVar[type] = ShipmentReceipt
    sealed: bytes


class KeysReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many keys the vault holds, by kind and state; never a key."""

    meters: int
    by_state: dict[str, int]
    provider: str


class KeysStatus(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask what the vault holds."""

    answer: ClassVar[type] = KeysReport


class UseReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sums over the use log (rule V7). `head` is the hash of its last entry, hex."""

    entries: int
    opened: int
    refused: int
    reopened: int  # a frame id that was opened before
    head: str
    intact: bool


class UseSummary(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Sum the use log up to and including frame id `last`; 0 means all of it."""

    answer: ClassVar[type] = UseReport
    last: int = 0
