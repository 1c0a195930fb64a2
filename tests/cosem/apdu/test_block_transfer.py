import pytest
from hypothesis import given
from hypothesis import strategies as st

from zegel.cosem.apdu.block_transfer import BlockAssembler, GeneralBlock
from zegel.errors import InputError, MalformedError, UnsupportedError

# First and last block of a Landis+Gyr E450 (tests/vectors/encrypted), data shortened.
FIRST, LAST = bytes.fromhex("e0400001000002db08"), bytes.fromhex("e0c00002000003112233")


def test_blocks_of_a_real_meter_are_read_and_written() -> None:
    first, last = GeneralBlock.decode(FIRST), GeneralBlock.decode(LAST)
    assert first == GeneralBlock(0x40, 1, 0, b"\xdb\x08")
    assert (first.last, first.streaming, first.window) == (False, True, 0)
    assert (last.last, last.streaming) == (True, True)
    assert (first.encode(), last.encode()) == (FIRST, LAST)
    blocks = BlockAssembler()
    assert blocks.receive(first) is None
    assert blocks.open
    assert blocks.receive(last) == b"\xdb\x08\x11\x22\x33"
    assert not blocks.open


@given(
    apdu=st.binary(min_size=1, max_size=400),
    size=st.integers(1, 90),
    window=st.integers(0, 63),
)
def test_an_apdu_survives_its_blocks(apdu: bytes, size: int, window: int) -> None:
    blocks, parts = BlockAssembler(), range(0, len(apdu), size)
    for number, start in enumerate(parts, 1):
        last = 0x80 if number == len(parts) else 0
        block = GeneralBlock(0x40 | last | window, number, 0, apdu[start : start + size])
        assert GeneralBlock.decode(block.encode()) == block
        whole = blocks.receive(block)
    assert whole == apdu


@pytest.mark.parametrize("numbers", [[2], [1, 1], [1, 3], [0]])
def test_blocks_out_of_order_are_refused(numbers: list[int]) -> None:
    blocks = BlockAssembler()
    *before, last = (GeneralBlock(0x40, number, 0, b"x") for number in numbers)
    for block in before:
        blocks.receive(block)
    with pytest.raises(UnsupportedError, match="block order"):
        blocks.receive(last)


def test_blocks_are_bounded_and_hold_data() -> None:
    blocks = BlockAssembler(max_apdu=3)
    blocks.receive(GeneralBlock(0x40, 1, 0, b"123"))
    with pytest.raises(MalformedError, match="<= 3 bytes"):
        blocks.receive(GeneralBlock(0x40, 2, 0, b"4"))
    with pytest.raises(MalformedError, match="block data"):
        blocks.receive(GeneralBlock(0x40, 2, 0, b""))


@pytest.mark.parametrize(
    "data", [b"", b"\x0f", *(FIRST[:n] for n in range(1, len(FIRST))), FIRST + b"\0"]
)
def test_a_block_that_is_cut_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        GeneralBlock.decode(data)
    assert caught.value.at is not None
