"""`zegel decode`: any frame, hex or binary, to a readable view or one JSON document."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from zegel.cosem.decode import decode_capture
from zegel.cosem.keys import Key
from zegel.errors import NotFoundError, UsageError, ZegelError

__all__ = ["app", "decode"]

app = App(name="decode", help="Decode any frame, hex or binary.")
MAX_INPUT = (1 << 22) + 1  # the decoder refuses what is longer
KEY_BYTES = (16, 32)


@app.default
def decode(
    file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,  # for `-`
    /,
    *,
    key: str | None = None,
    key_file: Path | None = None,
    auth_key: str | None = None,
    auth_key_file: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Decode any frame, hex or binary, from FILE or standard input (none, or -).

    Example: zegel decode --key 36C66639E48A8CA4D6BC8B282A793BBB frame.hex

    Args:
        file: Capture of one APDU: HDLC, M-Bus, TCP wrapper or bare.
        key: Encryption key (GUEK), 32 or 64 hex digits. Other users can see a command line.
        key_file: File with that key, hex or 16 or 32 bytes.
        auth_key: Authentication key (GAK), hex.
        auth_key_file: File with that key.
        json: Print one JSON document (zegel.decode/1).
    """
    try:
        document = decode_capture(
            _read(file),
            key=_key("--key", "encryption", key, key_file),
            authentication_key=_key("--auth-key", "authentication", auth_key, auth_key_file),
        )
    except ZegelError as error:
        print(error.line(), file=sys.stderr)
        return error.exit_code
    if json:
        import msgspec

        sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    else:
        from zegel.cli.render_decode import render

        render(document)
    return 0


def _read(file: str | None) -> bytes:
    if file is None or file == "-":
        return sys.stdin.buffer.read(MAX_INPUT)
    if file.startswith("-"):
        raise UsageError("option", expected="one that --help lists", found=file.partition("=")[0])
    return _contents("capture", Path(file))


def _contents(what: str, path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            return source.read(MAX_INPUT)
    except OSError as error:
        expected = "a readable file"
        raise NotFoundError(
            what, where=str(path), expected=expected, found=error.strerror
        ) from None


def _key(option: str, kind: str, text: str | None, path: Path | None) -> Key | None:
    """Read a key from its option or file, hex or (file only) bytes; never repeat it."""
    if text is not None and path is not None:
        raise UsageError(option, expected=f"{option} or {option}-file", found="both")
    raw = None
    if path is not None:
        raw = _contents(f"{option}-file", path)
        if len(raw) not in KEY_BYTES:
            text, raw = raw.decode("ascii", "replace"), None
    if text is not None:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raise UsageError(option, expected="hex digits", found="other text") from None
    if raw is None:
        return None
    if len(raw) not in KEY_BYTES:
        raise UsageError(option, expected="16 or 32 bytes", found=f"{len(raw)} bytes")
    return Key(raw, kind=kind)


if __name__ == "__main__":
    sys.exit(app())
