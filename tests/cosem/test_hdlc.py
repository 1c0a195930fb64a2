import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.vectors import Vector, vectors
from zegel.cosem.hdlc import HdlcFrame, HdlcReader, SegmentAssembler, check_sequence, encode
from zegel.errors import FramingError

# Kaifa MA304H3E (tests/vectors/han-hdlc), a real meter's list.
REAL = bytes.fromhex(
    "7ea079010201108093e6e7000f40000000090c07e1090f05052128ff800000020d09074b464d5f303031"
    "09103639373036333134303137353339383509084d413330344833450600"
    "0003b4060000000006000000000600000040060000058806"
    "00000ca90600000c2f060000095106000000000600000955115c7e"
)
HDLC = [v for v in vectors() if v.kind in ("han-hdlc", "hdlc-segmented", "general-block-transfer")]
HDLC = [v for v in HDLC if v.capture.startswith(b"7e")]

addresses = st.sampled_from([b"\x01", b"\xff", b"\x02\x23", b"\xce\xff", b"\x00\x02\x04\x07"])
frames = st.builds(
    HdlcFrame, addresses, addresses, st.integers(0, 255), st.binary(max_size=60), st.booleans()
)


def read(data: bytes) -> list[HdlcFrame]:
    reader = HdlcReader()
    reader.receive(data)
    found = list(iter(reader.next_frame, None))
    reader.end()
    return found


def test_the_check_sequence_is_that_of_the_standard() -> None:
    assert check_sequence(b"123456789") == (0x906E).to_bytes(2, "little")  # CRC-16/X-25 check


def test_a_real_frame_is_read_and_written_alike() -> None:
    (frame,) = read(REAL)
    assert (frame.destination, frame.source, frame.control) == (b"\x01", b"\x02\x01", 0x10)
    assert encode(frame) == REAL
    assert SegmentAssembler().receive(frame) == frame.information[3:]


@pytest.mark.parametrize("vector", HDLC, ids=str)
def test_real_captures_are_written_as_they_were_read(vector: Vector) -> None:
    raw = bytes.fromhex(vector.capture.decode())
    assert b"".join(map(encode, read(raw))) == raw


@given(st.lists(frames, max_size=4), st.data())
@settings(max_examples=100)
def test_frames_come_out_whole_wherever_cut_with_shared_flags_or_not(
    sent: list[HdlcFrame], data: st.DataObject
) -> None:
    shared = b"".join(encode(frame)[:-1] for frame in sent) + b"\x7e" * bool(sent)
    stream = data.draw(st.sampled_from([shared, b"".join(map(encode, sent))]))
    cut = data.draw(st.integers(0, len(stream)))
    reader, found = HdlcReader(), []
    for part in (stream[:cut], stream[cut:]):
        reader.receive(part)
        found += list(iter(reader.next_frame, None))
    assert found == sent
    assert reader.waiting == 0


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(REAL)):
        changed = bytearray(REAL)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FramingError) as caught:
            read(bytes(changed))
        assert caught.value.at is not None


def test_a_lost_place_stays_lost() -> None:
    reader = HdlcReader()
    reader.receive(b"\x01")
    for _ in range(2):
        with pytest.raises(FramingError, match="HDLC flag; byte 0; expected 7e; found 01"):
            reader.next_frame()


SHORT = {
    "no frame": "7e",
    "length below 7": "7ea006",
    "type 2": "7e9007",
    "three address bytes": "7ea00b02020303930000007e",
    "no control": "7ea00702000200ff7e",
}


@pytest.mark.parametrize("text", SHORT.values(), ids=SHORT)
def test_a_frame_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(FramingError):
        read(bytes.fromhex(text))


def test_segments_join_and_lose_the_llc_bytes_once() -> None:
    segments = SegmentAssembler()
    first = HdlcFrame(b"\x01", b"\x03", 0x03, b"\xe6\xe7\x00\x0f", segmented=True)
    assert segments.receive(first) is None
    opened = [segments.open]
    assert (
        segments.receive(HdlcFrame(b"\x01", b"\x03", 0x13, b"\xe6\xe7\x00")) == b"\x0f\xe6\xe7\x00"
    )
    opened.append(segments.open)
    assert opened == [True, False]
    assert segments.receive(HdlcFrame(b"\x01", b"\x03", 0x13, b"\xe6\xe6\x00\xc0")) == b"\xc0"


def test_segments_are_bounded() -> None:
    segments = SegmentAssembler(max_apdu=3)
    segments.receive(HdlcFrame(b"\x01", b"\x03", 0x03, b"123", segmented=True))
    with pytest.raises(FramingError, match="<= 3 bytes"):
        segments.receive(HdlcFrame(b"\x01", b"\x03", 0x13, b"4"))


@pytest.mark.parametrize("address", [b"", b"\x02", b"\x01\x03", b"\x02\x02\x03", b"\x02" * 5])
def test_addresses_that_cannot_be_are_not_written(address: bytes) -> None:
    with pytest.raises(FramingError):
        encode(HdlcFrame(address, b"\x03", 0x13, b""))


def test_information_that_does_not_fit_is_not_written() -> None:
    with pytest.raises(FramingError, match="2047"):
        encode(HdlcFrame(b"\x01", b"\x03", 0x13, bytes(2048)))


def test_a_wrong_header_check_is_refused_though_the_frame_check_fits() -> None:
    body = bytearray(REAL[1:-3])
    body[6] ^= 1
    frame = b"\x7e" + bytes(body) + check_sequence(bytes(body)) + b"\x7e"
    with pytest.raises(FramingError, match="HDLC HCS"):
        read(frame)


def test_a_frame_without_information_has_one_check() -> None:
    frame = HdlcFrame(b"\x01", b"\x03", 0x93, b"")
    data = encode(frame)
    assert (read(data), len(data)) == ([frame], 9)
    with pytest.raises(FramingError, match="HDLC FCS"):
        read(data[:-2] + bytes((data[-2] ^ 1,)) + data[-1:])


def test_an_address_ends_at_its_first_odd_byte() -> None:
    with pytest.raises(FramingError, match="HDLC address"):
        encode(HdlcFrame(b"\x00\x02\x05\x07", b"\x03", 0x13, b""))
