"""What may be said to the edge."""

from typing import ClassVar

import msgspec

from zegel.calls.base import Call

__all__ = ["Release", "Released"]


class Released(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`released` is false when the segment was gone already (the call was repeated)."""

    released: bool


class Release(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """The store has committed a sealed segment: unlink it.

    `first` and `last` are the frame ids of the segment. `authenticated` holds the system
    titles (8 bytes each, end to end, no order) that authenticated in it: the edge keeps a
    reserved lane for them. `addresses`, if not empty, holds the peer address (16 bytes each, as
    in the spool) that each title came from: then the lane is only for frames from there.
    """

    answer: ClassVar[type] = Released
    first: int
    last: int
    authenticated: bytes = b""
    addresses: bytes = b""
