import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.vault_meters import meters
from zegel.calls.shipment import HPKE, INFO, seal_shipment
from zegel.errors import InputError, MalformedError, SecurityError
from zegel.vault.shipment import ImportSecret

PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SECRET = ImportSecret(PRIVATE.private_bytes_raw())
ROWS = [meter.row() for meter in meters(2)] + [meter.row() for meter in meters(1, suite=2, first=9)]
SEALED = seal_shipment(ROWS, SECRET.info.public)


def sealed_anew(plaintext: bytes) -> bytes:
    head = SEALED[:20]
    return head + HPKE.encrypt(plaintext, PRIVATE.public_key(), INFO + head)


def test_the_rows_that_were_sealed_come_out() -> None:
    assert SECRET.open(SEALED) == ROWS


def test_a_shipment_for_another_key_is_refused() -> None:
    other = ImportSecret(bytes(32))
    with pytest.raises(SecurityError, match="another import key") as caught:
        other.open(SEALED)
    assert caught.value.found == SECRET.info.fingerprint


def test_a_shipment_whose_head_was_turned_to_another_key_is_refused() -> None:
    other = ImportSecret(bytes(32))
    turned = SEALED[:12] + bytes.fromhex(other.info.fingerprint) + SEALED[20:]
    with pytest.raises(SecurityError, match="damaged"):
        other.open(turned)


def test_every_truncation_is_refused() -> None:
    for size in range(len(SEALED)):
        with pytest.raises(InputError):
            SECRET.open(SEALED[:size])


@settings(max_examples=200)
@given(at=st.integers(0, len(SEALED) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(at: int, bit: int) -> None:
    changed = bytearray(SEALED)
    changed[at] ^= 1 << bit
    with pytest.raises(InputError):
        SECRET.open(bytes(changed))


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"rows": []}),
        msgspec.msgpack.encode([[b"12345678", 0, 1, bytes(16)]]),
        msgspec.msgpack.encode([[b"12345678", 0, 1, bytes(16), bytes(16), b"", 1]]),
        msgspec.msgpack.encode([[b"12345678", "0", 1, bytes(16), bytes(16)]]),
        msgspec.msgpack.encode([[b"1234567", 0, 1, bytes(16), bytes(16)]]),
    ],
)
def test_wrong_rows_in_a_right_envelope_are_malformed(plaintext: bytes) -> None:
    with pytest.raises(MalformedError):
        SECRET.open(sealed_anew(plaintext))


@settings(max_examples=100)
@given(plaintext=st.binary(max_size=64))
def test_any_plaintext_gives_rows_or_our_error(plaintext: bytes) -> None:
    try:
        rows = SECRET.open(sealed_anew(plaintext))
    except MalformedError:
        return
    assert rows == []
