"""Protection of APDUs with AES-GCM: suites 0, 1 and 2, all three forms (IEC 62056-5-3, 9.2).

A protected APDU is `tag [title] length SC IC content [12-byte tag]`. The nonce is system title
and invocation counter; the associated data SC and authentication key, followed by the content
where it is authenticated only. Nothing deciphered leaves before its tag has been checked.
"""

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from zegel.cosem.apdu.names import CIPHERED_TAGS, GENERAL_TAGS, apdu_name
from zegel.cosem.keys import Key
from zegel.cosem.length import decode_length, encode_length
from zegel.errors import BadTagError, MalformedError, SecurityError, UnsupportedError

__all__ = [
    "TAG_BYTES",
    "Opened",
    "ProtectedApdu",
    "SecurityHeader",
    "encode_protected",
    "open_apdu",
    "seal_apdu",
    "split_protected",
]

TAG_BYTES = 12
TITLE_BYTES = 8
AUTHENTICATED, ENCRYPTED, BROADCAST, COMPRESSED = 0x10, 0x20, 0x40, 0x80
KEY_BYTES = {0: 16, 1: 16, 2: 32}  # by suite


@dataclass(frozen=True, slots=True)
class SecurityHeader:
    """What a protected APDU says in the clear."""

    tag: int
    system_title: bytes | None  # None where the APDU carries none (glo- and ded- services)
    security_control: int
    invocation_counter: int

    @property
    def suite(self) -> int:
        """Security suite, the low four bits."""
        return self.security_control & 0x0F

    @property
    def authenticated(self) -> bool:
        """Whether a 12-byte tag follows the content."""
        return bool(self.security_control & AUTHENTICATED)

    @property
    def encrypted(self) -> bool:
        """Whether the content is ciphertext."""
        return bool(self.security_control & ENCRYPTED)

    @property
    def broadcast(self) -> bool:
        """Whether the broadcast key protects it."""
        return bool(self.security_control & BROADCAST)

    @property
    def compressed(self) -> bool:
        """Whether the content was compressed before ciphering (V.44)."""
        return bool(self.security_control & COMPRESSED)


