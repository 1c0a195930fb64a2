"""Length octets of A-XDR and BER: one byte below 128, else a count of bytes and the number."""

from zegel.errors import MalformedError

__all__ = ["decode_length", "encode_length"]

MAX_OCTETS = 4  # more than 4 GiB is no meter's message


def decode_length(data: bytes, at: int, *, minimal: bool = True) -> tuple[int, int]:
    """Return (length, index behind it); the length is not yet held against the data.

    `minimal=False` accepts `82 00 EA` for 234, as Sagemcom writes it before a ciphertext.

    Raises:
        MalformedError: cut off, indefinite (0x80), over 4 octets, or longer than needed.
    """
    if at >= len(data):
        raise MalformedError("length", at=at, expected="1 byte", found="end of data")
    first = data[at]
    if first < 0x80:
        return first, at + 1
    octets, end = first & 0x7F, at + 1 + (first & 0x7F)
    if not 1 <= octets <= MAX_OCTETS:
        raise MalformedError("length form", at=at, expected="81..84", found=f"{first:02x}")
    if end > len(data):
        found = f"{len(data) - at - 1} bytes"
        raise MalformedError("length", at=at, expected=f"{octets} bytes", found=found)
    length = int.from_bytes(data[at + 1 : end], "big")
    if minimal and (length < 0x80 or length >> (8 * (octets - 1)) == 0):
        raise MalformedError(
            "length form", at=at, expected="the shortest", found=data[at:end].hex()
        )
    return length, end


def encode_length(length: int) -> bytes:
    """Return the shortest length octets.

    Raises:
        MalformedError: negative, or over 4 octets.
    """
    if 0 <= length < 0x80:
        return bytes((length,))
    octets = (length.bit_length() + 7) // 8
    if length < 0 or octets > MAX_OCTETS:
        raise MalformedError("length", expected="0..4294967295", found=length)
    return bytes((0x80 | octets,)) + length.to_bytes(octets, "big")
