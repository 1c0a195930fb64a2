"""The error tree of Zegel.

    ZegelError                  any failure that Zegel names itself
    ├── InputError              bytes or text from outside are not what they should be
    │   ├── FramingError        a transport frame: wrapper, HDLC, M-Bus
    │   ├── MalformedError      an APDU or a COSEM value
    │   ├── UnsupportedError    well formed, but outside what this version reads
    │   ├── SecurityError       a protection that is missing, wrong or not allowed
    │   │   └── BadTagError     the authentication tag does not fit
    │   └── UsageError          a command line, a request or a parameter (exit 2)
    ├── ConfigError             a configuration file or setting (exit 2)
    ├── RefusedError            a right, rule or limit forbids it
    ├── NotFoundError           what was named does not exist
    ├── ConflictError           what was asked contradicts what is there
    ├── StorageError            a file, disk or database failed
    │   └── DamagedError        stored bytes are not what was written
    └── UnreachableError        a zone, node or meter does not answer (exit 4)

Every error carries `code, what, where, expected, found` and prints as
`zegel: CODE: what; where; expected; found` (design section 10).
"""

from typing import ClassVar

__all__ = [
    "BadTagError",
    "ConfigError",
    "ConflictError",
    "DamagedError",
    "FramingError",
    "InputError",
    "MalformedError",
    "NotFoundError",
    "RefusedError",
    "SecurityError",
    "StorageError",
    "UnreachableError",
    "UnsupportedError",
    "UsageError",
    "ZegelError",
    "error_classes",
    "from_code",
]


class ZegelError(Exception):
    """A failure that Zegel names itself.

    `what` says which thing is wrong, `where` its place (`byte 18`, a path, a setting),
    `expected` and `found` the two sides of the disagreement. `at` is a shorthand for
    `where="byte N"`. No field ever holds a secret.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500  # HTTP

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        at: int | None = None,
        expected: object = None,
        found: object = None,
    ) -> None:
        self.what = what
        self.at = at
        self.where = where if where is not None else (None if at is None else f"byte {at}")
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        super().__init__(what, self.where, self.expected, self.found)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where is not None:
            parts.append(self.where)
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.found is not None:
            parts.append(f"found {self.found}")
        return "; ".join(parts)

    def line(self) -> str:
        """Return the one line for stderr: `zegel: CODE: what; where; expected; found`."""
        return f"zegel: {self.code}: {self}".replace("\n", " ")


class InputError(ZegelError):
    """Bytes or text from outside are not what they should be."""

    code = "bad_input"
    status = 400


class FramingError(InputError):
    """A transport frame is cut or odd: the place in the stream is lost."""

    code = "framing"


class MalformedError(InputError):
    """An APDU or COSEM value does not follow its encoding rules."""

    code = "malformed"


class UnsupportedError(InputError):
    """Well formed as far as read, but outside what this version understands."""

    code = "unsupported"
    status = 422


class SecurityError(InputError):
    """A protection is missing, wrong or not allowed."""

    code = "security"


class BadTagError(SecurityError):
    """The authentication tag does not fit: other key, or changed bytes."""

    code = "bad_tag"


class UsageError(InputError):
    """A command line, request or parameter is wrong."""

    code = "usage"
    exit_code = 2


class ConfigError(ZegelError):
    """A configuration file, environment variable or flag is wrong."""

    code = "config"
    exit_code = 2


class RefusedError(ZegelError):
    """A right, rule or limit forbids what was asked."""

    code = "refused"
    status = 403


class NotFoundError(ZegelError):
    """What was named does not exist (or may not be seen)."""

    code = "not_found"
    status = 404


class ConflictError(ZegelError):
    """What was asked contradicts what is there."""

    code = "conflict"
    status = 409


class StorageError(ZegelError):
    """A file, disk or database failed."""

    code = "storage"
    status = 503


class DamagedError(StorageError):
    """Stored bytes are not what was written."""

    code = "damaged"


class UnreachableError(ZegelError):
    """A zone, node or meter does not answer."""

    code = "unreachable"
    exit_code = 4
    status = 503


def error_classes() -> dict[str, type[ZegelError]]:
    """Return every error class by its code: the closed catalogue of error codes."""
    found: dict[str, type[ZegelError]] = {}
    todo: list[type[ZegelError]] = [ZegelError]
    while todo:
        cls = todo.pop()
        if "code" in vars(cls):
            found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return dict(sorted(found.items()))


def from_code(
    code: str, what: str, where: str | None, expected: str | None, found: str | None
) -> ZegelError:
    """Rebuild an error that crossed a link; an unknown code becomes a plain `ZegelError`."""
    cls = error_classes().get(code, ZegelError)
    return cls(what, where=where, expected=expected, found=found)
