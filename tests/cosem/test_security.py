from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.vectors import vectors
from zegel.cosem.decode.framing import read_bytes, unframe
from zegel.cosem.keys import Key
from zegel.cosem.security import (
    ProtectedApdu,
    SecurityHeader,
    encode_protected,
    open_apdu,
    seal_apdu,
    split_protected,
)
from zegel.errors import BadTagError, InputError, MalformedError, SecurityError, UnsupportedError

TITLE = bytes.fromhex("4D4D4D0000BC614E")
ENCRYPTION = Key(bytes(range(16)), kind="encryption")
AUTHENTICATION = Key(bytes(range(0xD0, 0xE0)), kind="authentication")
KEYS: dict[str, Any] = {"encryption_key": ENCRYPTION, "authentication_key": AUTHENTICATION}
GET = bytes.fromhex("C0010000080000010000FF0200")
COUNTER = 0x01234567
# The example of IEC 62056-5-3, as pwitab/dlms-cosem (MIT) tests it in test_security.py.
SEALED = bytes.fromhex("C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B")

FORMS = {
    "authenticated": 0x10,
    "encrypted": 0x20,
    "both": 0x30,
    "both, suite 1": 0x31,
    "both, suite 2": 0x32,
    "encrypted, suite 2": 0x22,
    "broadcast": 0x70,
}
TAGS = {
    "general-glo": 0xDB,
    "general-ded": 0xDC,
    "glo-get-request": 0xC8,
    "ded-action-response": 0xD7,
}


def keys_of(control: int) -> dict[str, Any]:
    size = 32 if control & 0x0F == 2 else 16
    return {
        "encryption_key": Key(bytes(range(size)), kind="encryption"),
        "authentication_key": Key(bytes(range(0xC0, 0xC0 + size)), kind="authentication"),
    }


def test_the_published_example_opens_and_seals() -> None:
    opened = open_apdu(SEALED, system_title=TITLE, **KEYS)
    assert (opened.plaintext, opened.verified) == (GET, True)
    assert opened.header == SecurityHeader(0xC8, None, 0x30, COUNTER)
    assert seal_apdu(GET, opened.header, system_title=TITLE, **KEYS) == SEALED


def test_encryption_alone_is_the_same_ciphertext_without_a_tag() -> None:
    sealed = seal_apdu(GET, SecurityHeader(0xC8, None, 0x20, COUNTER), system_title=TITLE, **KEYS)
    assert sealed == bytes.fromhex("C81220") + SEALED[3:20]


def test_authentication_alone_is_a_tag_over_the_clear_apdu() -> None:
    sealed = seal_apdu(GET, SecurityHeader(0xDB, TITLE, 0x10, COUNTER), **KEYS)
    aad = b"\x10" + AUTHENTICATION.reveal() + GET
    tag = AESGCM(ENCRYPTION.reveal()).encrypt(TITLE + SEALED[3:7], b"", aad)[:12]
    assert sealed == b"\xdb\x08" + TITLE + b"\x1e\x10" + SEALED[3:7] + GET + tag


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("control", FORMS.values(), ids=FORMS)
def test_every_form_opens_to_what_was_sealed(control: int, tag: int) -> None:
    title = TITLE if tag in (0xDB, 0xDC) else None
    header = SecurityHeader(tag, title, control, COUNTER)
    sealed = seal_apdu(GET * 30, header, system_title=TITLE, **keys_of(control))
    opened = open_apdu(sealed, system_title=TITLE, **keys_of(control))
    assert (opened.header, opened.plaintext) == (header, GET * 30)
    assert opened.verified is (True if control & 0x10 else None)


@pytest.mark.parametrize("control", [0x10, 0x30, 0x32])
def test_any_flipped_bit_is_refused_and_nothing_is_released(control: int) -> None:
    sealed = seal_apdu(GET, SecurityHeader(0xDB, TITLE, control, COUNTER), **keys_of(control))
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            opened = open_apdu(bytes(changed), **keys_of(control))
        except InputError as error:
            assert GET.hex() not in str(error)  # noqa: PT017
        else:  # the encrypted-only form has no tag: turning 0x30 into 0x20 is told by `verified`
            assert opened.verified is None
            assert changed[11] == control ^ 0x10


