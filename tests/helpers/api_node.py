"""A console's API on a real socket, with small zones behind it that answer from memory."""

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from zegel.calls import store, vault
from zegel.calls.base import Health, HealthReport
from zegel.console.api.app import build
from zegel.console.api.links import Links
from zegel.console.server import Server, bind
from zegel.console.token import Token
from zegel.errors import MalformedError, NotFoundError, StorageError
from zegel.node.link import LocalLink

TOKEN = "t" * 43
TITLES = [f"{0x4C475A0000000000 + n:016x}" for n in range(1, 10)]


def report(zone: str, **changes: Any) -> HealthReport:
    fields: dict[str, Any] = {
        "zone": zone,
        "ok": True,
        "reasons": [],
        "pid": 4242,
        "uid": 900_001,
        "isolation": "uid",
        "test": False,
        "build": "0.1.0",
        "started": 1_764_028_800.0,
        "modules": ["zegel", f"zegel.{zone}", f"zegel.{zone}.zone"],
        "counters": {"calls": 7},
    }
    return HealthReport(**{**fields, **changes})


@dataclass
class FakeStore:
    """The store's sentences over lists in memory."""

    meters: list[store.MeterRow] = field(default_factory=list)
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)  # meter_id, t, in, out
    quarantine: list[store.QuarantineEntry] = field(default_factory=list)
    break_after: int | None = None  # parts of a stream, then it fails
    asked: list[Any] = field(default_factory=list)

    def link(self) -> LocalLink:
        return LocalLink(
            {
                Health: self.health,
                store.ImportMeters: self.import_meters,
                store.ListMeters: self.list_meters,
                store.ShowMeter: self.show_meter,
                store.ReadReadings: self.read,
                store.ListQuarantine: self.list_quarantine,
                store.ShowQuarantine: self.show_quarantine,
                store.FrameFates: self.fates,
            },
            caller="console",
            callee="store",
        )

    async def health(self, _call: Health) -> HealthReport:
        return report("store")

    async def import_meters(self, call: store.ImportMeters) -> store.ImportReport:
        self.asked.append(call)
        refused = [
            store.Refusal(row, "system title; expected 16 hex digits")
            for row, meter in enumerate(call.meters)
            if len(meter.system_title) != 16
        ]
        return store.ImportReport(len(call.meters) - len(refused), 0, 0, refused)

    async def list_meters(self, call: store.ListMeters) -> store.MeterPage:
        self.asked.append(call)
        found = [
            meter
            for meter in self.meters
            if meter.meter_id > call.after
            and meter.serial.startswith(call.search)
            and call.segment in ("", meter.segment)
        ]
        page = found[: call.limit]
        follows = page[-1].meter_id if len(found) > len(page) else None
        return store.MeterPage(page, follows, len(self.meters))

    async def show_meter(self, call: store.ShowMeter) -> store.MeterRow:
        for meter in self.meters:
            if call.meter in (meter.serial, meter.system_title, str(meter.meter_id)):
                return meter
        raise NotFoundError("meter", where=call.meter)

    async def read(self, call: store.ReadReadings) -> AsyncIterator[store.Bytes]:
        self.asked.append(call)
        only = (await self.show_meter(store.ShowMeter(call.meter))).meter_id if call.meter else 0
        serials = {meter.meter_id: meter.serial for meter in self.meters}
        rows = [row for row in self.rows if call.start < row[1] <= call.end and only in (0, row[0])]
        rows = rows[: call.limit or None]
        table = pa.table(
            {
                "serial": [serials[row[0]] for row in rows],
                "t": pa.array([row[1] for row in rows], pa.timestamp("s", "UTC")),
                "import_wh": pa.array([row[2] for row in rows], pa.int64()),
                "export_wh": pa.array([row[3] for row in rows], pa.int64()),
                "status": pa.array([0 for _ in rows], pa.uint8()),
                "quality": pa.array([0 for _ in rows], pa.uint8()),
                "source": ["push" for _ in rows],
                "frame_id": pa.array([(1 << 40) + n for n, _ in enumerate(rows)], pa.uint64()),
            }
        )
        body = _written(table, call.format)
        for number, at in enumerate(range(0, len(body), 4096)):
            if number == self.break_after:
                raise StorageError("disk", where="part 3", found="Input/output error")
            yield store.Bytes(body[at : at + 4096])

    async def list_quarantine(self, call: store.ListQuarantine) -> store.QuarantinePage:
        found = [
            entry
            for entry in self.quarantine
            if entry.frame_id > call.after and call.reason in ("", entry.reason)
        ]
        page = found[: call.limit]
        follows = page[-1].frame_id if len(found) > len(page) else None
        counts = {"bad_tag": 1, "replay": 1}
        return store.QuarantinePage(page, follows, counts, 0)

    async def show_quarantine(self, call: store.ShowQuarantine) -> store.QuarantineEntry:
        for entry in self.quarantine:
            if entry.frame_id == call.frame_id:
                return entry
        raise NotFoundError("quarantined frame", where=str(call.frame_id))

    async def fates(self, _call: store.FrameFates) -> store.FatesReport:
        return store.FatesReport(
            received=12,
            stored=9,
            duplicate=1,
            quarantined=2,
            reasons={"bad_tag": 1, "replay": 1},
            rows_stored=864,
            rows_duplicate=0,
            rows_refused={},
            off_fast_path=3,
            position=(1 << 40) + 11,
            waiting=0,
        )


