"""`docs/reference/samples/decode.json` is what the decoder prints, key by key."""

import json
from pathlib import Path
from typing import Any

import msgspec

from helpers.vectors import OURS, vectors
from zegel.cosem.decode import Document, decode_capture
from zegel.cosem.keys import Key

SAMPLE = Path(__file__).parents[2] / "docs/reference/samples/decode.json"
PAGE = Path(__file__).parents[2] / "docs/reference/decode.md"
KEYS = {
    "key": Key.from_hex("00112233445566778899AABBCCDDEEFF", kind="encryption"),
    "authentication_key": Key.from_hex("FFEEDDCCBBAA99887766554433221100", kind="authentication"),
}


def test_the_sample_is_what_the_decoder_prints_today() -> None:
    capture = (OURS / "encrypted/kamstrup-omnipower-dk.hex").read_bytes()
    document = json.loads(msgspec.json.encode(decode_capture(capture, **KEYS)))
    assert json.loads(SAMPLE.read_text()) == document


def test_every_document_reads_back_as_the_schema() -> None:
    for vector in vectors():
        if vector.kind != "malformed":
            document = decode_capture(vector.capture, **vector.keys())
            read = msgspec.json.decode(msgspec.json.encode(document), type=Document)
            assert msgspec.json.encode(read) == msgspec.json.encode(document)


def test_every_key_of_the_contract_is_there_and_described() -> None:
    sample: dict[str, Any] = json.loads(SAMPLE.read_text())
    required = {
        "": "schema framing security apdu plaintext time body values warnings",
        "security": "apdu system_title security_control suite authenticated encrypted "
        "invocation_counter verified",
        "time": "raw local utc",
    }
    for part, names in required.items():
        assert set(names.split()) <= set(sample[part] if part else sample), part
    assert set(sample["framing"]["frames"][0]) >= {"source", "destination", "control", "apdu"}
    assert set(sample["values"][0]) >= {"obis", "type", "raw", "value", "unit", "scale"}
    page = PAGE.read_text()
    described = [*sample, *sample["security"], *sample["time"], *sample["values"][0]]
    assert [name for name in described if f"`{name}`" not in page] == []
