"""How the node is: `/healthz` for watchers, `/v1/zones` for people."""

import asyncio
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from zegel.calls.base import Health, HealthReport
from zegel.calls.table import ZONES
from zegel.console.api.links import Links
from zegel.console.api.parameters import timestamp
from zegel.errors import ZegelError
from zegel.node.link import Link

__all__ = ["ROUTES", "NodeHealth", "Zones"]

_ANSWER_S = 1.0


class ZoneHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One zone in short."""

    ok: bool
    reasons: list[str]


class NodeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the node is; `degraded` names every reason."""

    schema: Literal["zegel.health/1"] = "zegel.health/1"
    status: Literal["ok", "degraded"]
    reasons: list[str]
    zones: dict[str, ZoneHealth]


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """One zone's process. Of one that does not answer only `zone`, `ok`, `reasons` are known.

    `isolation`: none, uid or namespace. `modules` are the loaded `zegel.*` modules: what a
    zone has not loaded it cannot do.
    """

    zone: str
    ok: bool
    reasons: list[str]
    pid: int | None = None
    uid: int | None = None
    isolation: Literal["none", "uid", "namespace"] | None = None
    test: bool | None = None
    guards_off: list[str] | None = None
    build: str | None = None
    started: str | None = None
    counters: dict[str, int] | None = None
    modules: list[str] | None = None


class Zones(msgspec.Struct, frozen=True, kw_only=True):
    """All zones of a node. `test`: a zone has a test-only switch set; it proves nothing."""

    schema: Literal["zegel.zones/1"] = "zegel.zones/1"
    node: str
    test: bool
    zones: list[Zone]


@get("/healthz", summary="Is the node well?", tags=["Run"], security=[{}])
async def healthz(links: NamedDependency[Links]) -> Response[NodeHealth]:
    """Answer 200 if every zone is well, else 503 and the reasons. Needs no token."""
    zones = await _zones(links)
    reasons = [
        reason if reason.startswith(zone.zone) else f"{zone.zone}: {reason}"
        for zone in zones
        for reason in zone.reasons
    ]
    document = NodeHealth(
        status="degraded" if reasons else "ok",
        reasons=reasons,
        zones={zone.zone: ZoneHealth(ok=zone.ok, reasons=zone.reasons) for zone in zones},
    )
    return Response(document, status_code=503 if reasons else 200)


@get("/v1/zones", summary="Show the zones of the node", tags=["Run"])
async def zones(links: NamedDependency[Links]) -> Zones:
    """Show each zone's process: user, isolation, loaded modules, counters."""
    found = await _zones(links)
    return Zones(node=links.node, test=any(zone.test for zone in found), zones=found)


async def _zones(links: Links) -> list[Zone]:
    """Ask every zone at once, each for a second at most."""
    asked = links.zones()
    answers = await asyncio.gather(*(_ask(name, link) for name, link in asked.items()))
    found = dict(zip(asked, answers, strict=True))
    found["console"] = _zone(links.own_health())
    return [found[name] for name in ZONES]


async def _ask(name: str, link: Link) -> Zone:
    try:
        report: HealthReport = await link.call(Health(), timeout_s=_ANSWER_S)
    except ZegelError:
        return Zone(zone=name, ok=False, reasons=[f"{name} does not answer"])
    return _zone(report)


def _zone(report: HealthReport) -> Zone:
    return Zone(
        zone=report.zone,
        ok=report.ok,
        reasons=report.reasons,
        pid=report.pid,
        uid=report.uid,
        isolation=msgspec.convert(report.isolation, Literal["none", "uid", "namespace"]),
        test=report.test,
        guards_off=report.guards_off,
        build=report.build,
        started=timestamp(report.started),
        counters=dict(sorted(report.counters.items())),
        modules=report.modules,
    )


ROUTES = (healthz, zones)
