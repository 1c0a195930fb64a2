"""Fates of frames and their reasons: the closed list of design section 10, as stored numbers.

The numbers stand in the `frames` table: append only.
"""

from enum import IntEnum

__all__ = ["REASONS", "Fate", "Reason"]


class Fate(IntEnum):
    """How a received frame ended. Every frame ends as exactly one of these."""

    STORED = 0
    DUPLICATE = 1
    QUARANTINED = 2


class Reason(IntEnum):
    """Why a frame was quarantined; NONE for the other fates."""

    NONE = 0
    FRAMING = 1
    UNKNOWN_METER = 2
    NOT_AUTHENTICATED = 3
    BAD_TAG = 4
    REPLAY = 5
    FORGED_COUNTER = 6
    MALFORMED = 7
    IDENTITY_MISMATCH = 8
    TOO_LARGE = 9
    UNSUPPORTED = 10
    NOT_ENTITLED = 11


REASONS = tuple(reason.name.lower() if reason else "" for reason in Reason)
