"""Nothing of a push is released before its tag has been checked."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.cosem import seal as seal_module
from zegel.cosem.keys import Key
from zegel.cosem.seal import associated_data, open_frame, open_split, seal, split
from zegel.cosem.security import SecurityHeader, open_apdu, seal_apdu
from zegel.errors import (
    BadTagError,
    InputError,
    MalformedError,
    SecurityError,
    UnsupportedError,
)

TITLE = bytes.fromhex("5a474c0000000001")
PLAIN = b"\x0f" + bytes(range(256)) * 10
KEYS = {suite: (os.urandom(size), os.urandom(size)) for suite, size in ((0, 16), (1, 16), (2, 32))}
SUITES = pytest.mark.parametrize("suite", [0, 1, 2])


def sealed(plaintext: bytes = PLAIN, *, suite: int = 0, counter: int = 0x01020304) -> bytes:
    key, auth = KEYS[suite]
    return seal(plaintext, key, auth, TITLE, counter, suite)


@SUITES
def test_what_is_sealed_opens(suite: int) -> None:
    frame = sealed(suite=suite)
    title, control, counter, start = split(frame)
    assert (title, control, counter) == (TITLE, 0x30 | suite, 0x01020304)
    assert len(frame) - start - 12 == len(PLAIN)
    assert open_frame(frame, *KEYS[suite]) == PLAIN
    assert open_frame(memoryview(frame), *KEYS[suite]) == PLAIN


@SUITES
def test_the_general_cipher_writes_and_opens_the_same_bytes(suite: int) -> None:
    encryption, authentication = (Key(raw, kind="test") for raw in KEYS[suite])
    header = SecurityHeader(0xDB, TITLE, 0x30 | suite, 9)
    other = seal_apdu(PLAIN, header, encryption_key=encryption, authentication_key=authentication)
    assert sealed(suite=suite, counter=9) == other
    opened = open_apdu(other, encryption_key=encryption, authentication_key=authentication)
    assert opened.plaintext == PLAIN


def test_the_books_example_of_ciphering_gives_its_bytes() -> None:
    """The InitiateRequest of the Green Book's ciphering example (DLMS UA 1000-2, 9.2)."""
    key = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
    auth = bytes.fromhex("d0d1d2d3d4d5d6d7d8d9dadbdcdddedf")
    plain = bytes.fromhex("01011000112233445566778899aabbccddeeff0000065f1f0400007e1f04b0")
    frame = seal(plain, key, auth, bytes.fromhex("4d4d4d0000bc614e"), 0x01234567)
    answer = (
        "801302ff8a7874133d414ced25b42534d28db0047720606b175bd52211be6841db204d39ee6fdb8e356855"
    )
    assert frame.hex() == "db084d4d4d0000bc614e" + "30" + "3001234567" + answer


@SUITES
@given(bit=st.integers(0, 8 * 2700))
@settings(max_examples=60)
def test_one_flipped_bit_is_refused(suite: int, bit: int) -> None:
    frame = bytearray(sealed(suite=suite))
    bit %= 8 * len(frame)
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SecurityError, MalformedError, UnsupportedError)):
        open_frame(bytes(frame), *KEYS[suite])


@SUITES
def test_another_key_of_either_kind_is_a_bad_tag(suite: int) -> None:
    frame = sealed(suite=suite)
    key, auth = KEYS[suite]
    for wrong in ((os.urandom(len(key)), auth), (key, os.urandom(len(auth)))):
        with pytest.raises(BadTagError):
            open_frame(frame, *wrong)


def test_a_kept_associated_data_does_not_hide_a_changed_control() -> None:
    frame = bytearray(sealed())
    start = split(bytes(frame))[3]
    nonce, aad = TITLE + bytes(frame[start - 4 : start]), associated_data(0x30, KEYS[0][1])
    frame[start - 5] = 0x31
    with pytest.raises(SecurityError, match="security control"):
        open_split(bytes(frame), start, nonce, KEYS[0][0], aad)


def test_without_the_control_check_the_changed_byte_would_pass() -> None:
    """The twin of the test above: the tag alone does not see it."""
    frame = bytearray(sealed())
    start = split(bytes(frame))[3]
    frame[start - 5] = 0x31
    assert open_frame_with_kept_aad(bytes(frame), start) == PLAIN


