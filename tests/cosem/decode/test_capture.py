import json
from typing import Any

import msgspec
import pytest

from helpers.vectors import OURS
from zegel.cosem import hdlc, mbus, wrapper
from zegel.cosem.apdu import DataNotification
from zegel.cosem.decode import decode_capture
from zegel.cosem.keys import Key
from zegel.cosem.security import SecurityHeader, seal_apdu
from zegel.cosem.types import ArrayType, BitString, CompactArray, StructureType, Tag, Value
from zegel.errors import BadTagError, FramingError, InputError, MalformedError, UnsupportedError

KEY, AUTH = Key(bytes(16), kind="encryption"), Key(bytes(range(16)), kind="authentication")
TITLE = b"ZGL\0\0\0\0\1"
CLOCK = bytes.fromhex("07ea060801122e02ff800000")


def push(*items: Value, date_time: bytes = b"", tagged: bool = False) -> bytes:
    body = Value(Tag.STRUCTURE, items)
    return DataNotification(0x40000007, date_time, body, tagged).encode()


def document(capture: bytes, **keys: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(decode_capture(capture, **keys)))
    return found


def obis(text: str) -> Value:
    return Value(Tag.OCTET_STRING, bytes.fromhex(text))


def u32(number: int) -> Value:
    return Value(Tag.UINT32, number)


ENERGY = obis("0100010800ff")


def test_a_wrapper_stream_names_its_ports() -> None:
    frame = wrapper.encode(wrapper.WrapperFrame(1, 102, push(u32(5))))
    found = document(frame)
    assert found["framing"]["kind"] == "wrapper"
    assert found["framing"]["frames"] == [
        {"source": 1, "destination": 102, "control": None, "apdu": push(u32(5)).hex()}
    ]
    assert (found["apdu"], found["invoke_id"]) == ("data-notification", 0x40000007)


def test_a_confirm_has_an_id_and_no_body() -> None:
    found = document(bytes.fromhex("100000002a00"))
    assert (found["apdu"], found["invoke_id"]) == ("data-notification-confirm", 42)
    assert found["body"] is None
    assert found["values"] == []


@pytest.mark.parametrize(
    ("capture", "error", "what"),
    [
        (b"", FramingError, "nothing"),
        (b" \n", FramingError, "nothing"),
        (b"\x00\x01\x00", FramingError, "wrapper frame"),
        (b"/KFM5", UnsupportedError, "P1 telegram"),
        (b"\xfe\xfe", UnsupportedError, "framing"),
        (b"\xc0\x01\xc1", UnsupportedError, "get-request"),
        (b"\xdd", UnsupportedError, "general-ciphering"),
        (bytes.fromhex("7e7e"), FramingError, "capture"),
        (bytes.fromhex("e0400001000001ff"), FramingError, "block transfer"),
        (bytes(1 << 22) + b"\0", FramingError, "capture"),
        (wrapper.encode(wrapper.WrapperFrame(1, 1, b"")), FramingError, "1 APDU"),
        (2 * wrapper.encode(wrapper.WrapperFrame(1, 1, b"\x0f")), UnsupportedError, "2 APDUs"),
    ],
)
def test_what_is_not_read_is_refused_by_name(
    capture: bytes, error: type[InputError], what: str
) -> None:
    with pytest.raises(error, match=what):
        decode_capture(capture)


def seal(control: int, plaintext: bytes) -> bytes:
    header = SecurityHeader(0xDB, TITLE, control, 9)
    return seal_apdu(plaintext, header, encryption_key=KEY, authentication_key=AUTH)


def test_an_authenticated_frame_shows_its_body_only_after_the_tag() -> None:
    sealed = seal(0x30, push(u32(5)))
    found = document(sealed, key=KEY, authentication_key=AUTH)
    assert found["security"]["verified"] is True
    assert found["values"][0]["raw"] == 5
    with pytest.raises(BadTagError):
        decode_capture(sealed, key=KEY, authentication_key=KEY)
    for keys in ({}, {"key": KEY}, {"authentication_key": AUTH}):
        header_only = document(sealed, **keys)
        assert header_only["body"] is header_only["plaintext"] is None
        assert header_only["apdu"] == "general-glo-ciphering"
        assert header_only["security"]["verified"] is None
        assert "only the header" in header_only["warnings"][0]