def _written(table: pa.Table, kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, sink)
    else:
        pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


@dataclass
class FakeVault:
    """The vault's sentences to a console."""

    shipments: list[bytes] = field(default_factory=list)
    silent: bool = False
    fault: Exception | None = None

    def link(self) -> LocalLink:
        return LocalLink(
            {
                Health: self.health,
                vault.ImportKey: self.import_key,
                vault.ImportShipment: self.import_shipment,
                vault.KeysStatus: self.status,
                vault.UseSummary: self.use,
            },
            caller="console",
            callee="vault",
        )

    async def health(self, _call: Health) -> HealthReport:
        if self.silent:
            await asyncio.Event().wait()
        return report("vault", isolation="namespace")

    async def import_key(self, _call: vault.ImportKey) -> vault.ImportKeyInfo:
        return vault.ImportKeyInfo(bytes(range(32)), "a suite", "0011223344556677")

    async def import_shipment(self, call: vault.ImportShipment) -> vault.ShipmentReceipt:
        if not call.sealed.startswith(b"ZSHIP1"):
            raise MalformedError("shipment file", at=0, expected="ZSHIP1")
        self.shipments.append(call.sealed)
        return vault.ShipmentReceipt("ab" * 32, 3, 1)

    async def status(self, _call: vault.KeysStatus) -> vault.KeysReport:
        if self.fault is not None:
            raise self.fault
        return vault.KeysReport(4, {"active": 3, "old": 1}, "file")

    async def use(self, _call: vault.UseSummary) -> vault.UseReport:
        return vault.UseReport(0, 0, 0, 0, "00" * 32, True)


class Log:
    """A log that remembers, as lines of text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _note(self, event: str, **fields: object) -> None:
        self.lines.append(f"{event} {fields}")

    error = warning = info = _note


@dataclass
class ApiNode:
    """A running API: its address and what stands behind it."""

    store: FakeStore = field(default_factory=FakeStore)
    vault: FakeVault = field(default_factory=FakeVault)
    edge_link: Any = None
    log: Log = field(default_factory=Log)
    url: str = ""
    console: dict[str, Any] = field(default_factory=dict)

    def reset(self) -> None:
        """Put everything back that a test may have changed; what serves goes on."""
        fresh = sample_node()
        vars(self.store).update(vars(fresh.store))
        vars(self.vault).update(vars(fresh.vault))
        self.log.lines.clear()
        self.console.clear()

    def links(self) -> Links:
        async def edge_health(_call: Health) -> HealthReport:
            return report("edge")

        edge = LocalLink({Health: edge_health}, caller="console", callee="edge")
        return Links(
            edge=self.edge_link or edge,
            vault=self.vault.link(),
            store=self.store.link(),
            own_health=lambda: report("console", **self.console),
            node="noord",
            time_zone=ZoneInfo("Europe/Amsterdam"),
        )


def sample_node() -> ApiNode:
    """A node with the few meters, readings and frames that the samples show."""
    node = ApiNode()
    node.store.meters = [
        store.MeterRow(
            serial=f"E000{n}",
            system_title=TITLES[n - 1],
            meter_id=n,
            ean="871687120012345671" if n == 1 else None,
            maker="LGZ",
            model="E360",
            firmware="1.2",
            segment="north" if n < 3 else "south",
            counter_floor=100,
        )
        for n in (1, 2, 3)
    ]
    start = 1_774_738_800  # 2026-03-29 00:00 in Amsterdam, a day of 92 quarters
    node.store.rows = [
        (meter, start + 900 * n, 1_000 * meter + 10 * n, 3 * n)
        for meter in (1, 3)
        for n in range(1, 93)
    ]
    node.store.quarantine = [
        store.QuarantineEntry(
            frame_id=(1 << 40) + 5,
            received=1_764_028_801.25,
            reason="bad_tag",
            what="authentication tag",
            peer="127.0.0.1:40000",
            source="push",
            size=4,
            sha256="cd" * 32,
            system_title=TITLES[0],
            invocation_counter=101,
            meter_id=1,
            body=b"\xdb\x08\x4c\x47",
        ),
        store.QuarantineEntry(
            frame_id=(1 << 40) + 9,
            received=1_764_028_900.0,
            reason="replay",
            what="invocation counter",
            peer="127.0.0.1:40001",
            source="push",
            size=2,
            sha256="ef" * 32,
        ),
    ]
    return node


@contextlib.contextmanager
def serving(node: ApiNode, *, host: str = "127.0.0.1") -> Iterator[ApiNode]:
    """Serve a node's API on a free port, in a thread of its own, until the block ends."""
    started, stopping = threading.Event(), threading.Event()

    async def live() -> None:
        app = build(node.links(), Token(TOKEN), host=host, log=node.log)
        server = Server(app, bind(host, 0), node.log)
        await server.start()
        node.url = f"http://127.0.0.1:{server.port}"
        started.set()
        await asyncio.to_thread(stopping.wait)
        await server.stop()

    def run() -> None:
        try:
            asyncio.run(live())
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert started.wait(20)
        assert node.url
        yield node
    finally:
        stopping.set()
        thread.join(20)
