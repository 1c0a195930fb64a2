"""The store's main: from disk key to answers, over links, and to its end."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.store_bench import FULL_DAY, StoreBench, push, serial
from helpers.vault_meters import meters
from zegel.calls.base import Call, Health, HealthReport
from zegel.calls.edge import Release, Released
from zegel.calls.store import (
    FrameFates,
    ImportMeters,
    ListMeters,
    ListQuarantine,
    ReadReadings,
    ShowMeter,
    ShowQuarantine,
)
from zegel.calls.vault import DiskKey, OpenFrames, UseReport, UseSummary
from zegel.errors import NotFoundError, StorageError, UnreachableError
from zegel.node.config import Config, NodeConfig
from zegel.node.health import HealthState
from zegel.node.link import Link, LocalLink
from zegel.node.serving import Handler
from zegel.store import zone
from zegel.store.pipeline import Pipeline


class Context:
    """A zone's context without a process: what main asks of it, over local links."""

    def __init__(self, bench: StoreBench) -> None:
        self.bench = bench
        self.config = Config(node=NodeConfig(data_dir=str(bench.root)))
        self.data, self.spool_dir = bench.root / "own", bench.spool
        self.data.mkdir(exist_ok=True)
        self.health, self.stopping = HealthState("store"), asyncio.Event()
        self.log: Any = _Quiet()
        self.up = asyncio.Event()
        self.answers: Mapping[type[Call], Handler] = {}
        self.vault_silent = False
        self.told = asyncio.Event()
        self.opened_off = 0

    def link(self, callee: str) -> Link:
        if callee == "edge":
            return LocalLink({Release: self._release}, caller="store", callee="edge")
        vault = self.bench.vault.vault
        handlers: dict[type[Call], Handler] = {
            OpenFrames: vault.open_frames,
            DiskKey: self._disk_key,
            UseSummary: self._use,
        }
        return LocalLink(handlers, caller="store", callee="vault")

    async def _disk_key(self, call: DiskKey) -> object:
        if self.vault_silent:
            if self.health.reasons:
                self.told.set()
            raise UnreachableError("vault does not answer")
        return await self.bench.vault.vault.disk_key(call)

    async def _use(self, call: UseSummary) -> UseReport:
        report = await self.bench.vault.vault.use_summary(call)
        return UseReport(
            entries=report.entries,
            opened=report.opened + self.opened_off,
            refused=report.refused,
            reopened=report.reopened,
            head=report.head,
            intact=report.intact,
        )

    async def _release(self, call: Release) -> Released:
        return await self.bench.release(call)

    async def serve(self, handlers: Mapping[type[Call], Handler]) -> None:
        self.answers = {Health: self._health, **handlers}

    async def _health(self, _call: Health) -> HealthReport:
        return self.health.report()

    def ready(self) -> None:
        self.up.set()


class _Quiet:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_words, **_fields: None


@pytest.fixture
def context(folder: Path) -> Any:
    bench = StoreBench(folder, meters(2))
    bench.close()  # main opens its own; only vault and spool are used
    vault = bench.vault.vault
    bench.loop.call(vault.close)
    yield bench
    bench.loop.close()


