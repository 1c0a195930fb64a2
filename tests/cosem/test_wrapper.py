import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.cosem.wrapper import WrapperFrame, WrapperReader, decode_datagram, encode
from zegel.errors import FramingError

STREAM = bytes.fromhex("0001 0001 0010 0002 c001  0001 0001 0010 0000")
FRAMES = [WrapperFrame(1, 16, b"\xc0\x01"), WrapperFrame(1, 16, b"")]


@given(cut=st.integers(0, len(STREAM)))
def test_frames_come_out_whole_wherever_the_stream_is_cut(cut: int) -> None:
    reader = WrapperReader(max_apdu=64)
    frames: list[WrapperFrame] = []
    for part in (STREAM[:cut], STREAM[cut:]):
        reader.receive(part)
        frames += iter(reader.next_frame, None)
    assert frames == FRAMES
    assert reader.waiting == 0
    reader.end()


@given(
    st.lists(
        st.builds(
            WrapperFrame, st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=80)
        )
    )
)
def test_what_is_written_is_read(frames: list[WrapperFrame]) -> None:
    reader = WrapperReader()
    reader.receive(b"".join(map(encode, frames)))
    assert list(iter(reader.next_frame, None)) == frames
    assert all(decode_datagram(encode(frame)) == frame for frame in frames)


@pytest.mark.parametrize(
    ("data", "what", "at"),
    [("0002000100100000", "wrapper version", 0), ("0001000100100041", "APDU length", 6)],
)
def test_a_wrong_header_loses_the_place_for_good(data: str, what: str, at: int) -> None:
    reader = WrapperReader(max_apdu=64)
    reader.receive(encode(FRAMES[0]) + bytes.fromhex(data))
    assert reader.next_frame() == FRAMES[0]
    for _ in range(2):
        with pytest.raises(FramingError) as caught:
            reader.next_frame()
        assert (caught.value.what, caught.value.at) == (what, 10 + at)
        reader.receive(encode(FRAMES[0]))


@pytest.mark.parametrize("length", range(1, 10))
def test_a_stream_that_ends_inside_a_frame_is_told(length: int) -> None:
    reader = WrapperReader()
    reader.receive(STREAM[:length])
    assert reader.next_frame() is None
    with pytest.raises(FramingError, match=f"found {length} bytes"):
        reader.end()


@pytest.mark.parametrize("data", [b"", STREAM[:7], STREAM[:9], STREAM, b"\0\2" + STREAM[2:10]])
def test_a_datagram_is_exactly_one_frame(data: bytes) -> None:
    with pytest.raises(FramingError):
        decode_datagram(data)


def test_a_datagram_over_the_limit_is_refused() -> None:
    with pytest.raises(FramingError, match="<= 1"):
        decode_datagram(STREAM[:10], max_apdu=1)


@pytest.mark.parametrize(
    "frame",
    [WrapperFrame(-1, 1, b""), WrapperFrame(1, 65536, b""), WrapperFrame(1, 1, bytes(65536))],
)
def test_what_does_not_fit_is_not_written(frame: WrapperFrame) -> None:
    with pytest.raises(FramingError):
        encode(frame)
