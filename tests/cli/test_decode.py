import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from helpers.vectors import OURS
from zegel.cli.decode import app, decode
from zegel.cli.render_decode import render
from zegel.cosem.apdu import DataNotification
from zegel.cosem.decode import decode_capture
from zegel.cosem.types import Tag, Value

KAMSTRUP = str(OURS / "encrypted/kamstrup-omnipower-dk.hex")
KEY, AUTH = "00112233445566778899AABBCCDDEEFF", "FFEEDDCCBBAA99887766554433221100"


def test_json_is_one_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode(KAMSTRUP, key=KEY, auth_key=AUTH, json=True) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["security"]["verified"]) == ("zegel.decode/1", True)
    assert next(iter(document)) == "schema"
    assert (out.count("\n"), err) == (1, "")


def test_the_readable_view_names_values_and_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode(KAMSTRUP, key=KEY, auth_key=AUTH) == 0
    out = capsys.readouterr().out
    for word in (
        "tag verified",
        "1-1:1.8.0.255",
        "63074980",
        "Wh",
        "data-notification",
        "warning:",
    ):
        assert word in out


def test_without_a_key_the_header_is_shown_and_the_exit_is_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert decode(KAMSTRUP) == 0
    out = capsys.readouterr().out
    assert "4b414d4501349083" in out
    assert "not readable without the key" in out


def test_a_bad_tag_is_exit_1_and_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert decode(KAMSTRUP, key=KEY, auth_key=KEY, json=True) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("zegel: bad_tag: ")
    assert err.count("\n") == 1
    assert KEY not in err


def test_keys_may_stand_in_files_as_hex_or_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "auth").write_bytes(bytes.fromhex(AUTH))
    key, auth = tmp_path / "key", tmp_path / "auth"
    assert decode(KAMSTRUP, key_file=key, auth_key_file=auth, json=True) == 0
    assert json.loads(capsys.readouterr().out)["security"]["verified"] is True


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ({"key": "00"}, 2, "zegel: usage: --key; expected 16 or 32 bytes; found 1 bytes"),
        (
            {"key": "secret-but-no-hex"},
            2,
            "zegel: usage: --key; expected hex digits; found other text",
        ),
        (
            {"key": KEY, "key_file": Path("f")},
            2,
            "zegel: usage: --key; expected --key or --key-file; found both",
        ),
        ({"key_file": Path("/nowhere")}, 1, "zegel: not_found: --key-file; /nowhere"),
        (
            {"key": KEY * 2, "auth_key": AUTH},
            1,
            "zegel: security: encryption key; expected 16 bytes; found 32 bytes",
        ),
    ],
)
def test_a_wrong_key_option_is_named_and_its_text_not_repeated(
    options: dict[str, str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(KAMSTRUP, **options) == code  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert (out, err.startswith(line)) == ("", True)
    assert "secret" not in err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert app([f"--kee={KEY}"], result_action="return_value") == 2
    err = capsys.readouterr().err
    assert err.startswith("zegel: usage: option; ")
    assert KEY not in err


@pytest.mark.parametrize("path", ["/nowhere/frame.hex", "/"])
def test_a_file_that_cannot_be_read_is_one_line(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(path) == 1
    assert capsys.readouterr().err.startswith(f"zegel: not_found: capture; {path}; ")


def test_the_help_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = next(line for line in (decode.__doc__ or "").splitlines() if "Example:" in line)
    words = example.split("zegel decode ")[1].split()
    words[-1] = str(OURS / "encrypted/kaifa-ma309m-netznoe-doc.hex")
    assert app(words, result_action="return_value") == 0
    assert "233.7" in capsys.readouterr().out


def test_text_from_a_frame_is_no_markup() -> None:
    body = Value(Tag.VISIBLE_STRING, b"[bold red]a[/] :smile:")
    console = Console(record=True, force_terminal=True, width=100, file=open("/dev/null", "w"))  # noqa: PTH123,SIM115
    render(decode_capture(DataNotification(1, b"", body).encode()), console)
    console.file.close()
    assert "[bold red]a[/] :smile:" in console.export_text()


def test_the_command_reads_standard_input_and_starts_in_half_a_second() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "zegel.cli.decode", "--json", "-"],
        input=(OURS / "han-hdlc/aidon-norway-1phase.hex").read_bytes(),
        capture_output=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(done.stdout)["framing"]["kind"] == "hdlc"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
