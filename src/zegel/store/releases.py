"""Segments that are done: the edge is told until it has unlinked them."""

from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zegel.calls.edge import Release
from zegel.errors import ZegelError
from zegel.node.health import HealthState
from zegel.node.link import Blocking
from zegel.node.spool_format import SegmentName
from zegel.store.lane import Lane
from zegel.store.spool import Identity, identity

__all__ = ["Releases"]

_EDGE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Asked:
    call: Release
    file: Identity  # the very file that was committed
    future: Any  # a concurrent.futures.Future


class Releases:
    """Used by the pipeline's thread. An edge that does not answer holds nobody up."""

    def __init__(self, edge: Blocking, spool: Path, health: HealthState) -> None:
        self._edge, self._spool, self._health = edge, spool, health
        self._asked: dict[SegmentName, _Asked] = {}
        self._done: set[SegmentName] = set()

    def look(self, names: Sequence[SegmentName]) -> set[SegmentName]:
        """Look for answers; return which of the segments in the spool are done."""
        self._done &= set(names)
        for name in list(self._asked):
            self._answered(name, wait_s=0)
        return self._done | set(self._asked)

    def release(self, name: SegmentName, file: Identity, lane: Lane, *, wait_s: float) -> None:
        """Tell the edge, and wait a moment for its answer."""
        call = Release(
            first=name.first,
            last=name.last,
            authenticated=lane.titles,
            addresses=lane.addresses,
        )
        self._ask(name, call, file)
        self._answered(name, wait_s=wait_s)

    def _ask(self, name: SegmentName, call: Release, file: Identity) -> None:
        self._asked[name] = _Asked(call, file, self._edge.begin(call, timeout_s=_EDGE_S))

    def _answered(self, name: SegmentName, *, wait_s: float) -> None:
        """Look whether a segment is released; ask again where the edge did not answer."""
        asked = self._asked[name]
        try:
            asked.future.result(timeout=wait_s)
        except TimeoutError:
            self._health.set("edge", f"edge does not answer: {name} is not released")
        except (ZegelError, CancelledError) as error:
            self._health.set("edge", f"{name} is not released: {error}")
            del self._asked[name]
            if identity(self._spool, name) in (asked.file, None):
                self._ask(name, asked.call, asked.file)
            # else another file has its name now: it is taken as any other
        else:
            self._health.set("edge", None)
            del self._asked[name]
            self._done.add(name)
