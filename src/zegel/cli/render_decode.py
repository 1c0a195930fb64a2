"""The readable view of `zegel decode`. Nothing from the frame is read as markup."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from zegel.cosem.decode import Document
from zegel.cosem.decode.document import NamedValue

__all__ = ["render"]


def render(document: Document, console: Console | None = None) -> None:
    """Print a document: facts, then values, then warnings."""
    console = console or Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    for name, fact in _facts(document):
        facts.add_row(Text(name, style="dim"), Text(fact))
    console.print(facts)
    if document.values:
        console.print(_values(document.values))
    elif document.body is None and document.plaintext is None:
        console.print(Text("body: not readable without the key", style="dim"))
    for warning in document.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _facts(document: Document) -> list[tuple[str, str]]:
    frames = len(document.framing.frames)
    facts = [("framing", document.framing.kind + (f", frames: {frames}" if frames else ""))]
    security = document.security
    if security is not None:
        verified = {True: "tag verified", False: "tag wrong", None: "not verified"}
        control = f"security control {security.security_control}, suite {security.suite}"
        facts += [
            ("protected by", f"{security.apdu}, {control}"),
            ("system title", security.system_title or "none on the wire"),
            ("invocation counter", str(security.invocation_counter)),
            ("authenticity", verified[security.verified]),
        ]
    facts.append(("APDU", document.apdu))
    if document.invoke_id is not None:
        facts.append(("invoke id and priority", f"{document.invoke_id:08x}"))
    if document.time is not None:
        local, utc = document.time.local or document.time.raw, document.time.utc
        facts.append(("time", f"{local} local, {utc or 'UTC not known'}"))
    return facts


def _values(values: tuple[NamedValue, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    table.add_column("OBIS", no_wrap=True)
    table.add_column("value", justify="right", overflow="fold")
    table.add_column("unit", no_wrap=True)
    table.add_column("type", no_wrap=True)
    conventions = False
    for item in values:
        by_convention = "convention" in (item.scale, item.obis_source)
        conventions |= by_convention
        name = (item.obis or "-") + ("*" if by_convention else "")
        value = item.value if item.value is not None else str(item.raw)
        shown = "-" if item.raw is None else value
        table.add_row(*map(Text, (name, shown, item.unit or "", item.type)))
    if conventions:
        table.caption = "* by the maker's convention, not on the wire"
        table.caption_justify = "left"
    return table
