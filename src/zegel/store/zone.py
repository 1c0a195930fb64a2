"""The store's main: opens what it owns, answers calls, and runs the pipeline in one thread."""

import asyncio
import threading
from collections.abc import AsyncIterator

from zegel.calls.base import Call
from zegel.calls.store import (
    Bytes,
    FatesReport,
    FrameFates,
    ImportMeters,
    ImportReport,
    ListMeters,
    ListQuarantine,
    MeterPage,
    MeterRow,
    QuarantineEntry,
    QuarantinePage,
    ReadReadings,
    ShowMeter,
    ShowQuarantine,
)
from zegel.calls.vault import DiskKey, UseReport, UseSummary
from zegel.cosem.batch import BatchDecoder
from zegel.cosem.layouts import LayoutCache
from zegel.errors import UnreachableError, ZegelError
from zegel.node.health import HealthState
from zegel.node.link import Blocking, Link
from zegel.node.serving import Handler
from zegel.node.zone import ZoneContext
from zegel.store.days import LocalDays
from zegel.store.engine import Engine
from zegel.store.exports import Exporter, Wanted
from zegel.store.judge import Judge
from zegel.store.ledger import Ledger
from zegel.store.pipeline import Parts, Pipeline
from zegel.store.quarantine import Quarantine
from zegel.store.queries import Answers, opened_frames
from zegel.store.readings import Highs
from zegel.store.registry import Registry
from zegel.store.window import Windows

__all__ = ["main"]

_CHECK_USE_S = 3600.0
_KEY_RETRY_S = 0.2


async def main(ctx: ZoneContext) -> None:
    """Run the store until told to stop.

    Raises:
        StorageError: the disk key is not the one of this data, or something does not open.
    """
    vault = ctx.link("vault")
    key = await _disk_key(ctx, vault)
    if key is None:
        return
    loop = asyncio.get_running_loop()
    store = await asyncio.to_thread(
        Store, ctx, key, Blocking(vault, loop), Blocking(ctx.link("edge"), loop)
    )
    del key
    await ctx.serve(store.handlers())
    worker = threading.Thread(
        target=_run, args=(store.pipeline, ctx.health), name="pipeline", daemon=True
    )
    worker.start()
    ctx.ready()
    checking = asyncio.create_task(_check_use(ctx, vault, store))
    try:
        await ctx.stopping.wait()
    finally:
        checking.cancel()
        store.pipeline.stop()
        await asyncio.to_thread(worker.join, 4.0)
        if not worker.is_alive():
            store.close()


