import ipaddress
import struct
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.errors import DamagedError
from zegel.node.spool_format import (
    Mark,
    Record,
    SegmentName,
    Source,
    encode_block,
    frame_id,
    iter_blocks,
    open_name,
    pack_address,
    parse_name,
    parse_open_name,
    read_segment,
    show_address,
    whole_blocks,
)

RECORDS = st.builds(
    Record,
    frame=st.binary(max_size=60),
    source=st.sampled_from(Source),
    mark=st.sampled_from(Mark),
    port=st.integers(0, 0xFFFF),
    address=st.binary(min_size=16, max_size=16),
    context=st.binary(max_size=20),
)
BATCHES = st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=4)
# Written out by hand from docs/reference/spool.md; the CRC by `crc32` of zlib over the parts.
BODY = bytes.fromhex(
    "02000000 00 00 db0f 00000000000000000000ffffc0000207 0000"
    "01000000 02 01 0000 00000000000000000000000000000000 0300"
    "637478"
    "db08"
    "ff"
)
SUMMED = bytes.fromhex("02000000 3a000000") + struct.pack("<d", 1764025200.5)
BY_HAND = b"ZSP1" + SUMMED[:8] + struct.pack("<I", crc32(SUMMED + BODY)) + SUMMED[8:] + BODY
TWO = [
    Record(b"\xdb\x08", Source.PUSH_TCP, Mark.NONE, 4059, pack_address("192.0.2.7")),
    Record(b"\xff", Source.PULL, Mark.FRAMING, 0, bytes(16), b"ctx"),
]


def test_a_block_has_the_documented_bytes() -> None:
    assert encode_block(TWO, 1764025200.5).hex() == BY_HAND.hex()
    (block,) = iter_blocks(BY_HAND)
    assert (block.start, block.end, block.received) == (0, len(BY_HAND), 1764025200.5)
    assert block.records == TWO


@given(batches=BATCHES)
@settings(max_examples=60)
def test_a_segment_reads_as_it_was_written(batches: list[list[Record]]) -> None:
    data = b"".join(encode_block(batch, 1e9 + i) for i, batch in enumerate(batches))
    flat = [record for batch in batches for record in batch]
    segment = read_segment(data, SegmentName(5 << 40, len(flat)))
    assert segment.records == flat
    assert segment.received == [1e9 + i for i, batch in enumerate(batches) for _ in batch]


def test_any_flipped_bit_is_damage() -> None:
    for bit in range(len(BY_HAND) * 8):
        changed = bytearray(BY_HAND)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedError):
            list(iter_blocks(bytes(changed)))


JUNK: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "ones": lambda size: b"\xff" * size,
    "old heads": lambda size: (BY_HAND[:20] * 50)[7 : 7 + size],
}


@pytest.mark.parametrize("junk", JUNK)
def test_a_tail_cut_at_any_byte_keeps_exactly_the_whole_blocks(junk: str) -> None:
    """Every cut of the last blocks, followed by nothing and by junk of three lengths."""
    blocks = [encode_block(TWO * (i + 1), 1e9 + i) for i in range(3)]
    data = b"".join(blocks)
    ends = [0, len(blocks[0]), len(blocks[0]) + len(blocks[1]), len(data)]
    for cut in range(len(data)):
        for size in (0, 1, len(data) - cut, 700):
            left = data[:cut] + JUNK[junk](size)
            # junk may happen to be the very bytes that were cut off
            whole = [end for end in ends if end and left.startswith(data[:end])]
            assert [block.end for block in whole_blocks(left)] == whole, (cut, size)


@given(junk=st.binary(max_size=200), cut=st.integers(0, len(BY_HAND) - 1))
@settings(max_examples=100)
def test_random_junk_behind_a_cut_is_no_block(junk: bytes, cut: int) -> None:
    data = BY_HAND + BY_HAND[:cut] + junk
    kept = whole_blocks(data)
    assert kept[0].end == len(BY_HAND)
    assert len(kept) == 1 or data.startswith(BY_HAND, len(BY_HAND))


