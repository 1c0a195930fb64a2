import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.edges import confirm, sealed
from zegel.cosem.apdu import DataNotificationConfirm
from zegel.cosem.security import split_protected
from zegel.cosem.wrapper import decode_datagram
from zegel.edge.receipt import clear_header, receipt
from zegel.errors import MalformedError


@given(
    source=st.integers(0, 0xFFFF), destination=st.integers(0, 0xFFFF), counter=st.integers(0, 2**32)
)
@settings(max_examples=50)
def test_a_receipt_is_a_confirm_with_the_low_24_bits(
    source: int, destination: int, counter: int
) -> None:
    frame = decode_datagram(receipt(source, destination, counter))
    assert (frame.source, frame.destination) == (destination, source)
    assert DataNotificationConfirm.decode(frame.apdu).invoke_id == counter & 0xFFFFFF


def test_a_receipt_has_the_documented_bytes() -> None:
    expected = "0001 0066 0001 0006 10 00345678 00"
    assert receipt(1, 0x66, 0x12345678) == bytes.fromhex(expected) == confirm(0x12345678)


@pytest.mark.parametrize(
    ("apdu", "title", "counter"),
    [
        ("db08 4d4d4d3030303031 05 30 00000007", b"MMM00001", 7),
        ("db08 4d4d4d3030303000 07 30 ffffffff aabb", b"MMM0000\x00", 0xFFFFFFFF),
        ("db08 4d4d4d3030303031 820006 30 00000007 aa", b"MMM00001", 7),
        ("db08 4d4d4d3030303031 8400000005 20 01000000", b"MMM00001", 0x01000000),
    ],
)
def test_the_clear_header_is_read(apdu: str, title: bytes, counter: int) -> None:
    assert clear_header(bytes.fromhex(apdu)) == (title, counter)


@pytest.mark.parametrize(
    "apdu",
    [
        "",
        "db",
        "db08 4d4d4d3030303031 05 30 000000",  # cut
        "db08 4d4d4d3030303031 05 30 00000007 aa",  # more than it says
        "db08 4d4d4d3030303031 04 30 000007 aa",  # no room for a counter
        "db00 05 30 00000007 00000000000000000000",  # no title
        "db07 4d4d4d30303030 05 30 00000007 00",
        "dc08 4d4d4d3030303031 05 30 00000007",  # another tag
        "db08 4d4d4d3030303031 80 30 00000007",  # indefinite
        "db08 4d4d4d3030303031 850000000005 30 00000007",
        "0f00000007 00 0202020202020202020202020202",  # plain
        "c80530000000070000000000000000000000000000",
    ],
)
def test_anything_else_has_no_clear_header(apdu: str) -> None:
    assert clear_header(bytes.fromhex(apdu)) is None


@given(
    apdu=st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda b: b"\xdb\x08" + b))
)
@settings(max_examples=200)
def test_any_bytes_are_a_header_or_none(apdu: bytes) -> None:
    clear_header(apdu)


@given(
    at=st.integers(0, 13),
    value=st.integers(0, 255),
    size=st.integers(40, 300),
    cut=st.integers(0, 9),
)
@settings(max_examples=200)
def test_the_clear_header_agrees_with_the_decoder(at: int, value: int, size: int, cut: int) -> None:
    changed = bytearray(sealed(size=size))
    changed[at] = value
    apdu = bytes(changed[: size - cut] if value % 2 else changed)
    ours = clear_header(apdu)
    try:
        header = split_protected(apdu).header
    except MalformedError:
        assert ours is None
    else:
        if header.tag == 0xDB and header.system_title:
            assert ours == (header.system_title, header.invocation_counter)
        else:
            assert ours is None
