from zegel.cosem.decode.conventions import load_conventions
from zegel.cosem.units import load_units


def test_every_convention_has_a_source_and_scales_of_known_units() -> None:
    conventions = load_conventions()
    assert {row.maker for row in conventions} == {"Kaifa", "Kamstrup"}
    for row in conventions:
        assert row.source
        assert row.list_id
        assert {unit for _, unit in row.scales.values()} <= set(load_units())


def test_kaifas_lists_hold_1_9_13_14_or_18_places() -> None:
    kaifa = next(row for row in load_conventions() if row.maker == "Kaifa")
    assert sorted(kaifa.lists) == [1, 9, 13, 14, 18]
    assert all(len(set(places)) == len(places) for places in kaifa.lists.values())
    assert str(kaifa.lists[18][17]) == "1-0:4.8.0.255"
