import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.vectors import Vector, vectors
from zegel.cosem.mbus import MbusFrame, MbusReader, SegmentAssembler, encode
from zegel.errors import FramingError, UnsupportedError

CAPTURES = [v for v in vectors() if v.kind == "encrypted" and v.capture.startswith(b"68")]
FRAME = MbusFrame(0x53, 0xFF, 0x10, b"\x01\x67\x0f")
BYTES = bytes.fromhex("68060668 53ff1001670f d9 16")


def read(data: bytes) -> list[MbusFrame]:
    reader = MbusReader()
    reader.receive(data)
    found = list(iter(reader.next_frame, None))
    reader.end()
    return found


@pytest.mark.parametrize("vector", CAPTURES, ids=str)
def test_real_captures_are_written_as_they_were_read(vector: Vector) -> None:
    raw = bytes.fromhex(vector.capture.decode())
    assert b"".join(map(encode, read(raw))) == raw


def test_sagemcoms_overflowed_length_holds_257_bytes() -> None:
    frame = MbusFrame(0x53, 0xFF, 0x00, b"\x01\x67" + bytes(252))
    data = encode(frame)
    assert data[:4] == b"\x68\x01\x01\x68"
    assert read(data) == [frame]


@given(
    st.lists(st.builds(MbusFrame, *[st.integers(0, 255)] * 3, st.binary(max_size=255)), max_size=3),
    st.data(),
)
def test_frames_come_out_whole_wherever_the_stream_is_cut(
    sent: list[MbusFrame], data: st.DataObject
) -> None:
    stream = b"".join(map(encode, sent))
    cut = data.draw(st.integers(0, len(stream)))
    reader, found = MbusReader(), []
    for part in (stream[:cut], stream[cut:]):
        reader.receive(part)
        found += list(iter(reader.next_frame, None))
    assert found == sent
    assert reader.waiting == 0


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(BYTES)):
        changed = bytearray(BYTES)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FramingError) as caught:
            read(bytes(changed))
        assert caught.value.at is not None


def test_a_lost_place_stays_lost() -> None:
    reader = MbusReader()
    reader.receive(b"\x10")
    for _ in range(2):
        with pytest.raises(FramingError, match="M-Bus start; byte 0; expected 68; found 10"):
            reader.next_frame()


def segment(ci: int, data: bytes = b"\x01\x67\x0f") -> MbusFrame:
    return MbusFrame(0x53, 0xFF, ci, data)


def test_segments_join_in_order() -> None:
    segments = SegmentAssembler()
    assert segments.receive(segment(0x00, b"\x01\x67ab")) is None
    opened = [segments.open]
    assert segments.receive(segment(0x01, b"\x01\x67cd")) is None
    assert segments.receive(segment(0x12, b"\x01\x67ef")) == b"abcdef"
    opened.append(segments.open)
    assert opened == [True, False]
    assert segments.receive(segment(0x10)) == b"\x0f"


WRONG = {
    "begins in the middle": [segment(0x11)],
    "lost": [segment(0x00), segment(0x12)],
    "repeated": [segment(0x00), segment(0x00)],
    "other SAPs": [segment(0x00), segment(0x11, b"\x47\x83\x0f")],
    "no SAPs": [segment(0x10, b"\x01")],
    "too many": [segment(0x00), segment(0x01, b"\x01\x67" + bytes(250))],
}


@pytest.mark.parametrize("sent", WRONG.values(), ids=WRONG)
def test_segments_that_do_not_join_are_refused_by_number(sent: list[MbusFrame]) -> None:
    segments = SegmentAssembler(max_apdu=200)
    *before, last = sent
    for frame in before:
        segments.receive(frame)
    with pytest.raises(FramingError, match=f"segment {len(before)}"):
        segments.receive(last)


def test_m_bus_records_are_no_apdu() -> None:
    with pytest.raises(UnsupportedError, match="CI 72"):
        SegmentAssembler().receive(segment(0x72))


def test_what_does_not_fit_is_not_written() -> None:
    with pytest.raises(FramingError, match="258"):
        encode(MbusFrame(0x53, 0xFF, 0, bytes(256)))