@pytest.mark.parametrize("name", ["encryption_key", "authentication_key"])
@pytest.mark.parametrize("control", [0x10, 0x30])
def test_another_key_is_a_bad_tag(control: int, name: str) -> None:
    sealed = seal_apdu(GET, SecurityHeader(0xDB, TITLE, control, COUNTER), **KEYS)
    with pytest.raises(BadTagError):
        open_apdu(sealed, **{**KEYS, name: Key(bytes(16), kind=name)})


REFUSED: dict[str, tuple[int, dict[str, Any], type[InputError], str]] = {
    "no protection": (0x00, KEYS, SecurityError, "protection"),
    "compression": (0xB0, KEYS, UnsupportedError, "compression"),
    "suite 3": (0x33, KEYS, UnsupportedError, "security suite"),
    "no authentication key": (
        0x30,
        {"encryption_key": ENCRYPTION},
        SecurityError,
        "authentication key",
    ),
    "short key in suite 2": (0x32, KEYS, SecurityError, "encryption key"),
    "long key in suite 0": (0x30, keys_of(2), SecurityError, "encryption key"),
}


@pytest.mark.parametrize(("control", "keys", "error", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_opened_is_refused_by_name(
    control: int, keys: dict[str, Any], error: type[InputError], what: str
) -> None:
    sealed = encode_protected(
        ProtectedApdu(SecurityHeader(0xDB, TITLE, control, COUNTER), GET, bytes(12))
    )
    with pytest.raises(error, match=what):
        open_apdu(sealed, **keys)


@pytest.mark.parametrize("title", [None, b"", TITLE[:7]])
def test_without_a_system_title_nothing_opens(title: bytes | None) -> None:
    with pytest.raises(SecurityError, match="system title"):
        open_apdu(SEALED, system_title=title, **KEYS)


@pytest.mark.parametrize(
    ("text", "what"),
    {
        "": "ciphered APDU tag",
        "c001": "ciphered APDU tag",
        "db": "length",
        "db074d4d": "system title length",
        "db084d4d4d": "length",
        "db084d4d4d0000bc614e05": "ciphered content",
        "db084d4d4d0000bc614e043001": "ciphered content",
        "db084d4d4d0000bc614e0430012345": "security header",
        "db084d4d4d0000bc614e0830012345670000ff": "authentication tag",
        "db084d4d4d0000bc614e052001234567ff": "ciphered content",
    }.items(),
)
def test_a_header_that_cannot_be_is_refused(text: str, what: str) -> None:
    with pytest.raises(MalformedError) as caught:
        split_protected(bytes.fromhex(text))
    assert caught.value.what == what


def test_a_length_longer_than_needed_is_read_as_real_meters_write_it() -> None:
    short = encode_protected(ProtectedApdu(SecurityHeader(0xDB, TITLE, 0x20, 7), GET, b""))
    assert split_protected(short[:10] + b"\x82\x00" + short[10:]) == split_protected(short)


@given(
    control=st.integers(0, 255),
    title=st.just(TITLE) | st.just(b""),
    content=st.binary(max_size=300),
    counter=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100)
def test_splitting_and_writing_are_inverse(
    control: int, title: bytes, content: bytes, counter: int
) -> None:
    tag = bytes(12) if control & 0x10 else b""
    protected = ProtectedApdu(SecurityHeader(0xDB, title, control, counter), content, tag)
    assert split_protected(encode_protected(protected)) == protected


AUTHENTIC = [v for v in vectors() if (v.expected.get("security") or {}).get("tag_verified")]


@pytest.mark.parametrize("vector", AUTHENTIC, ids=str)
def test_a_real_frame_opens_only_with_its_own_keys(vector: Any) -> None:
    apdu = unframe(read_bytes(vector.capture)).apdu
    keys = vector.keys()
    opened = open_apdu(
        apdu, encryption_key=keys["key"], authentication_key=keys["authentication_key"]
    )
    assert opened.verified is True
    assert encode_protected(split_protected(apdu)) == apdu
    with pytest.raises(BadTagError):
        open_apdu(apdu, encryption_key=keys["key"], authentication_key=Key(bytes(16), kind="gak"))
