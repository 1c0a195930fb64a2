import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.cosem.wrapper import HEADER as COSEM_HEADER
from zegel.cosem.wrapper import WrapperFrame, WrapperReader
from zegel.edge.framing import HEADER, Cut, cut
from zegel.errors import FramingError
from zegel.node.spool_format import Mark

HEADERS = st.tuples(
    st.sampled_from([1, 1, 1, 0, 2, 0x0100]),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 20),
)
STREAMS = st.lists(
    st.builds(lambda head, body: HEADER.pack(*head) + body[: head[3]], HEADERS, st.just(bytes(20))),
    max_size=5,
).map(b"".join)


def test_the_header_is_that_of_the_protocol() -> None:
    assert HEADER.format == COSEM_HEADER.format


@given(stream=STREAMS, end=st.integers(0, 140))
@settings(max_examples=200)
def test_cutting_agrees_with_the_wrapper_reader(stream: bytes, end: int) -> None:
    stream = stream[:end]
    reader = WrapperReader(max_apdu=12)
    reader.receive(stream)
    at = 0
    while True:
        ours = cut(stream, at, 12)
        try:
            theirs = reader.next_frame()
        except FramingError as error:
            assert ours is not None
            expected = {"wrapper version": Mark.FRAMING, "APDU length": Mark.TOO_LARGE}
            assert ours.mark is expected[error.what]  # noqa: PT017 - compared, not expected
            return
        if theirs is None:
            assert ours is None
            return
        assert ours is not None
        assert ours.mark is Mark.NONE
        assert theirs == WrapperFrame(ours.source, ours.destination, stream[ours.begin : ours.end])
        at = ours.end


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        ("", None),
        ("0001 0001 0010 00", None),
        ("0001 0001 0010 0002 c0", None),
        ("0001 0001 0010 0002 c001", Cut(Mark.NONE, 1, 16, 8, 10)),
        ("0001 0001 0010 0000", Cut(Mark.NONE, 1, 16, 8, 8)),
        ("0002 0001 0010 0002", Cut(Mark.FRAMING, 1, 16, 8, 8)),
        ("0001 0001 0010 0003", Cut(Mark.TOO_LARGE, 1, 16, 8, 8)),
    ],
)
def test_a_stream_is_cut_by_its_headers(stream: str, found: Cut | None) -> None:
    assert cut(bytes.fromhex(stream), 0, 2) == found