def test_blocks_behind_a_damaged_one_are_found_by_its_length() -> None:
    blocks = [encode_block(TWO, 1e9 + i) for i in range(3)]
    data = bytearray(b"".join(blocks))
    data[len(blocks[0]) + 40] ^= 1
    kept = whole_blocks(bytes(data))
    assert [block.received for block in kept] == [1e9, 1e9 + 2]


def test_a_block_inside_a_frame_is_never_taken_for_one() -> None:
    inner = encode_block([Record(b"forged", Source.PULL)], 1e9)
    data = bytearray(encode_block([Record(inner * 3)], 1e9))
    data[16] ^= 1  # the outer CRC
    assert whole_blocks(bytes(data)) == []
    data[0] ^= 1
    assert whole_blocks(bytes(data)) == []


def test_an_empty_block_or_run_of_zeros_is_damage() -> None:
    empty = struct.pack("<II", 0, 0) + struct.pack("<d", 0.0)
    head = b"ZSP1" + empty[:8] + struct.pack("<I", crc32(empty)) + empty[8:]
    for data in (head, bytes(24), bytes(4096), b"ZSP1" + bytes(20)):
        with pytest.raises(DamagedError):
            list(iter_blocks(data))


@pytest.mark.parametrize("count", [0, 1, 3, 0xFFFFFFFF])
def test_a_segment_with_other_than_the_named_count_is_damaged(count: int) -> None:
    name = SegmentName(1 << 40, count)
    with pytest.raises(DamagedError, match=str(name)):
        read_segment(BY_HAND, name)


def test_damage_names_file_and_byte() -> None:
    data = bytearray(BY_HAND * 2)
    data[-1] ^= 1
    with pytest.raises(DamagedError) as caught:
        read_segment(bytes(data), SegmentName(1 << 40, 4))
    assert caught.value.where == f"0000010000000000-00000004.seg, byte {len(BY_HAND)}"


@given(data=st.binary(max_size=300))
@settings(max_examples=100)
def test_any_bytes_give_blocks_or_our_error(data: bytes) -> None:
    whole_blocks(data)
    try:
        list(iter_blocks(data))
    except DamagedError:
        pass
    else:
        assert data == b""


@given(epoch=st.integers(1, 2**24 - 1), number=st.integers(0, 2**40 - 1), n=st.integers(1, 99))
@settings(max_examples=50)
def test_names_carry_the_frame_ids(epoch: int, number: int, n: int) -> None:
    first = frame_id(epoch, number)
    name = SegmentName(first, n)
    assert parse_name(str(name)) == name
    assert name.last == first + n - 1
    assert parse_open_name(open_name(first)) == first
    assert parse_name(open_name(first)) is None
    assert parse_open_name(str(name)) is None


@pytest.mark.parametrize(
    "name",
    ["", "x.seg", "0000010000000000-00000001.seg.tmp", "0000010000000000-1.seg", "EDGE.epoch"],
)
def test_other_names_are_no_segments(name: str) -> None:
    assert parse_name(name) is None
    assert parse_open_name(name) is None


@given(host=st.ip_addresses())
@settings(max_examples=50)
def test_addresses_come_back(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    packed = pack_address(str(host))
    assert len(packed) == 16
    shown = show_address(packed)
    assert shown == "" if not any(packed) else ipaddress.ip_address(shown) in {host, _plain(host)}


def _plain(
    host: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return mapped or host


@pytest.mark.parametrize(
    ("host", "packed"),
    [
        ("192.0.2.7", "00000000000000000000ffffc0000207"),
        ("2001:db8::1", "20010db8000000000000000000000001"),
        ("fe80::1%eth0", "fe800000000000000000000000000001"),
        ("", "00" * 16),
        ("no address", "00" * 16),
    ],
)
def test_addresses_are_16_bytes(host: str, packed: str) -> None:
    assert pack_address(host).hex() == packed
