"""Query parameters that several routes share, and the refusal of those that none knows."""

import re
from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated, Any

from litestar import Request
from litestar.params import QueryParameter

from zegel.errors import UsageError

__all__ = ["FrameCursor", "Limit", "frame_id", "instant", "known_only", "timestamp"]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LAST = 2**32 - 1  # UTC seconds: what the store's DateTime holds
_LAST_FRAME = 2**64 - 1

Limit = Annotated[
    int, QueryParameter(name="limit", ge=1, le=10_000, description="At most so many in a page.")
]
FrameCursor = Annotated[
    str, QueryParameter(name="cursor", description="`next` of the page before: a frame id.")
]


async def known_only(request: Request[Any, Any, Any]) -> None:
    """Refuse query parameters that the route does not know, are given twice, or are missing.

    Raises:
        UsageError: names the parameter and the known ones.
    """
    fields = request.route_handler.parsed_fn_signature.parameters.values()
    known = {
        str(field.kwarg_definition.name): field
        for field in fields
        if isinstance(field.kwarg_definition, QueryParameter)
    }
    for name in request.query_params:
        if name not in known:
            expected = ", ".join(sorted(known)) or "none"
            raise UsageError("unknown query parameter", where=name, expected=expected)
        if len(request.query_params.getall(name)) > 1:
            raise UsageError("query parameter given twice", where=name, expected="one value")
    for name, field in known.items():
        if field.is_required and name not in request.query_params:
            raise UsageError("query parameter", where=name, expected="a value", found="none")


def instant(text: str, where: str, zone: tzinfo) -> int:
    """Return UTC seconds of an RFC 3339 time with `Z`, or of the start of a local day.

    Raises:
        UsageError: names the parameter `where`.
    """
    expected = "RFC 3339 with Z (2026-03-29T00:00:00Z) or a date (2026-03-29)"
    try:
        if _RFC3339.fullmatch(text):
            moment = datetime.fromisoformat(text)
        elif _DATE.fullmatch(text):
            moment = datetime.combine(date.fromisoformat(text), time(), zone)
        else:
            raise UsageError("time", where=where, expected=expected, found=text[:40])
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise UsageError("time", where=where, expected=expected, found=text[:40]) from None
    if not 0 <= seconds <= _LAST:
        raise UsageError("time", where=where, expected="1970 to 2105", found=text[:40])
    return seconds


def timestamp(seconds: float) -> str:
    """Write UTC seconds as RFC 3339 with `Z`; milliseconds only if there are any."""
    moment = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    spec = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=spec).replace("+00:00", "Z")


def frame_id(text: str, where: str) -> int:
    """Read a frame id: a whole number of 64 bits.

    Raises:
        UsageError: names the parameter `where`.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= _LAST_FRAME):
        raise UsageError("frame id", where=where, expected="0 to 2^64 - 1", found=text[:40])
    return int(text)
