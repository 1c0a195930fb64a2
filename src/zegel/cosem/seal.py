"""Open and seal pushes fast: general-glo-ciphering in the one form that a push has.

    DB | 08 title(8) | length | control | counter(4) | ciphertext | tag(12)

Control is 0x30 | suite: authenticated and encrypted. Nonce = title and counter; associated data
= control and authentication key (IEC 62056-5-3, 9.2). Every other form is `zegel.cosem.security`'s
business. Keys are plain bytes here, because the vault unwraps them for one frame and drops them.
"""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from zegel.cosem.length import decode_length, encode_length
from zegel.errors import (
    BadTagError,
    MalformedError,
    SecurityError,
    UnsupportedError,
)

__all__ = ["AUTHENTICATED_ENCRYPTED", "TAG_BYTES", "associated_data", "open_frame", "open_split"]
__all__ += ["seal", "split"]

GENERAL_GLO = 0xDB
TITLE_BYTES, TAG_BYTES = 8, 12
AUTHENTICATED_ENCRYPTED = 0x30
KEY_BYTES = {0: 16, 1: 16, 2: 32}  # by suite
LENGTH_AT = 2 + TITLE_BYTES
LONG_HEAD = struct.Struct(">BB8sBHBI")  # of a frame whose length takes the form 82 xx xx
SMALLEST = 1 + 4 + TAG_BYTES  # control, counter, tag: an empty plaintext
PLAIN_TAGS = frozenset((0x0F, 0xC2, 0xD8))  # data-, event-notification, exception-response
CONTROLS = frozenset(AUTHENTICATED_ENCRYPTED | suite for suite in KEY_BYTES)

Split = tuple[bytes, int, int, int]  # system title, security control, counter, ciphertext's start


def split(frame: bytes | memoryview) -> Split:
    """Take a sealed push apart; needs no key, trusts nothing.

    Returns:
        System title, security control, invocation counter, and where the ciphertext begins.
        It ends 12 bytes before the frame's end.

    Raises:
        SecurityError: not ciphered, or not both authenticated and encrypted by the unicast key.
        UnsupportedError: another APDU, a suite over 2, or compression.
        MalformedError: cut off, bytes behind the end, or a length that is not the shortest form.
    """
    size = len(frame)
    if size > LONG_HEAD.size:  # nearly every push: one look, the checks are those below
        tag, width, title, form, length, control, counter = LONG_HEAD.unpack_from(frame)
        if (
            tag == GENERAL_GLO
            and width == TITLE_BYTES
            and form == 0x82
            and length > 0xFF
            and length + LENGTH_AT + 3 == size
            and control in CONTROLS
        ):
            return title, control, counter, LONG_HEAD.size
    return _split(frame, size)


def _split(frame: bytes | memoryview, size: int) -> Split:
    """Take a frame apart step by step, and name what is wrong with it."""
    if size <= LENGTH_AT or frame[0] != GENERAL_GLO or frame[1] != TITLE_BYTES:
        raise _no_sealed_frame(frame)
    length, at = decode_length(bytes(frame[: LENGTH_AT + 5]), LENGTH_AT)
    if at + length != size or length < SMALLEST:
        expected = f"{max(length, SMALLEST)} bytes"
        raise MalformedError("ciphered content", at=at, expected=expected, found=size - at)
    control = frame[at]
    if control not in CONTROLS:
        raise _no_such_control(control, at)
    start = at + 5
    return bytes(frame[2:10]), control, int.from_bytes(frame[at + 1 : start], "big"), start


def associated_data(control: int, auth_key: bytes) -> bytes:
    """Return security control and authentication key: what the tag covers beside the content."""
    return bytes((control,)) + auth_key


def open_frame(frame: bytes | memoryview, key: bytes, auth_key: bytes) -> bytes:
    """Check a sealed push and return its plaintext APDU.

    Raises:
        MalformedError, UnsupportedError: as `split`.
        SecurityError: as `split`, or keys that are not the suite's size.
        BadTagError: another key, or one changed bit. Nothing of the content is released.
    """
    title, control, counter, start = split(frame)
    _check_keys(control, key, auth_key)
    nonce = title + counter.to_bytes(4, "big")
    return open_split(frame, start, nonce, key, associated_data(control, auth_key))


