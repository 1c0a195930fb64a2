import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zegel.vault import key_table
from zegel.vault.key_table import ENVELOPE_BYTES, KeyTable

Model = dict[bytes, tuple[int, int, bytes]]
TITLES = st.one_of(
    st.binary(min_size=8, max_size=8), st.sampled_from([bytes(8), b"\xff" * 8, b"ABC\0\0\0\0\0"])
)
ROWS = st.dictionaries(
    TITLES,
    st.tuples(st.integers(0, 2), st.integers(0, 65535), st.binary(min_size=60, max_size=92)),
    max_size=30,
)


def table_of(model: Model) -> KeyTable:
    return KeyTable.columns([(title, *model[title]) for title in sorted(model)])


def rows_of(table: KeyTable) -> Model:
    return {
        KeyTable.title_bytes(int(table.titles[i])): (
            int(table.suites[i]),
            int(table.versions[i]),
            table.envelopes[i].tobytes(),
        )
        for i in range(len(table))
    }


def padded(model: Model) -> Model:
    return {t: (s, v, e.ljust(ENVELOPE_BYTES, b"\0")) for t, (s, v, e) in model.items()}


@settings(max_examples=60)
@given(parts=st.lists(ROWS, max_size=5), move=st.integers(1, 7))
def test_puts_in_any_order_give_the_same_as_a_dict(parts: list[Model], move: int) -> None:
    before, key_table._MOVE = key_table._MOVE, move
    try:
        table = KeyTable()
        model: Model = {}
        for part in parts:
            table.put(table_of(part))
            model |= part
    finally:
        key_table._MOVE = before
    assert rows_of(table) == padded(model)
    assert (np.diff(table.titles.astype(object)) > 0).all()


@settings(max_examples=50)
@given(model=ROWS, asked=st.lists(TITLES, max_size=10))
def test_a_title_is_found_exactly_if_it_is_there(model: Model, asked: list[bytes]) -> None:
    table = table_of(model)
    titles = [*asked, *model]
    numbers = np.array([int.from_bytes(title, "big") for title in titles], np.uint64)
    rows = table.find(numbers)
    for title, row in zip(titles, rows.tolist(), strict=True):
        assert (row >= 0) == (title in model)
        if row >= 0:
            assert KeyTable.title_bytes(int(table.titles[row])) == title


def test_a_title_that_ends_in_zeros_keeps_them() -> None:
    table = table_of({b"ABC\0\0\0\0\0": (0, 1, bytes(60))})
    assert KeyTable.title_bytes(int(table.titles[0])) == b"ABC\0\0\0\0\0"


def test_a_meter_takes_103_bytes() -> None:
    table = KeyTable(1000)
    assert sum(column.nbytes for column in table._columns()) == 103 * 1000