def test_encryption_alone_warns_that_a_wrong_key_cannot_be_noticed() -> None:
    found = document(seal(0x20, push(u32(5))), key=KEY)
    assert found["security"]["verified"] is None
    assert "cannot be noticed" in found["warnings"][0]
    with pytest.raises(InputError, match="the key may be wrong"):
        decode_capture(seal(0x20, push(u32(5))), key=AUTH)


def test_errors_inside_the_apdu_name_their_byte_there() -> None:
    frame = wrapper.encode(wrapper.WrapperFrame(1, 1, push(u32(5))[:-1]))
    with pytest.raises(MalformedError, match="byte 9 of the APDU"):
        decode_capture(frame)


def test_a_date_time_that_cannot_be_is_shown_raw_with_a_warning() -> None:
    found = document(push(u32(5), date_time=bytes.fromhex("07ea0d0801122e02ff800000")))
    assert found["time"] == {"raw": "07ea0d0801122e02ff800000", "local": None, "utc": None}
    assert "month" in found["warnings"][0]


def test_names_before_values_are_met_flat_and_in_structures() -> None:
    scaler = Value(Tag.STRUCTURE, (Value(Tag.INT8, -1), Value(Tag.ENUM, 35)))
    inner = Value(Tag.STRUCTURE, (obis("0100200700ff"), Value(Tag.UINT16, 2337), scaler))
    found = document(push(ENERGY, u32(7), inner, u32(8)))["values"]
    assert [(v["obis"], v["raw"], v["value"], v["unit"], v["scale"]) for v in found] == [
        ("1-0:1.8.0.255", 7, None, None, None),
        ("1-0:32.7.0.255", 2337, "233.7", "V", "wire"),
        (None, 8, None, None, None),
    ]


def test_a_name_without_a_value_is_itself_a_value() -> None:
    found = document(push(ENERGY, obis("0100020800ff"), u32(1)))["values"]
    assert [(v["obis"], v["raw"]) for v in found] == [(None, "0100010800ff"), ("1-0:2.8.0.255", 1)]
    assert [v["raw"] for v in document(push(u32(1), ENERGY))["values"]] == [1, "0100010800ff"]


def test_a_first_array_names_the_rest() -> None:
    def entry(kind: int, name: Value, attribute: int) -> Value:
        parts = (Value(Tag.UINT16, kind), name, Value(Tag.INT8, attribute), Value(Tag.UINT16, 0))
        return Value(Tag.STRUCTURE, parts)

    names = (
        entry(40, obis("0008190900ff"), 2),
        entry(3, ENERGY, 2),
        entry(7, obis("0100630100ff"), 2),
    )
    rows = Value(Tag.ARRAY, (Value(Tag.STRUCTURE, (u32(1), u32(2))),))
    found = document(push(Value(Tag.ARRAY, names), u32(7), rows))["values"]
    assert [(v["obis"], v["raw"]) for v in found] == [
        ("1-0:1.8.0.255", 7),
        ("1-0:99.1.0.255", 1),
        ("1-0:99.1.0.255", 2),
    ]


def test_a_convention_is_met_by_the_list_id_and_said_so() -> None:
    version = Value(Tag.VISIBLE_STRING, b"Kamstrup_V0001")
    found = document(push(version, obis("0101010800ff"), u32(6307498)))
    assert found["values"][1] == {
        "obis": "1-1:1.8.0.255",
        "type": "double-long-unsigned",
        "raw": 6307498,
        "value": "63074980",
        "unit": "Wh",
        "scale": "convention",
        "obis_source": "wire",
    }
    assert "scales by convention" in found["warnings"][0]
    other = document(push(Value(Tag.VISIBLE_STRING, b"Other"), obis("0101010800ff"), u32(1)))
    assert other["values"][1]["scale"] is None
    assert other["warnings"] == []


def test_a_list_of_one_power_is_kaifas_only_with_its_tagged_date_time() -> None:
    ours = document(push(u32(4117), date_time=CLOCK, tagged=True))["values"][0]
    assert (ours["obis"], ours["value"], ours["obis_source"]) == (
        "1-0:1.7.0.255",
        "4117",
        "convention",
    )
    assert document(push(u32(4117), date_time=CLOCK))["values"][0]["obis"] is None


