"""The client of a node's API: address and token from the environment, errors as ours."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from zegel.errors import (
    ConfigError,
    RefusedError,
    UnreachableError,
    ZegelError,
    from_code,
)
from zegel.node import config

__all__ = ["DEFAULT_URL", "Api"]

DEFAULT_URL = "http://localhost:8480"
_TIMEOUT = httpx.Timeout(10.0, read=150.0)
_PROBLEM = "application/problem+json"

Params = Mapping[str, str | int | None]
Document = dict[str, Any]


class Api:
    """One node's API.

    Raises, from every method:
        UnreachableError: nobody answers there, or it is no Zegel API (exit 4).
        RefusedError: the token is missing or wrong.
        ZegelError: what the node answered.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self._url, self._token_file = url, token_file
        token = _token(token_file)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._has_token = token is not None
        self._settings: dict[str, Any] = {
            "base_url": url,
            "headers": headers,
            "timeout": _TIMEOUT,
            "trust_env": False,
        }

    @classmethod
    def from_environment(cls) -> "Api":
        """Use `ZEGEL_URL`, and the token in `ZEGEL_TOKEN_FILE` or the data directory."""
        named = os.environ.get("ZEGEL_TOKEN_FILE")
        token_file = Path(named) if named else _own_file(config.load().token_file())
        return cls(os.environ.get("ZEGEL_URL") or DEFAULT_URL, token_file)

    def get(self, path: str, **params: str | int | None) -> Document:
        """Get a JSON document; parameters that are None are left out."""
        return self._document("GET", path, params=_given(params))

    def post(self, path: str, *, json: object = None, content: bytes | None = None) -> Document:
        """Send JSON or bytes, and return the answer."""
        if content is None:
            content, kind = msgspec.json.encode(json), "application/json"
        else:
            kind = "application/octet-stream"
        return self._document("POST", path, content=content, headers={"Content-Type": kind})

    def stream(self, path: str, params: Params, accept: str) -> Iterator[bytes]:
        """Yield a long answer as it arrives; it ends with an error unless it is whole."""
        request: Any = {"params": _given(params), "headers": {"Accept": accept}}
        try:
            with self._client() as http, http.stream("GET", path, **request) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise self._error(answer)
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _client(self) -> httpx.Client:
        try:
            return httpx.Client(**self._settings)
        except httpx.InvalidURL as error:
            raise ConfigError("ZEGEL_URL", where=self._url, found=error) from error

    def _document(self, method: str, path: str, **request: Any) -> Document:
        try:
            with self._client() as http:
                answer = http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code != 200:
            raise self._error(answer)
        try:
            return msgspec.json.decode(answer.content, type=Document)
        except msgspec.MsgspecError:
            raise self._strange(answer) from None

    def _error(self, answer: httpx.Response) -> ZegelError:
        """Rebuild the error that the node told."""
        if answer.headers.get("content-type") != _PROBLEM:
            return self._strange(answer)
        if answer.status_code == 401 and not self._has_token:
            return RefusedError(
                "token",
                where=str(self._token_file),
                expected="a file that you may read (ZEGEL_TOKEN_FILE, ZEGEL_NODE_DATA_DIR)",
                found="none",
            )
        told = msgspec.json.decode(answer.content, type=Document)
        fields = (told[name] for name in ("code", "what", "where", "expected", "found"))
        return from_code(*fields)

    def _strange(self, answer: httpx.Response) -> UnreachableError:
        kind = answer.headers.get("content-type", "no content type")
        found = f"HTTP {answer.status_code}, {kind}"
        return UnreachableError("node", where=self._url, expected="a Zegel API", found=found)

    def _unreachable(self, error: httpx.HTTPError) -> ZegelError:
        if isinstance(error, httpx.UnsupportedProtocol):
            return ConfigError("ZEGEL_URL", where=self._url, expected="http:// or https://")
        expected = "an answer (is `zegel serve` running? see ZEGEL_URL)"
        found = str(error) or type(error).__name__
        return UnreachableError("node", where=self._url, expected=expected, found=found)


def _own_file(path: Path) -> Path:
    """Return the token file of a data directory, if it is that and not a link to another.

    Its folder belongs to the console's user: a taken console could have us read another
    node's token and send it.

    Raises:
        ConfigError: it is no plain file of its folder's owner.
    """
    try:
        found, folder = path.lstat(), path.parent.stat()
    except OSError:
        return path
    if not stat.S_ISREG(found.st_mode) or found.st_uid != folder.st_uid:
        raise ConfigError("token file", where=str(path), expected="a file of its folder's owner")
    return path


def _token(path: Path) -> str | None:
    """Return the token, or None if there is no file to read: the node says if it wants one."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    except UnicodeDecodeError:
        raise ConfigError("token file", where=str(path), expected="ASCII text") from None
    if not text.isprintable() or not text:
        raise ConfigError("token file", where=str(path), expected="one line with the token")
    return text


def _given(params: Params) -> dict[str, str | int]:
    return {name: value for name, value in params.items() if value is not None}
