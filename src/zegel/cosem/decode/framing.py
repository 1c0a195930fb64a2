"""Which framing is this, and which APDU does it carry? Guessing is for tools only."""

from typing import NamedTuple

from zegel.cosem import hdlc, mbus, wrapper
from zegel.cosem.apdu import apdu_name
from zegel.cosem.apdu.block_transfer import BlockAssembler, GeneralBlock
from zegel.cosem.decode.document import Frame, Framing
from zegel.errors import FramingError, MalformedError, UnsupportedError

__all__ = ["Unframed", "read_bytes", "unframe"]

HEX_DIGITS = b"0123456789abcdefABCDEF"
BLANKS = b" \t\r\n\f\v"
MAX_CAPTURE = 1 << 22
GENERAL_BLOCK = 0xE0


class Unframed(NamedTuple):
    """The framing of a capture, its one APDU, and what was odd."""

    framing: Framing
    apdu: bytes
    warnings: list[str]


def read_bytes(capture: bytes) -> bytes:
    """Return the bytes of a capture that is binary or hex text (any case, blanks anywhere).

    Raises:
        FramingError: nothing, over 4 MiB, or an odd number of hex digits.
    """
    if len(capture) > MAX_CAPTURE:
        found = f"{len(capture)} bytes"
        raise FramingError("capture", expected=f"<= {MAX_CAPTURE} bytes", found=found)
    digits = capture.translate(None, BLANKS)
    if not digits:
        raise FramingError("capture", at=0, expected="a frame, hex or binary", found="nothing")
    if digits.translate(None, HEX_DIGITS):
        return capture
    if len(digits) % 2:
        where = f"hex digit {len(digits)}"
        raise FramingError("hex text", where=where, expected="pairs of digits", found="half a byte")
    return bytes.fromhex(digits.decode("ascii"))


def unframe(raw: bytes) -> Unframed:
    """Recognise the framing, take it off and join segments and blocks to one APDU.

    Raises:
        FramingError: a frame that is cut or does not check.
        MalformedError: blocks that do not join.
        UnsupportedError: P1, M-Bus records, more than one APDU, or nothing known.
    """
    if raw[0] == hdlc.FLAG:
        framing, apdus, warnings = _hdlc(raw)
    elif raw[0] == mbus.START:
        framing, apdus, warnings = _mbus(raw)
    elif raw[:2] == b"\x00\x01":
        framing, apdus, warnings = _wrapper(raw)
    elif raw[0] == ord("/"):
        raise UnsupportedError("P1 telegram", at=0, expected="a DLMS frame", found="/")
    elif apdu_name(raw[0]) is not None:
        framing, apdus, warnings = Framing(kind="none"), [raw], []
    else:
        expected = "7e (HDLC), 68 (M-Bus), 0001 (wrapper) or an APDU tag"
        raise UnsupportedError("framing", at=0, expected=expected, found=raw[:2].hex())
    return Unframed(framing, _one_apdu(apdus), warnings)


def _hdlc(raw: bytes) -> tuple[Framing, list[bytes], list[str]]:
    reader, segments = hdlc.HdlcReader(), hdlc.SegmentAssembler()
    reader.receive(raw)
    frames, apdus = [], []
    for frame in iter(reader.next_frame, None):
        llc = frame.information.startswith(hdlc.LLC)
        frames.append(
            Frame(
                source=frame.source.hex(),
                destination=frame.destination.hex(),
                control=f"{frame.control:02x}",
                apdu=frame.information[3 if llc else 0 :].hex(),
            )
        )
        apdu = segments.receive(frame)
        if apdu:
            apdus.append(apdu)
    reader.end()
    _no_rest("HDLC segments", open_=segments.open)
    return Framing(kind="hdlc", frames=tuple(frames)), apdus, []


def _mbus(raw: bytes) -> tuple[Framing, list[bytes], list[str]]:
    reader, segments = mbus.MbusReader(), mbus.SegmentAssembler()
    reader.receive(raw)
    frames, apdus, warnings = [], [], []
    for frame in iter(reader.next_frame, None):
        apdu = segments.receive(frame)
        if len(frame.data) + 3 >= mbus.OVERFLOW:
            found = len(frame.data) + 3
            warnings.append(f"M-Bus length byte has overflowed: the frame holds {found} bytes")
        frames.append(
            Frame(
                source=frame.data[0],
                destination=frame.data[1],
                control=f"{frame.control:02x}",
                apdu=frame.data[2:].hex(),
            )
        )
        if apdu:
            apdus.append(apdu)
    reader.end()
    _no_rest("M-Bus segments", open_=segments.open)
    return Framing(kind="mbus", frames=tuple(frames)), apdus, warnings


def _wrapper(raw: bytes) -> tuple[Framing, list[bytes], list[str]]:
    reader = wrapper.WrapperReader()
    reader.receive(raw)
    found = list(iter(reader.next_frame, None))
    reader.end()
    frames = tuple(
        Frame(source=frame.source, destination=frame.destination, apdu=frame.apdu.hex())
        for frame in found
    )
    return Framing(kind="wrapper", frames=frames), [frame.apdu for frame in found], []


def _no_rest(name: str, *, open_: bool) -> None:
    if open_:
        raise FramingError(name, where="the end", expected="the last one", found="end of data")


def _one_apdu(apdus: list[bytes]) -> bytes:
    """Join general blocks; what is left must be one APDU."""
    whole, blocks = [], BlockAssembler()
    for apdu in apdus:
        if apdu[:1] == bytes((GENERAL_BLOCK,)):
            joined = blocks.receive(GeneralBlock.decode(apdu))
            if joined is not None:
                whole.append(joined)
        elif blocks.open:
            raise MalformedError("block transfer", expected="a block", found=f"{apdu[0]:02x}")
        else:
            whole.append(apdu)
    _no_rest("block transfer", open_=blocks.open)
    if len(whole) > 1:
        raise UnsupportedError("dialogue", expected="1 APDU", found=f"{len(whole)} APDUs")
    if not whole or not whole[0]:
        raise FramingError("capture", where="its frames", expected="1 APDU", found="none")
    return whole[0]