def test_every_type_has_its_form_in_the_tree() -> None:
    description = StructureType((17, ArrayType(1, 18)))
    row = Value(Tag.STRUCTURE, (Value(17, 1), Value(Tag.ARRAY, (Value(18, 2),))))
    items = (
        Value(Tag.NULL, None),
        Value(Tag.BOOLEAN, True),
        Value(Tag.BIT_STRING, BitString(4, b"\xa0")),
        Value(Tag.UINT64, 2**64 - 1),
        Value(Tag.INT64, -5),
        Value(Tag.FLOAT32, 1.5),
        Value(Tag.FLOAT64, float("inf")),
        Value(Tag.FLOAT32, b"\x7f\xc0\0\0"),
        Value(Tag.OCTET_STRING, b"\0\xff"),
        Value(Tag.COMPACT_ARRAY, CompactArray(description, (row,))),
        Value(Tag.DONT_CARE, None),
    )
    found = document(push(*items))
    assert found["body"]["value"] == [
        {"type": "null-data", "value": None},
        {"type": "boolean", "value": True},
        {"type": "bit-string", "bits": 4, "value": "a0"},
        {"type": "long64-unsigned", "value": "18446744073709551615"},
        {"type": "long64", "value": "-5"},
        {"type": "float32", "value": 1.5},
        {"type": "float64", "value": "inf"},
        {"type": "float32", "value": "7fc00000"},
        {"type": "octet-string", "value": "00ff"},
        {
            "type": "compact-array",
            "description": {
                "type": "structure",
                "items": ["unsigned", {"type": "array", "length": 1, "item": "long-unsigned"}],
            },
            "value": [
                {
                    "type": "structure",
                    "value": [
                        {"type": "unsigned", "value": 1},
                        {"type": "array", "value": [{"type": "long-unsigned", "value": 2}]},
                    ],
                }
            ],
        },
        {"type": "dont-care", "value": None},
    ]
    assert [value["raw"] for value in found["values"]][-3:] == [1, 2, None]


def test_floats_are_scaled_to_exact_decimals() -> None:
    def scaled(number: Value) -> str | None:
        scaler = Value(Tag.STRUCTURE, (Value(Tag.INT8, -2), Value(Tag.ENUM, 30)))
        value: str | None = document(push(ENERGY, number, scaler))["values"][0]["value"]
        return value

    assert scaled(Value(Tag.FLOAT64, 12.5)) == "0.125"
    assert scaled(Value(Tag.FLOAT64, float("-inf"))) is None
    assert scaled(Value(Tag.BOOLEAN, True)) is None


def test_a_changed_byte_in_a_real_frame_is_named() -> None:
    raw = bytearray.fromhex((OURS / "encrypted/kamstrup-omnipower-dk.hex").read_text())
    raw[100] ^= 1
    with pytest.raises(FramingError, match="HDLC FCS; byte 488"):
        decode_capture(bytes(raw))


def test_a_whole_apdu_does_not_hide_what_is_cut_behind_it() -> None:
    part = hdlc.HdlcFrame(b"\x41", b"\x03", 0x13, push(u32(5)))
    segment = hdlc.HdlcFrame(b"\x41", b"\x03", 0x03, b"\x0f", segmented=True)
    with pytest.raises(FramingError, match="HDLC segments"):
        decode_capture(hdlc.encode(part) + hdlc.encode(segment))
    with pytest.raises(FramingError, match="HDLC frame"):
        decode_capture(hdlc.encode(part) + hdlc.encode(segment)[:-1])
    frame = mbus.encode(mbus.MbusFrame(0x53, 0xFF, 0x10, b"\x01\x67" + push(u32(5))))
    with pytest.raises(FramingError, match="M-Bus frame"):
        decode_capture(frame + frame[:-1])
    with pytest.raises(FramingError, match="M-Bus segments"):
        decode_capture(frame + mbus.encode(mbus.MbusFrame(0x53, 0xFF, 0x00, b"\x01\x67\x0f")))
