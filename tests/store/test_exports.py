"""Readings out in the three formats, over many meters and pieces."""

import io
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.store_bench import FULL_DAY, StoreBench, push, serial
from zegel.errors import UsageError
from zegel.store import exports

COLUMNS = ["serial", "t", "import_wh", "export_wh", "status", "quality", "source", "frame_id"]


@pytest.fixture
def filled(bench: StoreBench) -> StoreBench:
    bench.take([push(meter, base=10 * n) for n, meter in enumerate(bench.meters)][::-1])
    return bench


@pytest.mark.parametrize("piece_rows", [1, 10**6], ids=["a piece a meter", "one piece"])
def test_all_formats_hold_the_same_rows_by_meter_and_time(
    filled: StoreBench, monkeypatch: pytest.MonkeyPatch, piece_rows: int
) -> None:
    monkeypatch.setattr(exports, "PIECE_ROWS", piece_rows)
    arrow = pa.ipc.open_stream(filled.export(*FULL_DAY)).read_all()
    parquet = pq.read_table(io.BytesIO(filled.export(*FULL_DAY, form="parquet")))
    csv = filled.export(*FULL_DAY, form="csv").decode().splitlines()
    assert arrow.column_names == parquet.column_names == COLUMNS
    assert csv[0] == ",".join(f'"{name}"' for name in COLUMNS)
    assert len(csv) - 1 == arrow.num_rows == parquet.num_rows == 288
    for name in ("serial", "import_wh", "frame_id", "source"):
        assert arrow[name].to_pylist() == parquet[name].to_pylist()
    keys = list(zip(arrow["serial"].to_pylist(), arrow["t"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert arrow.schema.field("t").type == pa.timestamp("s", tz="UTC")
    assert csv[1].split(",")[:3] == ['"ZGL0000000000000"', '"2026-11-23T23:15:00Z"', "0"]


def test_period_is_open_at_its_start_and_closed_at_its_end(filled: StoreBench) -> None:
    first = FULL_DAY[0] + 900
    lines = filled.export(first, first + 900, form="csv", meter_id=1).decode().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ['"2026-11-23T23:30:00Z"']


@pytest.mark.parametrize("form", exports.FORMATS)
def test_empty_period_is_a_document_without_rows(filled: StoreBench, form: str) -> None:
    data = filled.export(FULL_DAY[0], FULL_DAY[0], form=form)
    if form == "csv":
        assert data.count(b"\n") == 1
    elif form == "arrow":
        assert pa.ipc.open_stream(data).read_all().num_rows == 0
    else:
        assert pq.read_table(io.BytesIO(data)).num_rows == 0


@pytest.mark.parametrize("limit", [1, 95, 97, 200, 288, 1000])
def test_limit_cuts_across_pieces(
    filled: StoreBench, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(exports, "PIECE_ROWS", 1)
    whole = filled.export(*FULL_DAY, form="csv").splitlines()
    cut = filled.export(*FULL_DAY, form="csv", limit=limit).splitlines()
    assert cut == whole[: limit + 1]


def test_meters_that_came_later_are_named(filled: StoreBench) -> None:
    from helpers.vault_meters import meters

    filled.export(*FULL_DAY)
    new = meters(1, first=9)[0]
    filled.loop.run(filled.vault.bring_in(new))
    filled.registry.add([filled.row(new)])
    filled.take([push(new)])
    table = pa.ipc.open_stream(filled.export(*FULL_DAY)).read_all()
    assert table["serial"].to_pylist()[-1] == serial(new)


def test_only_frames_of_the_period_are_joined(bench: StoreBench) -> None:
    for day in range(1, 9):
        bench.take([push(bench.meters[0], day=date(2026, 11, day))])
    wanted = exports.Wanted(FULL_DAY[0] - 86_400 * 20, FULL_DAY[0] - 86_400 * 19)
    bench.export(wanted.start, wanted.end, form="csv")  # brings the serials to the engine
    with bench.engine.query() as query:
        sql = exports._sql(wanted, bench.registry.index, counted=False)
        values = bench.exporter._values(wanted, 1, 1, 0)
        estimate = query.data(f"EXPLAIN ESTIMATE {sql}", "CSV", values).decode().splitlines()
    (read,) = [line.split(",") for line in estimate if '"frames"' in line]
    assert int(read[3]) <= 2
    for whose in ({}, {"meter_id": 1}):
        assert bench.export(wanted.start, wanted.end, form="csv", **whose).count(b"\n") == 97


@pytest.mark.parametrize(
    "wrong", [{"form": "xml"}, {"limit": -1}, {"start": 9, "end": 8}, {"end": 2**60}]
)
def test_wrong_request_is_refused(filled: StoreBench, wrong: dict[str, object]) -> None:
    asked = {"start": FULL_DAY[0], "end": FULL_DAY[1], **wrong}
    with pytest.raises(UsageError):
        filled.export(**asked)  # type: ignore[arg-type]