class Store:
    """Everything the zone holds open."""

    def __init__(self, ctx: ZoneContext, key: bytes, vault: Blocking, edge: Blocking) -> None:
        settings = ctx.config.store
        self.days = LocalDays(ctx.config.node.time_zone)
        self.engine = Engine(ctx.data / "engine", key, max_memory=settings.max_memory)
        self.registry = Registry(ctx.config.registry.url or Registry.default_url(ctx.data))
        self.ledger = Ledger(ctx.data / "ledger.db")
        self.quarantine = Quarantine(
            ctx.data / "quarantine.db",
            key,
            per_source=settings.quarantine_per_source,
            total_bytes=settings.quarantine_total_bytes,
        )
        decoder = BatchDecoder(
            zone=ctx.config.node.time_zone,
            cache=LayoutCache(settings.layouts, settings.layout_compile_after),
        )
        judge = Judge(decoder=decoder, windows=Windows(), highs=Highs(), days=self.days)
        self.pipeline = Pipeline(
            Parts(
                engine=self.engine,
                registry=self.registry,
                ledger=self.ledger,
                quarantine=self.quarantine,
                judge=judge,
                vault=vault,
                edge=edge,
                spool=ctx.spool_dir,
                damaged=ctx.data / "damaged",
                health=ctx.health,
                log=ctx.log,
            )
        )
        self.answers = Answers(self.engine, self.quarantine, self._progress)
        self.exporter = Exporter(self.engine, self.days)

    def handlers(self) -> dict[type[Call], Handler]:
        """Return what answers each call."""
        return {
            ImportMeters: self._import,
            ListMeters: self._list,
            ShowMeter: self._show,
            ReadReadings: self._read,
            ListQuarantine: self._quarantined,
            ShowQuarantine: self._quarantined_one,
            FrameFates: self._fates,
        }

    def close(self) -> None:
        """Close everything; the pipeline has ended."""
        self.engine.close()
        self.registry.close()
        self.ledger.close()
        self.quarantine.close()

    def _progress(self) -> tuple[int, int]:
        return self.pipeline.position, self.pipeline.waiting

    async def _import(self, call: ImportMeters) -> ImportReport:
        return await asyncio.to_thread(self.registry.add, call.meters)

    async def _list(self, call: ListMeters) -> MeterPage:
        return await asyncio.to_thread(
            lambda: self.registry.page(
                after=call.after, limit=call.limit, search=call.search, segment=call.segment
            )
        )

    async def _show(self, call: ShowMeter) -> MeterRow:
        return await asyncio.to_thread(self.registry.show, call.meter)

    async def _quarantined(self, call: ListQuarantine) -> QuarantinePage:
        return await asyncio.to_thread(
            lambda: self.answers.quarantined(after=call.after, limit=call.limit, reason=call.reason)
        )

    async def _quarantined_one(self, call: ShowQuarantine) -> QuarantineEntry:
        return await asyncio.to_thread(self.answers.quarantined_one, call.frame_id)

    async def _fates(self, _call: FrameFates) -> FatesReport:
        return await asyncio.to_thread(self.answers.fates)

    async def _read(self, call: ReadReadings) -> AsyncIterator[Bytes]:
        meter_id = self.registry.find(call.meter) if call.meter else 0
        wanted = Wanted(call.start, call.end, meter_id, call.format, call.limit)
        pieces = self.exporter.pieces(wanted, self.registry.index)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield Bytes(piece)
        finally:
            await asyncio.to_thread(pieces.close)  # type: ignore[attr-defined]


def _run(pipeline: Pipeline, health: HealthState) -> None:
    """Run the pipeline; an end that nobody asked for is said in health."""
    try:
        pipeline.run()
    finally:
        if not pipeline.stopping:
            health.set("pipeline_thread", "the pipeline has ended: nothing leaves the spool")


async def _disk_key(ctx: ZoneContext, vault: Link) -> bytes | None:
    """Ask the vault for the disk key until it answers; None if asked to stop before."""
    while not ctx.stopping.is_set():
        try:
            secret = await vault.call(DiskKey())
        except UnreachableError as error:
            ctx.health.set("vault", f"vault does not answer: {error}")
            await asyncio.sleep(_KEY_RETRY_S)
        else:
            ctx.health.set("vault", None)
            key: bytes = secret.key
            return key
    return None


async def _check_use(ctx: ZoneContext, vault: Link, store: Store) -> None:
    """Rule V7, hourly: what the vault opened is what stands in `frames`."""
    while True:
        await asyncio.sleep(_CHECK_USE_S)
        try:
            await check_use(ctx, vault, store)
        except Exception as error:  # noqa: BLE001 - told in health, checked again
            text = str(error) if isinstance(error, ZegelError) else repr(error)
            ctx.health.set("use_check", f"use log not checked: {text}")
            ctx.log.warning("use log not checked", error=text)
        else:
            ctx.health.set("use_check", None)


async def check_use(ctx: ZoneContext, vault: Link, store: Store) -> None:
    """Compare the vault's use log with our own count, up to the committed position."""
    position = store.pipeline.position
    if not position:
        return
    report: UseReport = await vault.call(UseSummary(last=position), timeout_s=60.0)
    own = await asyncio.to_thread(_opened, store, position)
    theirs = report.opened - report.reopened
    reason = None
    if theirs != own:
        reason = f"use log: vault opened {theirs} frames up to {position}, store knows {own}"
    elif not report.intact:
        reason = "use log of the vault: its hash chain is broken"
    ctx.health.set("use", reason)


def _opened(store: Store, position: int) -> int:
    with store.engine.query() as query:
        return opened_frames(query, position)