def open_split(
    frame: bytes | memoryview, start: int, nonce: bytes, key: bytes, aad: bytes
) -> bytes:
    """Open a frame that `split` took apart; `aad` may be kept per meter.

    The frame's security control must be the one in `aad`: a kept `aad` would hide a changed byte.
    The caller chose `key` by the suite in the control; its size is not checked again.

    Raises:
        SecurityError: the security control is not the one in `aad`.
        BadTagError: as `open_frame`.
    """
    if frame[start - 5] != aad[0]:
        found = f"{frame[start - 5]:02x}"
        raise SecurityError("security control", at=start - 5, expected=f"{aad[0]:02x}", found=found)
    cipher = Cipher(AES(key), GCM(nonce, bytes(frame[-TAG_BYTES:]), TAG_BYTES)).decryptor()
    cipher.authenticate_additional_data(aad)
    plaintext = cipher.update(memoryview(frame)[start:-TAG_BYTES])  # a view: no copy of 2.7 kB
    try:
        cipher.finalize()  # GCM has nothing left to give; it checks the tag
    except InvalidTag:
        raise BadTagError(
            "authentication tag", at=len(frame) - TAG_BYTES, expected="the key's", found="another"
        ) from None
    return plaintext


def seal(
    plaintext: bytes | memoryview,
    key: bytes,
    auth_key: bytes,
    title: bytes,
    counter: int,
    suite: int = 0,
) -> bytes:
    """Write a sealed push. The caller owns the counter: used twice, it breaks the cipher.

    Raises:
        UnsupportedError: a suite over 2.
        SecurityError: a key or title of another size, or a counter beyond 32 bits.
    """
    control = AUTHENTICATED_ENCRYPTED | suite
    _check_keys(control, key, auth_key)
    if len(title) != TITLE_BYTES or not 0 <= counter <= 0xFFFFFFFF:
        found = f"{len(title)} bytes, {counter}"
        raise SecurityError("title and counter", expected="8 bytes, 32 bits", found=found)
    ic = counter.to_bytes(4, "big")
    cipher = Cipher(AES(key), GCM(title + ic)).encryptor()
    cipher.authenticate_additional_data(associated_data(control, auth_key))
    ciphertext = cipher.update(plaintext) + cipher.finalize()
    length = encode_length(SMALLEST + len(ciphertext))
    head = b"\xdb\x08" + title + length + bytes((control,)) + ic
    return head + ciphertext + cipher.tag[:TAG_BYTES]


def _check_keys(control: int, key: bytes, auth_key: bytes) -> None:
    wanted = KEY_BYTES.get(control & ~AUTHENTICATED_ENCRYPTED)
    if wanted is None:
        raise UnsupportedError("security suite", expected="0, 1 or 2", found=control & 0x0F)
    if len(key) != wanted or len(auth_key) != wanted:
        found = f"{len(key)} and {len(auth_key)} bytes"
        raise SecurityError("key size", expected=f"{wanted} bytes", found=found)


def _no_sealed_frame(
    frame: bytes | memoryview,
) -> MalformedError | SecurityError | UnsupportedError:
    """Say why these bytes are no sealed push."""
    if not frame:
        return MalformedError("APDU", at=0, expected="general-glo-ciphering", found="the end")
    if frame[0] in PLAIN_TAGS:
        return SecurityError(
            "protection", at=0, expected="db", found=f"{frame[0]:02x}, not ciphered"
        )
    if frame[0] != GENERAL_GLO:
        return UnsupportedError("APDU", at=0, expected="db", found=f"{frame[0]:02x}")
    if len(frame) > 1 and frame[1] != TITLE_BYTES:
        return MalformedError("system title length", at=1, expected=8, found=frame[1])
    return MalformedError("APDU", at=len(frame), expected="a system title", found="the end")


def _no_such_control(control: int, at: int) -> SecurityError | UnsupportedError:
    """Say what is wrong with a security control."""
    found = f"{control:02x}"
    if control & 0x70 != AUTHENTICATED_ENCRYPTED:
        return SecurityError("security control", at=at, expected="30, 31 or 32", found=found)
    return UnsupportedError("security control", at=at, expected="30, 31 or 32", found=found)
