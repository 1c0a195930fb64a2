"""The document that `zegel decode --json` prints: schema `zegel.decode/1`.

Keys are only added within a number. Bytes are lower-case hex; COSEM 64-bit numbers and exact
decimals are strings.
"""

from typing import Any, Literal

import msgspec

__all__ = ["Document", "Frame", "Framing", "NamedValue", "Security", "Time"]

Known = Literal["wire", "convention"]


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One transport frame; addresses as hex (HDLC) or numbers (wPorts, M-Bus SAPs)."""

    source: str | int | None = None
    destination: str | int | None = None
    control: str | None = None
    apdu: str


class Framing(msgspec.Struct, frozen=True, kw_only=True):
    """The transport: `frames` is empty for a bare APDU."""

    kind: Literal["hdlc", "wrapper", "mbus", "p1", "none"]
    frames: tuple[Frame, ...] = ()


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a protected APDU; `verified` is null where no tag was checked."""

    apdu: str
    system_title: str | None
    security_control: str
    suite: int
    authenticated: bool
    encrypted: bool
    invocation_counter: int
    verified: bool | None = None


class Time(msgspec.Struct, frozen=True, kw_only=True):
    """The date-time of a notification; `utc` is null without a deviation or with wildcards."""

    raw: str
    local: str | None = None
    utc: str | None = None


class NamedValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value with its name, and where name and scale come from."""

    obis: str | None
    type: str
    raw: bool | int | float | str | None
    value: str | None = None
    unit: str | None = None
    scale: Known | None = None
    obis_source: Known | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded capture."""

    schema: Literal["zegel.decode/1"] = "zegel.decode/1"
    framing: Framing
    security: Security | None = None
    apdu: str
    invoke_id: int | None = None
    plaintext: str | None = None
    time: Time | None = None
    body: dict[str, Any] | None = None
    values: tuple[NamedValue, ...] = ()
    warnings: tuple[str, ...] = ()
