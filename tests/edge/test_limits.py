import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.edge.limits import Buckets, Limits, Seats, peer_key
from zegel.node.config import EdgeConfig
from zegel.node.spool_format import pack_address

METER, FORGER = pack_address("192.0.2.7"), pack_address("198.51.100.9")
TITLE, OTHER = b"ZGL00001", b"ZGL00002"


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    buckets = Buckets(2.0, 5, 10)
    assert [buckets.take(b"a", 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert [buckets.take(b"a", 100.5) for _ in range(2)] == [True, False]
    assert [buckets.take(b"a", 101.5) for _ in range(3)] == [True, True, False]
    assert [buckets.take(b"a", 1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_buckets_of_different_keys_do_not_touch() -> None:
    buckets = Buckets(1.0, 1, 10)
    assert buckets.take(b"a", 0.0)
    assert buckets.take(b"b", 0.0)
    assert not buckets.take(b"a", 0.0)


def test_a_rate_of_zero_is_no_limit_and_keeps_nothing() -> None:
    buckets = Buckets(0.0, 1, 10)
    assert all(buckets.take(b"a", 0.0) for _ in range(1000))
    assert len(buckets) == 0


def test_buckets_are_bounded_and_forget_the_longest_unused() -> None:
    buckets = Buckets(1.0, 1, 3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        buckets.take(key, 0.0)
    assert len(buckets) == 3
    assert not buckets.take(b"a", 0.0)
    assert buckets.take(b"b", 0.0)


@given(
    moments=st.lists(st.floats(0, 60), min_size=1, max_size=60).map(sorted),
    rate=st.floats(0.1, 10),
    burst=st.integers(1, 10),
)
@settings(max_examples=100)
def test_no_bucket_gives_more_than_burst_and_rate(
    moments: list[float], rate: float, burst: int
) -> None:
    buckets = Buckets(rate, burst, 10)
    given = sum(buckets.take(b"a", moment) for moment in moments)
    assert given <= burst + rate * (moments[-1] - moments[0]) + 1e-6


def test_in_plenty_no_title_is_refused_for_its_rate() -> None:
    limits = Limits(EdgeConfig(title_rate=1, title_burst=1))
    verdicts = {limits.refusal(TITLE, METER, 0.0, scarce=False) for _ in range(100)}
    assert verdicts == {None}


def test_in_scarcity_only_titles_known_lately_from_that_address_are_served() -> None:
    limits = Limits(EdgeConfig())
    limits.authenticated(TITLE, METER)
    assert limits.refusal(TITLE, METER, 0.0, scarce=True) is None
    assert limits.refusal(TITLE, FORGER, 0.0, scarce=True) == "refused_backlog"
    assert limits.refusal(OTHER, METER, 0.0, scarce=True) == "refused_backlog"
    assert limits.refusal(None, METER, 0.0, scarce=True) == "refused_backlog"


def test_a_forger_elsewhere_cannot_drain_the_bucket_of_the_meter() -> None:
    limits = Limits(EdgeConfig(title_rate=1, title_burst=2))
    limits.authenticated(TITLE, METER)
    for _ in range(1000):
        limits.refusal(TITLE, FORGER, 0.0, scarce=False)
    assert limits.refusal(TITLE, METER, 0.0, scarce=True) is None


def test_a_known_title_over_its_rate_is_refused_in_scarcity() -> None:
    limits = Limits(EdgeConfig(title_rate=1, title_burst=2))
    limits.authenticated(TITLE, METER)
    verdicts = [limits.refusal(TITLE, METER, 0.0, scarce=True) for _ in range(3)]
    assert verdicts == [None, None, "refused_rate"]


def test_without_addresses_a_known_title_is_served_from_anywhere() -> None:
    limits = Limits(EdgeConfig())
    limits.authenticated(TITLE + OTHER)
    assert limits.in_reserved_lane(TITLE, METER)
    assert limits.in_reserved_lane(OTHER, FORGER)


def test_a_meter_that_moved_is_known_where_it_authenticated_last() -> None:
    limits = Limits(EdgeConfig())
    limits.authenticated(TITLE, METER)
    limits.authenticated(OTHER + TITLE, METER + FORGER)
    assert limits.in_reserved_lane(TITLE, FORGER)
    assert not limits.in_reserved_lane(TITLE, METER)


def test_the_memory_of_titles_is_bounded_and_keeps_the_latest() -> None:
    limits = Limits(EdgeConfig(max_titles=2))
    limits.authenticated(b"a" * 8 + b"b" * 8)
    limits.authenticated(b"a" * 8 + b"c" * 8)
    known = [title for title in b"abc" if limits.in_reserved_lane(bytes([title]) * 8, METER)]
    assert bytes(known) == b"ac"


def test_the_rate_of_a_peer_is_hard_when_it_is_set() -> None:
    limits = Limits(EdgeConfig(peer_rate=2.0))
    titles = [bytes([n]) * 8 for n in range(6)]
    verdicts = [limits.refusal(title, METER, 0.0, scarce=False) for title in titles]
    assert verdicts == [None] * 4 + ["refused_rate"] * 2
    assert limits.refusal(TITLE, FORGER, 0.0, scarce=False) is None


def test_peers_are_ipv4_addresses_and_ipv6_networks() -> None:
    assert peer_key(METER) != peer_key(pack_address("192.0.2.8"))
    one, two = pack_address("2001:db8::1"), pack_address("2001:db8::2")
    assert peer_key(one) == peer_key(two) != peer_key(pack_address("2001:db8:0:1::1"))


def seats(limit: int = 8, reserved: float = 0.25, **kinds: int) -> Seats[str]:
    table: Seats[str] = Seats(limit, reserved)
    for kind, count in kinds.items():
        for number in range(count):
            table.sit(f"{kind}{number}")
            if kind == "known":
                table.served(f"{kind}{number}", known=True)
    return table


@pytest.mark.parametrize(
    ("strangers", "known", "goes"),
    [(8, 0, "stranger0"), (6, 2, "stranger0"), (4, 4, "stranger0"), (0, 8, "known0")],
)
def test_for_a_newcomer_the_longest_waiting_goes_strangers_first(
    strangers: int, known: int, goes: str
) -> None:
    table = seats(stranger=strangers, known=known)
    assert table.full
    assert table.give_way()[0] == goes


def test_known_connections_keep_the_reserved_share() -> None:
    table = seats(limit=8, reserved=1.0, known=8)
    assert table.give_way() == []


def test_strangers_keep_an_eighth_where_known_connections_hold_more_than_their_share() -> None:
    table = seats(limit=32, stranger=3, known=29)
    assert table.give_way()[0] == "known0"


def test_a_whole_frame_moves_a_connection_behind_the_others() -> None:
    table = seats(stranger=3)
    table.served("stranger0", known=False)
    assert list(table) == ["stranger1", "stranger2", "stranger0"]
    table.served("stranger1", known=True)
    assert list(table) == ["stranger2", "stranger0", "stranger1"]
    table.leave("stranger1")
    table.leave("stranger1")
    table.served("stranger1", known=True)
    assert list(table) == ["stranger2", "stranger0"]
    assert table.silent(lambda seat: seat == "stranger2") == ["stranger2"]