def open_frame_with_kept_aad(frame: bytes, start: int) -> bytes:
    blind = frame[: start - 5] + b"\x30" + frame[start - 4 :]
    nonce, aad = TITLE + frame[start - 4 : start], associated_data(0x30, KEYS[0][1])
    return open_split(blind, start, nonce, KEYS[0][0], aad)


def test_without_the_tag_check_a_flipped_bit_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the flipped bit: the refusal comes from `finalize`, nothing else."""

    class Unchecked:
        def __init__(self, algorithm: AES, mode: GCM) -> None:
            self._inner = Cipher(algorithm, mode).decryptor()

        def decryptor(self) -> "Unchecked":
            return self

        def authenticate_additional_data(self, data: bytes) -> None:
            self._inner.authenticate_additional_data(data)

        def update(self, data: bytes) -> bytes:
            return self._inner.update(data)

        def finalize(self) -> bytes:
            return b""

    frame = bytearray(sealed())
    frame[100] ^= 1
    with pytest.raises(BadTagError):
        open_frame(bytes(frame), *KEYS[0])
    monkeypatch.setattr(seal_module, "Cipher", Unchecked)
    assert open_frame(bytes(frame), *KEYS[0]) != PLAIN


def with_length(form: str) -> bytes:
    frame = sealed(b"x" * 40)
    return frame[:10] + bytes.fromhex(form) + frame[11:]


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        pytest.param(b"", MalformedError, id="empty"),
        pytest.param(b"\x0f\x00\x00\x00\x01\x00", SecurityError, id="plain"),
        pytest.param(b"\xc8" + bytes(40), UnsupportedError, id="glo-get-request"),
        pytest.param(b"\xdb\x08" + TITLE, MalformedError, id="title only"),
        pytest.param(b"\xdb\x00" + bytes(40), MalformedError, id="no title"),
        pytest.param(with_length("8139"), MalformedError, id="length in two bytes"),
        pytest.param(with_length("820039"), MalformedError, id="length in three bytes"),
        pytest.param(with_length("80"), MalformedError, id="indefinite length"),
        pytest.param(with_length("38"), MalformedError, id="too short a length"),
        pytest.param(with_length("3a"), MalformedError, id="too long a length"),
        pytest.param(sealed() + b"\x00", MalformedError, id="a byte behind"),
        pytest.param(sealed()[:-1], MalformedError, id="a byte short"),
        pytest.param(b"\xdb\x08" + TITLE + b"\x05" + bytes(5), MalformedError, id="no tag"),
    ],
)
def test_what_is_no_sealed_push_is_named(frame: bytes, error: type[InputError]) -> None:
    with pytest.raises(error) as caught:
        split(frame)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("control", "error"),
    [
        (0x00, SecurityError),
        (0x10, SecurityError),
        (0x20, SecurityError),
        (0x70, SecurityError),  # the broadcast key
        (0x33, UnsupportedError),
        (0x3F, UnsupportedError),
        (0xB0, UnsupportedError),  # compressed
    ],
)
def test_any_other_protection_is_refused(control: int, error: type[InputError]) -> None:
    frame = bytearray(sealed())
    frame[13] = control
    with pytest.raises(error, match="security control"):
        split(bytes(frame))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_raise_only_our_errors(noise: bytes, keep: int) -> None:
    for data in (noise, sealed()[:keep] + noise):
        try:
            split(data)
        except InputError:
            continue


@given(st.integers(0, 70_000))
@settings(max_examples=60)
def test_every_size_has_one_form(size: int) -> None:
    frame = sealed(bytes(size))
    assert len(frame) - split(frame)[3] - 12 == size
    assert open_frame(frame, *KEYS[0]) == bytes(size)


@pytest.mark.parametrize("suite", [0, 2])
def test_a_key_of_another_size_is_refused_and_not_shown(suite: int) -> None:
    key = os.urandom(24)
    for keys in ((key, KEYS[suite][1]), (KEYS[suite][0], key), KEYS[2 - suite]):
        with pytest.raises(SecurityError, match="key size") as caught:
            open_frame(sealed(suite=suite), *keys)
        assert key.hex() not in str(caught.value)


def test_seal_refuses_what_cannot_be_written() -> None:
    key, auth = KEYS[0]
    with pytest.raises(UnsupportedError):
        seal(PLAIN, key, auth, TITLE, 1, 3)
    with pytest.raises(SecurityError):
        seal(PLAIN, key, auth, TITLE[:7], 1)
    with pytest.raises(SecurityError):
        seal(PLAIN, key, auth, TITLE, 2**32)
