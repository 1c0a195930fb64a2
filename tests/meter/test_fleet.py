import pickle

import pytest

from zegel.cosem.push import device_name
from zegel.errors import UsageError
from zegel.meter.fleet import KeyRing, check_digit, ean_of, make_fleet, split_evenly


def test_three_operators_share_no_serial_title_or_connection() -> None:
    fleets = [make_fleet(1, operator, 0, 50) for operator in range(3)]
    places = [(fleet, place) for fleet in fleets for place in range(50)]
    for name in ("serial", "title", "ean"):
        assert len({getattr(fleet, name)(place) for fleet, place in places}) == 150


def test_a_serial_is_the_cosem_logical_device_name() -> None:
    fleet = make_fleet(1, 1, 41, 1)
    assert fleet.serial(0) == "ZGL0200000000042"
    assert fleet.serial(0).encode() == device_name(200000000042)
    assert fleet.title(0)[:3] == b"ZGM"


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_keys_are_random_even_with_equal_seeds(suite: int) -> None:
    one, two = make_fleet(1, 0, 0, 3, suite), make_fleet(1, 0, 0, 3, suite)
    keys = [
        key
        for fleet in (one, two)
        for place in range(3)
        for key in (fleet.keys.encryption(place), fleet.keys.authentication(place))
    ]
    assert len(set(keys)) == 12
    assert {len(key) for key in keys} == {32 if suite == 2 else 16}
    assert (one.serials == two.serials).all()
    assert (one.floors == two.floors).all()


def test_neither_repr_nor_pickle_of_a_fleet_shows_a_key() -> None:
    fleet = make_fleet(1, 0, 0, 2)
    shown = repr(fleet) + repr(fleet.keys)
    for key in (fleet.keys.encryption(0), fleet.keys.authentication(1)):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(KeyRing.draw(1, 0))


@pytest.mark.parametrize("number", [0, 1, 100000000042])
def test_an_ean_has_18_digits_and_its_check_digit(number: int) -> None:
    ean = ean_of(number)
    assert len(ean) == 18
    weighted = sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(reversed(ean)))
    assert weighted % 10 == 0


def test_the_check_digit_is_that_of_the_published_example() -> None:
    # the 18-digit example of GS1's "How to calculate a check digit manually"
    assert check_digit("37610425002123456") == 9


@pytest.mark.parametrize(
    ("total", "shares"),
    [(300, [100, 100, 100]), (10, [4, 3, 3]), (7, [3, 2, 2]), (1, [1, 0, 0])],
)
def test_meters_are_split_as_evenly_as_possible(total: int, shares: list[int]) -> None:
    assert split_evenly(total, 3) == shares


def test_another_suite_is_refused() -> None:
    with pytest.raises(UsageError, match="suite"):
        make_fleet(1, 0, 0, 1, suite=3)
