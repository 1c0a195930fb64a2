"""What every call between zones has in common, and the envelope around it.

A message on a link is a big-endian u32 length and that many bytes of msgpack:
`Request` one way; `Result`, `Failure`, or `Part`… `End` back (design section 5).
"""

from typing import ClassVar

import msgspec

__all__ = [
    "MAX_MESSAGE",
    "MAX_OPEN",
    "PROTOCOL",
    "Call",
    "Empty",
    "End",
    "Failure",
    "Health",
    "HealthReport",
    "Hello",
    "Part",
    "Reply",
    "Request",
    "Result",
    "Stream",
    "Welcome",
]

PROTOCOL = 1
MAX_MESSAGE = 16 * 1024 * 1024  # bytes
MAX_OPEN = 64  # calls under way on one link


class Call(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A sentence to another zone. `answer` is the type of what comes back.

    Every call is idempotent or keyed: after a broken link the caller repeats it.
    """

    answer: ClassVar[type]


class Stream(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """A call answered by any number of parts of type `answer`, then an end."""


class Empty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer without content."""


class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The callee's side of the first message."""

    protocol: int
    build: str
    zone: str


class Hello(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """The first message on every link; another protocol number is refused."""

    answer: ClassVar[type] = Welcome
    protocol: int
    build: str


class HealthReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a zone says of itself. `reasons` names everything that is not well."""

    zone: str
    ok: bool
    reasons: list[str]
    pid: int
    uid: int
    isolation: str  # none | uid | namespace
    test: bool
    build: str
    started: float  # UTC seconds
    modules: list[str]  # loaded zegel.* modules
    counters: dict[str, int]
    guards_off: list[str] = []


class Health(Call, frozen=True, tag=True, forbid_unknown_fields=True):
    """Ask a zone how it is."""

    answer: ClassVar[type] = HealthReport


class Request(msgspec.Struct, frozen=True, array_like=True):
    """One call on its way. `deadline_ms` counts from arrival."""

    id: int
    deadline_ms: int
    call: msgspec.Raw


class Result(msgspec.Struct, frozen=True, tag="result", array_like=True):
    """The answer to a call."""

    id: int
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag="error", array_like=True):
    """The call failed: the fields of a `ZegelError`."""

    id: int
    code: str
    what: str
    where: str | None = None
    expected: str | None = None
    found: str | None = None


class Part(msgspec.Struct, frozen=True, tag="part", array_like=True):
    """One part of the answer to a `Stream`."""

    id: int
    part: msgspec.Raw


class End(msgspec.Struct, frozen=True, tag="end", array_like=True):
    """The answer to a `Stream` is complete."""

    id: int


Reply = Result | Failure | Part | End
