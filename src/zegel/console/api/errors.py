"""What went wrong while a request was answered, as a problem document."""

from collections.abc import Mapping
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from zegel.console.api.problem import MEDIA_TYPE, problem
from zegel.errors import NotFoundError, RefusedError, UsageError, ZegelError

__all__ = ["handlers"]

AnyRequest = Request[Any, Any, Any]


def handlers(log: Any) -> dict[type[Exception] | int, Any]:
    """Return Litestar's exception handlers; `log` is told of what nobody foresaw."""

    def unforeseen(request: AnyRequest, error: Exception) -> Response[Any]:
        log.error("request failed", path=request.url.path, exc_info=error)
        return _answer(ZegelError("internal error", where=request.url.path), 500, {})

    return {ZegelError: _ours, HTTPException: _http, Exception: unforeseen}


def _ours(_request: AnyRequest, error: ZegelError) -> Response[Any]:
    return _answer(error, error.status, {})


def _http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    where = f"{request.method} {request.url.path}"
    headers = error.headers or {}
    status = error.status_code
    named: ZegelError
    if isinstance(error, ValidationException):
        named, status = _wrong_input(error), 400
    elif status == 404:
        named = NotFoundError("path", where=where)
    elif status == 405:
        named = UsageError("method", where=where, expected=headers.get("Allow"))
    elif status == 413:
        named = RefusedError("body too large", where=where)
    elif status < 500:
        named = UsageError("request", where=where, found=error.detail)
    else:
        named = ZegelError("internal error", where=where)
    return _answer(named, status, headers)


def _wrong_input(error: ValidationException) -> UsageError:
    """Name the first wrong parameter."""
    extra: Any = error.extra if isinstance(error.extra, list) else []
    if not extra:
        return UsageError("request", found=error.detail)
    first = extra[0]
    source, key = first.get("source", "query"), first.get("key", "")
    source = getattr(source, "value", source)
    expected, _, found = str(first.get("message", "")).partition(", got ")
    expected = expected.removeprefix("Expected ").replace("`", "")
    return UsageError(
        f"{source} parameter", where=key or None, expected=expected, found=found.strip("`") or None
    )


def _answer(error: ZegelError, status: int, headers: Mapping[str, str]) -> Response[Any]:
    return Response(
        problem(error, status), status_code=status, headers=dict(headers), media_type=MEDIA_TYPE
    )
