"""The gate before every route: the right `Host`, and the token, or no way in."""

import msgspec

from zegel.console.api.problem import MEDIA_TYPE, problem
from zegel.console.server import Application, Receive, Scope, Send
from zegel.console.token import Token
from zegel.errors import RefusedError

__all__ = ["OPEN", "Gate"]

OPEN = ("/healthz",)  # answered without a token
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Gate:
    """Let through what bears the token.

    A node that listens on loopback answers to loopback names only, so that no web page can
    reach it under a name of its own (DNS rebinding).
    """

    def __init__(self, inner: Application, token: Token, *, host: str) -> None:
        self._inner, self._token = inner, token
        self._hosts = _LOOPBACK if host in _LOOPBACK else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421 or 401, or hand the request on."""
        if scope["type"] != "http":
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = _name(headers.get(b"host", ""))
        if self._hosts and host not in self._hosts:
            error = RefusedError("Host", expected=", ".join(self._hosts), found=host or "none")
            await _refuse(send, error, 421)
        elif scope["path"] in OPEN or self._token.fits(headers.get(b"authorization", "")):
            await self._inner(scope, receive, send)
        else:
            found = "a wrong token" if b"authorization" in headers else "no token"
            error = RefusedError("token", expected="Authorization: Bearer TOKEN", found=found)
            await _refuse(send, error, 401)


def _name(host: str) -> str:
    """Return the host without its port (RFC 9110, section 7.2)."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


async def _refuse(send: Send, error: RefusedError, status: int) -> None:
    body = msgspec.json.encode(problem(error, status))
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="zegel"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
