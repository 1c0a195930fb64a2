"""Errors over HTTP: one shape for all of them (RFC 9457, problem details)."""

from http import HTTPStatus

import msgspec

from zegel.errors import ZegelError

__all__ = ["MEDIA_TYPE", "Problem", "problem"]

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """Why a request failed. `code` is one of the closed catalogue of error codes."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    what: str
    where: str | None
    expected: str | None
    found: str | None


def problem(error: ZegelError, status: int | None = None) -> Problem:
    """Describe an error; `status` replaces that of its class."""
    number = error.status if status is None else status
    return Problem(
        type=f"urn:zegel:error:{error.code}",
        title=HTTPStatus(number).phrase,
        status=number,
        detail=str(error),
        code=error.code,
        what=error.what,
        where=error.where,
        expected=error.expected,
        found=error.found,
    )