@dataclass(frozen=True, slots=True)
class ProtectedApdu:
    """Header, content and tag (empty where not authenticated) of a protected APDU."""

    header: SecurityHeader
    content: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A deciphered APDU; `verified` is None where no tag stood on the wire."""

    header: SecurityHeader
    plaintext: bytes
    verified: bool | None


def split_protected(apdu: bytes) -> ProtectedApdu:
    """Take a protected APDU apart, to its last byte; needs no key.

    Raises:
        MalformedError: no protected APDU, a title that is not 0 or 8 bytes, a length that is
            not the rest of the APDU, or too short for what its security control says.
    """
    if not apdu or apdu[0] not in CIPHERED_TAGS:
        found = apdu[:1].hex() or "end of data"
        raise MalformedError("ciphered APDU tag", at=0, expected="db, dc, glo-, ded-", found=found)
    tag, at, title = apdu[0], 1, None
    if tag in GENERAL_TAGS:
        size, at = decode_length(apdu, at)
        if size not in (0, TITLE_BYTES):
            raise MalformedError("system title length", at=1, expected="0 or 8", found=size)
        title, at = apdu[at : at + size], at + size
    length, start = decode_length(apdu, at, minimal=False)
    if start + length != len(apdu):
        expected, found = f"{length} bytes", f"{len(apdu) - start} bytes"
        raise MalformedError("ciphered content", at=at, expected=expected, found=found)
    if length < 5:
        raise MalformedError("security header", at=start, expected="5 bytes", found=length)
    control, counter = apdu[start], int.from_bytes(apdu[start + 1 : start + 5], "big")
    header = SecurityHeader(tag, title, control, counter)
    end = len(apdu) - (TAG_BYTES if header.authenticated else 0)
    if end < start + 5:
        found = f"{length - 5} bytes"
        raise MalformedError("authentication tag", at=start + 5, expected="12 bytes", found=found)
    return ProtectedApdu(header, apdu[start + 5 : end], apdu[end:])


def encode_protected(protected: ProtectedApdu) -> bytes:
    """Write a protected APDU; the inverse of `split_protected`, with the shortest length."""
    header = protected.header
    out = bytes((header.tag,))
    if header.tag in GENERAL_TAGS:
        title = header.system_title or b""
        out += bytes((len(title),)) + title
    inner = bytes((header.security_control,)) + header.invocation_counter.to_bytes(4, "big")
    inner += protected.content + protected.tag
    return out + encode_length(len(inner)) + inner


def open_apdu(
    apdu: bytes | ProtectedApdu,
    *,
    encryption_key: Key,
    authentication_key: Key | None = None,
    system_title: bytes | None = None,
) -> Opened:
    """Check and decipher; `system_title` is the sender's, for APDUs that carry none.

    Raises:
        MalformedError: as `split_protected`.
        UnsupportedError: a suite over 2, or compression.
        SecurityError: no protection, a missing or unfit key, or no title to be had.
        BadTagError: the tag does not fit; nothing of the content is released.
    """
    protected = apdu if isinstance(apdu, ProtectedApdu) else split_protected(apdu)
    header = protected.header
    _check(header, encryption_key, authentication_key)
    nonce = _nonce(header, system_title)
    if not header.authenticated:
        plaintext = _keystream(encryption_key, nonce, protected.content)
        return Opened(header, plaintext, verified=None)
    if not header.encrypted:
        tag = _gmac(header, encryption_key, authentication_key, nonce, protected.content)
        if not hmac.compare_digest(tag, protected.tag):
            raise BadTagError("authentication tag", expected="the key's tag", found="another")
        return Opened(header, protected.content, verified=True)
    plaintext = _decipher(protected, encryption_key, _aad(header, authentication_key), nonce)
    return Opened(header, plaintext, verified=True)


def seal_apdu(
    plaintext: bytes,
    header: SecurityHeader,
    *,
    encryption_key: Key,
    authentication_key: Key | None = None,
    system_title: bytes | None = None,
) -> bytes:
    """Protect an APDU as `header` says and write it. The caller owns the counter's freshness.

    Raises:
        UnsupportedError, SecurityError: as `open_apdu`.
    """
    _check(header, encryption_key, authentication_key)
    nonce = _nonce(header, system_title)
    if not header.authenticated:
        content, tag = _keystream(encryption_key, nonce, plaintext), b""
    elif not header.encrypted:
        content = plaintext
        tag = _gmac(header, encryption_key, authentication_key, nonce, plaintext)
    else:
        content, tag = _encipher(plaintext, encryption_key, _aad(header, authentication_key), nonce)
    return encode_protected(ProtectedApdu(header, content, tag))


def _check(header: SecurityHeader, encryption_key: Key, authentication_key: Key | None) -> None:
    if header.compressed:
        raise UnsupportedError("compression", expected="none", found="security control bit 7")
    wanted = KEY_BYTES.get(header.suite)
    if wanted is None:
        raise UnsupportedError("security suite", expected="0, 1 or 2", found=header.suite)
    if not (header.authenticated or header.encrypted):
        found = f"{header.security_control:02x}"
        name = apdu_name(header.tag)
        raise SecurityError("protection", where=name, expected="10, 20 or 30", found=found)
    keys = [encryption_key]
    if header.authenticated:
        if authentication_key is None:
            raise SecurityError("authentication key", expected="one", found="none")
        keys.append(authentication_key)
    for key in keys:
        if len(key) != wanted:
            found = f"{len(key)} bytes"
            raise SecurityError(f"{key.kind} key", expected=f"{wanted} bytes", found=found)


def _nonce(header: SecurityHeader, system_title: bytes | None) -> bytes:
    title = header.system_title or system_title or b""
    if len(title) != TITLE_BYTES:
        raise SecurityError("system title", expected="8 bytes", found=f"{len(title)} bytes")
    return title + header.invocation_counter.to_bytes(4, "big")


def _aad(header: SecurityHeader, authentication_key: Key | None) -> bytes:
    key = b"" if authentication_key is None else authentication_key.reveal()
    return bytes((header.security_control,)) + key


def _keystream(key: Key, nonce: bytes, content: bytes) -> bytes:
    """Encrypt or decrypt without a tag: GCM's counter mode, whose data begins at block 2."""
    block = nonce + (2).to_bytes(4, "big")
    cipher = Cipher(algorithms.AES(key.reveal()), modes.CTR(block)).encryptor()
    return cipher.update(content) + cipher.finalize()


def _encipher(content: bytes, key: Key, aad: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    cipher = Cipher(algorithms.AES(key.reveal()), modes.GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(aad)
    ciphertext = cipher.update(content) + cipher.finalize()
    return ciphertext, cipher.tag[:TAG_BYTES]


def _gmac(
    header: SecurityHeader, key: Key, authentication_key: Key | None, nonce: bytes, content: bytes
) -> bytes:
    return _encipher(b"", key, _aad(header, authentication_key) + content, nonce)[1]


def _decipher(protected: ProtectedApdu, key: Key, aad: bytes, nonce: bytes) -> bytes:
    mode = modes.GCM(nonce, protected.tag, min_tag_length=TAG_BYTES)
    cipher = Cipher(algorithms.AES(key.reveal()), mode).decryptor()
    cipher.authenticate_additional_data(aad)
    try:
        return cipher.update(protected.content) + cipher.finalize()
    except InvalidTag:
        raise BadTagError("authentication tag", expected="the key's tag", found="another") from None
