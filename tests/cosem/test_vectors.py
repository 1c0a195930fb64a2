"""The decoder against captures of real meters."""

import json
import re

import msgspec
import pytest

from helpers.vectors import OURS, Vector, differences, vectors
from zegel.cosem.decode import decode_capture
from zegel.errors import FramingError, InputError, ZegelError

ALL = vectors()
SOUND = [vector for vector in ALL if vector.kind != "malformed"]
MALFORMED = [vector for vector in ALL if vector.kind == "malformed"]


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_a_real_frame_decodes_to_what_its_expected_file_says(vector: Vector) -> None:
    document = decode_capture(vector.capture, **vector.keys())
    assert differences(vector, json.loads(msgspec.json.encode(document))) == []


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_binary_upper_case_and_spaced_hex_give_the_same_document(vector: Vector) -> None:
    document = decode_capture(vector.capture, **vector.keys())
    text = vector.capture.decode("ascii")
    raw = bytes.fromhex(text)
    for other in (
        raw,
        text.upper().encode(),
        raw.hex(" ").encode(),
        b"\r\n" + raw.hex("\n", 9).encode(),
    ):
        assert decode_capture(other, **vector.keys()) == document


@pytest.mark.parametrize("vector", MALFORMED, ids=str)
def test_a_broken_frame_is_refused_or_warned_of_never_silent(vector: Vector) -> None:
    try:
        document = decode_capture(vector.capture, **vector.keys())
    except InputError as error:
        assert error.expected is not None  # noqa: PT017
        return
    assert document.warnings


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_every_truncation_is_refused_by_name_and_place(vector: Vector) -> None:
    raw = bytes.fromhex(vector.capture.decode("ascii"))
    for length in range(len(raw)):
        with pytest.raises(ZegelError) as caught:
            decode_capture(raw[:length], **vector.keys())
        error = caught.value
        assert None not in (error.where, error.expected, error.found), (length, str(error))


@pytest.mark.parametrize("vector", MALFORMED, ids=str)
def test_truncations_of_broken_frames_raise_our_errors_only(vector: Vector) -> None:
    text = vector.capture.decode("latin-1")
    raw = bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F\s]+", text) else vector.capture
    for length in range(len(raw)):
        with pytest.raises(ZegelError):
            decode_capture(raw[:length], **vector.keys())


def test_half_a_byte_of_hex_is_refused() -> None:
    with pytest.raises(FramingError, match="half a byte"):
        decode_capture(b"7ea")


def test_each_copied_vector_has_a_row_of_origin_and_licence() -> None:
    rows = (OURS / "SOURCES.md").read_text()
    for answer in OURS.rglob("*.expected.json"):
        name = f"{answer.parent.name}/{answer.name.removesuffix('.expected.json')}"
        assert f"| {name} |" in rows, name


@pytest.mark.parametrize("vector", SOUND, ids=str)
def test_every_truncation_of_the_bare_apdu_is_refused_by_name_and_place(vector: Vector) -> None:
    plaintext = decode_capture(vector.capture, **vector.keys()).plaintext
    apdu = bytes.fromhex(plaintext or "")
    for length in range(1, len(apdu)):
        with pytest.raises(InputError) as caught:
            decode_capture(apdu[:length])
        error = caught.value
        assert None not in (error.where, error.expected, error.found), (length, str(error))
