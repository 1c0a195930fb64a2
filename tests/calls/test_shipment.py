import hashlib
import hmac
from io import StringIO
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console

from zegel.calls.shipment import (
    HEAD_BYTES,
    ShipmentRow,
    check_rows,
    fingerprint,
    read_head,
    seal_shipment,
)
from zegel.errors import MalformedError, SecurityError, UnsupportedError

KEM, HPKE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
ROW = ShipmentRow(b"TST\0\0\0\0\1", 0, 1, b"\xa1" * 16, b"\xa2" * 16, b"\xa3" * 16)


def extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labelled + b"\1", "sha256")[:length]  # one block is enough


def open_by_hand(message: bytes, private: X25519PrivateKey, info: bytes) -> bytes:
    """RFC 9180, base mode, single shot: sections 4, 4.1 and 5.1, without the library's HPKE."""
    enc, ciphertext = message[:32], message[32:]
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + private.public_key().public_bytes_raw()
    prk = extract(KEM, b"", b"eae_prk", shared)
    secret = expand(KEM, prk, b"shared_secret", context, 32)
    schedule = b"\0" + extract(HPKE, b"", b"psk_id_hash", b"")
    schedule += extract(HPKE, b"", b"info_hash", info)
    prk = extract(HPKE, secret, b"secret", b"")
    key = expand(HPKE, prk, b"key", schedule, 32)
    return AESGCM(key).decrypt(expand(HPKE, prk, b"base_nonce", schedule, 12), ciphertext, b"")


def test_a_shipment_is_the_hpke_of_rfc_9180() -> None:
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    sealed = seal_shipment([ROW], public)
    assert sealed[:6] == b"ZSHIP1"
    assert sealed[6:12].hex() == "002000010002"
    assert sealed[12:20] == hashlib.sha256(public).digest()[:8]
    plain = open_by_hand(sealed[HEAD_BYTES:], private, b"zegel shipment" + sealed[:HEAD_BYTES])
    assert msgspec.msgpack.decode(plain) == [
        [ROW.title, ROW.suite, ROW.version, ROW.guek, ROW.gak, ROW.kek]
    ]


def test_the_head_names_the_recipient() -> None:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    assert read_head(seal_shipment([ROW], public)).recipient == fingerprint(public)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"title": b""}], "row 0, title missing"),
        ([{"title": b"short"}], "row 0, title 73686f7274"),
        ([{}, {}], "system title twice in a shipment; row 1"),
        ([{"suite": 3}], "security suite; row 0.*expected 0, 1 or 2; found 3"),
        ([{"version": -1}], "key version"),
        ([{"version": 65536}], "key version"),
        ([{"guek": bytes(32)}], "guek size; row 0.*expected 16 bytes; found 32"),
        ([{"gak": bytes(15)}], "gak size"),
        ([{"kek": bytes(32)}], "kek size"),
        ([{"suite": 1, "gak": bytes(32)}], "gak size"),
        ([{"suite": 2}], "guek size; row 0.*expected 32 bytes; found 16"),
    ],
)
def test_a_wrong_row_is_named(rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(MalformedError, match=says) as caught:
        check_rows([msgspec.structs.replace(ROW, **row) for row in rows])
    assert "a1a1" not in str(caught.value)


def test_a_row_without_master_key_is_right() -> None:
    check_rows([msgspec.structs.replace(ROW, kek=b"")])
    check_rows([ShipmentRow(ROW.title, 2, 0, bytes(32), bytes(32), bytes(32))])


def test_an_import_key_of_another_size_is_refused() -> None:
    with pytest.raises(SecurityError, match="import key; expected 32 bytes; found 31 bytes"):
        seal_shipment([ROW], bytes(31))


@pytest.mark.parametrize("size", range(HEAD_BYTES))
def test_a_cut_head_is_no_shipment(size: int) -> None:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(MalformedError, match="shipment file"):
        read_head(seal_shipment([ROW], public)[:size])


def test_another_suite_is_unsupported() -> None:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    sealed = bytearray(seal_shipment([ROW], public))
    sealed[11] = 3
    with pytest.raises(UnsupportedError, match="HPKE suite; byte 6"):
        read_head(bytes(sealed))


def test_a_row_shows_no_key() -> None:
    out = StringIO()
    Console(file=out).print(ROW)
    shown = repr(ROW) + str(ROW) + f"{[ROW]!r}" + out.getvalue()
    for key in (ROW.guek, ROW.gak, ROW.kek):
        assert key[:4].hex() not in shown
        assert repr(key[:4])[2:-1] not in shown
    assert ROW.title.hex() in shown
