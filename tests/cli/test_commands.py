"""The commands that speak to the API: what they ask, print and exit with."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

import zegel.cli
from helpers.api_node import TITLES, TOKEN

DAY = ("--from", "2026-03-29", "--to", "2026-03-30")


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (["zones"], "zegel.zones/1"),
        (["meters", "list"], "zegel.meters/1"),
        (["meters", "show", "E0001"], "zegel.meter/1"),
        (["quarantine", "list"], "zegel.quarantine/1"),
        (["quarantine", "show", (1 << 40) + 5], "zegel.quarantined_frame/1"),
        (["keys", "status"], "zegel.keys/1"),
        (["keys", "import-key"], "zegel.import_key/1"),
    ],
)
def test_json_is_one_document_with_its_schema(
    run: Any, node: Any, words: list[str], schema: str
) -> None:
    ran = run(*words, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["schema"] == schema


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["zones"], ["vault", "namespace", "900001", "2025-11-25T00:00:00Z"]),
        (["meters", "list"], ["E0001", TITLES[0], "north"]),
        (["meters", "list", "--segment", "south"], ["E0003"]),
        (["meters", "show", "E0001"], ["871687120012345671"]),
        (["quarantine", "list"], ["bad_tag", "authentication tag", "sampled away"]),
        (["quarantine", "show", (1 << 40) + 5], ["db084c47"]),
        (["keys", "status"], ["active", "3", "file"]),
        (["keys", "import-key"], ["0011223344556677"]),
    ],
)
def test_people_see_what_matters(run: Any, node: Any, words: list[str], shown: list[str]) -> None:
    ran = run(*words)
    assert (ran.code, ran.err) == (0, "")
    for text in shown:
        assert text in ran.out


EXAMPLES = [
    (found[1], app_name)
    for app_name in ("zones", "meters", "readings", "quarantine", "keys", "serve")
    for found in re.finditer(
        r"Example: zegel (.*)",
        (Path(zegel.cli.__file__).parent / f"{app_name}.py").read_text(encoding="utf-8"),
    )
]


@pytest.mark.parametrize("example", [line for line, name in EXAMPLES if name != "serve"])
def test_the_example_in_the_help_works(
    run: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _csv(tmp_path / "meters.csv", "serial,system_title", f"N1,{TITLES[4]}")
    (tmp_path / "keys.zship").write_bytes(b"ZSHIP1")
    ran = run(*example.split())
    assert (ran.code, ran.err) == (0, "")


def test_every_command_of_the_api_has_an_example() -> None:
    assert {name for _, name in EXAMPLES} == {
        "zones",
        "meters",
        "readings",
        "quarantine",
        "keys",
        "serve",
    }


def test_what_comes_from_outside_cannot_steer_a_terminal(run: Any, node: Any) -> None:
    import msgspec

    bad = msgspec.structs.replace(node.store.quarantine[0], what="\x1b[2J[red]x\u202e\n\x07")
    node.store.quarantine = [bad]
    for words in (["list"], ["show", bad.frame_id]):
        out = run("quarantine", *words).out
        assert not any(char in out for char in "\x1b\u202e\x07")
        assert "[red]" in out


def test_a_wrong_token_is_refused(run: Any, node: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("w" * 43, encoding="ascii")
    ran = run("meters", "list")
    assert ran.code == 1
    assert ran.err.startswith("zegel: refused: token;")
    assert "w" * 43 not in ran.err


def test_a_missing_token_file_is_named(
    run: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZEGEL_TOKEN_FILE")
    monkeypatch.setenv("ZEGEL_NODE_DATA_DIR", str(tmp_path / "data"))
    ran = run("meters", "list")
    assert ran.code == 1
    assert f"{tmp_path}/data/console/token" in ran.err


def test_the_token_is_found_in_the_data_directory(
    run: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data" / "console" / "token"
    path.parent.mkdir(parents=True)
    path.write_text(TOKEN + "\n", encoding="ascii")
    monkeypatch.delenv("ZEGEL_TOKEN_FILE")
    monkeypatch.setenv("ZEGEL_NODE_DATA_DIR", str(tmp_path / "data"))
    assert run("meters", "list").code == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["meters", "show", "nobody"], 1, "zegel: not_found: meter; nobody"),
        (["meters", "show", "../zones"], 1, "zegel: not_found: "),
        (["meters", "list", "--limit", "0"], 2, "zegel: usage: query parameter; limit"),
        (["quarantine", "show", "x"], 2, "zegel: usage: frame id"),
        (["readings", "export", "--from", "now", "--to", "2026-03-30"], 2, "zegel: usage: time"),
        (["readings", "export", *DAY, "--meter", "nobody"], 1, "zegel: not_found: meter; nobody"),
    ],
)
def test_what_the_node_refuses_is_told_as_it_said(
    run: Any, node: Any, words: list[str], code: int, told: str
) -> None:
    ran = run(*words)
    assert ran.code == code
    assert ran.err.startswith(told)
    assert ran.err.count("\n") == 1


def test_a_zone_out_of_reach_is_exit_4(run: Any, node: Any) -> None:
    from zegel.errors import UnreachableError

    node.vault.fault = UnreachableError("vault does not answer")
    ran = run("keys", "status")
    assert (ran.code, ran.err) == (4, "zegel: unreachable: vault does not answer\n")


def _csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_meters_come_from_csv(run: Any, node: Any, tmp_path: Path) -> None:
    head = "serial,system_title,ean,counter_floor,maker"
    path = _csv(tmp_path / "m.csv", head, f"N1,{TITLES[4]},,42,LGZ", f"N2,{TITLES[5]},,,")
    ran = run("meters", "import", path, "--json")
    assert (ran.code, json.loads(ran.out)["added"]) == (0, 2)
    first, second = node.store.asked[-1].meters
    assert (first.serial, first.counter_floor, first.ean, first.maker) == ("N1", 42, None, "LGZ")
    assert second.counter_floor == 0


def test_meters_come_from_json_with_a_byte_order_mark(run: Any, node: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("\ufeff" + json.dumps([{"serial": "N1", "system_title": TITLES[4]}]), "utf-8")
    assert run("meters", "import", path).code == 0
    assert node.store.asked[-1].meters[0].serial == "N1"


def test_refused_rows_keep_their_number_over_requests(
    run: Any, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zegel.cli.meters._AT_ONCE", 2)
    rows = [f"N{n},{TITLES[4] if n != 3 else 'short'}" for n in range(5)]
    ran = run("meters", "import", _csv(tmp_path / "m.csv", "serial,system_title", *rows))
    assert ran.code == 1
    assert ran.err == "zegel: row 3 (from 0) refused: system title; expected 16 hex digits\n"
    assert "added      4" in ran.out


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["serial,system_title", "N1"], "line 2; expected as many cells as the header"),
        (["serial,system_title,counter_floor", "N1,x,one"], "line 2; expected a whole number"),
        (["serial,system_title,colour", "N1,x,red"], "unknown field `colour`"),
        (["[{]"], "expected JSON"),
        (['serial,"system'], "expected CSV"),
    ],
)
def test_a_wrong_file_is_named(
    run: Any, node: Any, tmp_path: Path, rows: list[str], told: str
) -> None:
    ran = run("meters", "import", _csv(tmp_path / "m", *rows))
    assert ran.code == 2
    assert told in ran.err
    assert ran.err.count("\n") == 1


def test_a_shipment_is_carried_unread(run: Any, node: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.zship"
    path.write_bytes(b"ZSHIP1\x00\xff\n")
    ran = run("keys", "import", path)
    assert ran.code == 0
    assert "imported   3" in ran.out
    assert node.vault.shipments == [b"ZSHIP1\x00\xff\n"]


def test_readings_go_to_stdout_as_csv(run: Any, node: Any) -> None:
    ran = run("readings", "export", *DAY)
    assert (ran.code, ran.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [int(row["import_wh"]) for row in rows] == [row[2] for row in node.store.rows]


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("parquet", pyarrow.parquet.read_table),
        ("arrow", lambda path: pa.ipc.open_stream(path.read_bytes()).read_all()),
    ],
)
def test_readings_go_to_a_file(run: Any, node: Any, tmp_path: Path, kind: str, read: Any) -> None:
    path = tmp_path / "out"
    ran = run("readings", "export", *DAY, "--meter", "E0003", "--format", kind, "--output", path)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert read(path).num_rows == 92


def test_a_broken_stream_leaves_the_old_file(run: Any, node: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old", encoding="utf-8")
    node.store.break_after = 1
    ran = run("readings", "export", *DAY, "--output", path)
    assert ran.code == 4
    assert ran.err.startswith("zegel: unreachable: node;")
    assert path.read_text(encoding="utf-8") == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv", "token"]


def test_binary_does_not_go_to_a_terminal(
    run: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    ran = run("readings", "export", *DAY, "--format", "parquet")
    assert (ran.code, ran.out) == (2, "")