@contextlib.asynccontextmanager
async def running(bench: StoreBench) -> Any:
    from zegel.vault.zone import Vault

    bench.vault.vault = Vault.open(bench.vault.data, bench.vault.config, HealthState("vault"))
    ctx = Context(bench)
    main = asyncio.ensure_future(zone.main(ctx))  # type: ignore[arg-type]
    ready = asyncio.ensure_future(ctx.up.wait())
    await asyncio.wait((main, ready), timeout=20, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield ctx, LocalLink(ctx.answers, caller="console", callee="store")
    finally:
        ctx.stopping.set()
        await asyncio.wait_for(main, 10)
        bench.vault.vault.close()


async def _until_stored(link: Link, count: int) -> Any:
    for _ in range(500):
        fates = await link.call(FrameFates())
        if fates.received >= count and fates.position:
            return fates
        await asyncio.sleep(0.02)
    raise AssertionError


async def _everything(bench: StoreBench) -> None:
    one, two = bench.meters
    async with running(bench) as (ctx, link):
        report = await link.call(ImportMeters([bench.row(one), bench.row(two)]))
        assert report.added == 2
        bench.write([push(one), push(two), b"\x0f\x00"])
        fates = await _until_stored(link, 3)
        assert (fates.stored, fates.quarantined) == (2, 1)
        page = await link.call(ListMeters(search="ZGL"))
        assert [meter.serial for meter in page.meters] == [serial(one), serial(two)]
        assert (await link.call(ShowMeter(one.title.hex()))).meter_id == 1
        asked = ReadReadings(*FULL_DAY, meter=serial(two), format="csv")
        data = b"".join([part.data async for part in link.stream(asked)])
        assert data.count(b"\n") == 97
        (entry,) = (await link.call(ListQuarantine())).entries
        assert (await link.call(ShowQuarantine(entry.frame_id))).body == b"\x0f\x00"
        with pytest.raises(NotFoundError):
            await link.call(ShowMeter("nobody"))
        assert ctx.health.reasons == []


def test_console_gets_its_answers(context: StoreBench) -> None:
    asyncio.run(_everything(context))


def test_use_log_that_tells_of_more_openings_than_frames_is_an_alarm(context: StoreBench) -> None:
    async def life() -> None:
        async with running(context) as (ctx, link):
            await link.call(ImportMeters([context.row(meter) for meter in context.meters]))
            context.write([push(context.meters[0])])
            await _until_stored(link, 1)
            store = ctx.answers[FrameFates].__self__
            await zone.check_use(ctx, ctx.link("vault"), store)
            assert ctx.health.reasons == []
            ctx.opened_off = 1
            await zone.check_use(ctx, ctx.link("vault"), store)
            assert "vault opened 2 frames" in ctx.health.reasons[0]

    asyncio.run(life())


def test_use_check_that_breaks_is_told_and_goes_on(
    context: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    told: list[str] = []
    done = asyncio.Event()

    async def check(ctx: Context, _vault: object, _store: object) -> None:
        nonlocal turns
        turns += 1
        told.extend(ctx.health.reasons)
        if turns == 1:
            raise ValueError("no such column")
        if turns > 2:
            done.set()

    monkeypatch.setattr(zone, "_CHECK_USE_S", 0.01)
    monkeypatch.setattr(zone, "check_use", check)

    async def life() -> None:
        async with running(context) as (ctx, _link), asyncio.timeout(10):
            await done.wait()
            assert ctx.health.reasons == []

    asyncio.run(life())
    assert told == ["use log not checked: ValueError('no such column')"]


def test_pipeline_that_ended_unasked_is_told(
    context: StoreBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "run", lambda _pipeline: None)

    async def life() -> None:
        async with running(context) as (ctx, _link):
            for _ in range(500):
                if ctx.health.reasons:
                    break
                await asyncio.sleep(0.01)
            assert "the pipeline has ended" in ctx.health.reasons[0]

    asyncio.run(life())


def test_another_disk_key_ends_the_zone_with_its_reason(context: StoreBench) -> None:
    async def life() -> None:
        async with running(context):
            pass
        (context.root / "own" / "engine" / "KEYCHECK").write_text("00" * 16)
        with pytest.raises(StorageError, match="disk key"):
            async with running(context):
                pass

    asyncio.run(life())


def test_store_waits_for_its_key_and_says_so(context: StoreBench) -> None:
    async def life() -> None:
        ctx = Context(context)
        ctx.vault_silent = True
        main = asyncio.ensure_future(zone.main(ctx))  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await ctx.told.wait()
        assert "vault does not answer" in ctx.health.reasons[0]
        ctx.stopping.set()
        await asyncio.wait_for(main, 5)

    asyncio.run(life())
