"""The suite that every provider must pass: `check_provider(make_provider)`."""

from collections.abc import Callable

from zegel.errors import DamagedError
from zegel.vault.providers import OVERHEAD, Provider

__all__ = ["check_provider"]

_SECRET = bytes(range(32, 96))
_MINE, _OTHER = b"meter one", b"meter two"


def check_provider(make: Callable[[], Provider]) -> None:
    """Check a provider. `make` returns one of the same operator key every time.

    Raises:
        AssertionError: says what is wrong.
    """
    provider = make()
    for content in (b"", _SECRET[:16], _SECRET):
        envelope = provider.wrap(content, _MINE)
        _must(len(envelope) == len(content) + OVERHEAD, "an envelope has a fixed overhead")
        _must(provider.unwrap(envelope, _MINE) == content, "what was wrapped comes back")
        _must(make().unwrap(envelope, _MINE) == content, "it comes back after a restart")
    envelope = provider.wrap(_SECRET, _MINE)
    _must(envelope != provider.wrap(_SECRET, _MINE), "two envelopes of one secret differ")
    _must(_SECRET[:8] not in envelope, "an envelope does not show its content")
    _refused(provider, envelope, _OTHER, "an envelope of one meter does not open for another")
    _refused(provider, b"", _MINE, "an empty envelope does not open")
    _refused(provider, envelope[:-1], _MINE, "a cut envelope does not open")
    for place in range(len(envelope)):
        changed = bytearray(envelope)
        changed[place] ^= 1
        _refused(provider, bytes(changed), _MINE, f"byte {place} changed: does not open")
    shown = repr(provider) + repr(vars(provider) if hasattr(provider, "__dict__") else "")
    _must(_SECRET.hex()[:16] not in shown, "a provider does not show what it wrapped")
    _must(bool(provider.name), "a provider has a name")


def _refused(provider: Provider, envelope: bytes, associated: bytes, claim: str) -> None:
    try:
        provider.unwrap(envelope, associated)
    except DamagedError as error:
        _must(_SECRET.hex()[:16] not in str(error), "an error does not show a secret")
        return
    raise AssertionError(claim)


def _must(holds: bool, claim: str) -> None:  # noqa: FBT001 - a claim and whether it holds
    if not holds:
        raise AssertionError(claim)
