"""A whole node, its processes run by a supervisor in a thread of the test's process."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pyarrow as pa

from zegel.calls.store import FatesReport
from zegel.cli.client import Api
from zegel.cli.demo.api import NodeApi
from zegel.meter.fleet import Fleet, make_fleet
from zegel.meter.frames import Push, day_pushes
from zegel.meter.intake import take_in
from zegel.meter.sender import Sender, SendStats
from zegel.meter.truth import TruthBlock
from zegel.meter.world import DayReadings, houses, simulate
from zegel.node.config import Config, load
from zegel.node.supervisor import Supervisor
from zegel.node.switches import Switches

T = TypeVar("T")
ZONE = ZoneInfo("Europe/Amsterdam")
NUMBERS = iter(range(1, 1_000_000))  # first meter of the next fleet: tests never share one


class RunningNode:
    """One node in a folder of its own; `close` stops it and removes the folder."""

    def __init__(
        self,
        switches: dict[str, Switches] | None = None,
        folder: Path | None = None,
        **flags: object,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="zegel-test-"))
        self.folder.chmod(0o711)
        self._owns_folder = folder is None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        defaults = {
            "node.data_dir": str(self.folder / "data"),
            "edge.port": 0,
            "console.port": 0,
            "edge.title_rate": 0.0,
        }
        self.config: Config = load(None, {**defaults, **dotted})
        self.supervisor = Supervisor(self.config, switches, quiet=True)
        try:
            self.run(self.supervisor.start())
        except BaseException:
            self.close()
            raise
        self.token = self.config.token_file().read_text(encoding="ascii").strip()
        self.api = NodeApi(Api(self.url, self.config.token_file()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.supervisor.ports['api']}"

    @property
    def push_port(self) -> int:
        return self.supervisor.ports["push"]

    @property
    def pids(self) -> dict[str, int]:
        return self.supervisor.pids

    @property
    def data(self) -> Path:
        return self.config.data()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(180)

    def kill(self, zone: str) -> None:
        """kill -9; the supervisor starts the zone again."""
        self._loop.call_soon_threadsafe(self.supervisor.kill, zone)

    def wait_up(self, zone: str) -> None:
        self.run(self.supervisor.wait_up(zone))

    def health(self) -> dict[str, Any]:
        with httpx.Client(trust_env=False, timeout=10) as http:
            document: dict[str, Any] = http.get(f"{self.url}/healthz").json()
        return document

    def send(self, pushes: "list[Push] | Iterator[Push]", **options: Any) -> SendStats:
        return Sender("127.0.0.1", self.push_port, **options).run(pushes)

    def settled(self, received: int, within_s: float = 60.0) -> FatesReport:
        """Wait until `received` frames (or more) have a fate and nothing waits."""
        end = time.monotonic() + within_s
        while True:
            try:
                fates = self.api.fates()
                if fates.received >= received and fates.waiting == 0:
                    return fates
                found: object = fates
            except Exception as error:  # noqa: BLE001 - a zone may be away just now
                found = error
            if time.monotonic() > end:
                raise AssertionError(f"not settled: wanted {received}, found {found}")
            time.sleep(0.05)

    def stop(self) -> None:
        self.run(self.supervisor.stop())

    def close(self) -> None:
        try:
            self.run(self.supervisor.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            if self._owns_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class Street:
    """A few meters known to a node, and what their houses really used."""

    fleet: Fleet
    days: list[DayReadings]

    def block(self, number: int) -> TruthBlock:
        day = self.days[number]
        return TruthBlock(
            day.day.ordinal, self.fleet.serials, day.day.t, day.import_wh, day.export_wh
        )

    def pushes(self, number: int = 0, *, at: int | None = None) -> list[Push]:
        """What the meters push for day `number`, sealed."""
        block = self.block(number)
        pushed = int(block.t[-1]) + 600 if at is None else at
        return list(day_pushes(self.fleet, block, number, pushed, ZONE))

    def truth(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(serial, end of interval) -> (import, export), Wh."""
        return {
            (bytes(serial).decode(), int(t)): (int(imported), int(exported))
            for number in range(len(self.days))
            for block in (self.block(number),)
            for serial, ins, outs in zip(
                block.serials, block.import_wh, block.export_wh, strict=True
            )
            for t, imported, exported in zip(block.t, ins, outs, strict=True)
        }


def street(
    node: RunningNode | None,
    meters: int = 3,
    days: int = 1,
    *,
    start: date | None = None,
    suite: int = 0,
) -> Street:
    """Make new meters and take them in at `node`."""
    first = next(NUMBERS) * 10_000
    fleet = make_fleet(7, 0, first, meters, suite)
    begin = start or date.fromordinal(datetime.now(UTC).date().toordinal() - days - 1)
    readings = list(simulate(houses(7, first, meters), begin, days, ZONE))
    if node is not None:
        take_in(fleet, node.api)
    return Street(fleet, readings)


def stored(node: RunningNode, made: Street) -> list[tuple[tuple[str, int], tuple[int, int]]]:
    """Read these meters' values back through the API, in the shape of `Street.truth`."""
    start = int(min(day.day.t[0] for day in made.days)) - 86_400
    end = int(max(day.day.t[-1] for day in made.days)) + 86_400
    mine = {bytes(serial).decode() for serial in made.fleet.serials}
    rows = []
    for batch in node.api.readings(start, end):
        rows += _rows(batch, mine)
    return rows


def _rows(batch: pa.RecordBatch, mine: set[str]) -> list[tuple[tuple[str, int], tuple[int, int]]]:
    table = pa.Table.from_batches([batch])
    serials = [s.decode() if isinstance(s, bytes) else s for s in table["serial"].to_pylist()]
    times = (
        table["t"].cast(pa.int64())
        if not pa.types.is_timestamp(table["t"].type)
        else table["t"].cast(pa.timestamp("s", "UTC")).cast(pa.int64())
    )
    registers = (
        np.asarray(table[name].cast(pa.int64())).tolist() for name in ("import_wh", "export_wh")
    )
    columns = zip(serials, np.asarray(times).tolist(), *registers, strict=True)
    return [((s, t), (taken, given)) for s, t, taken, given in columns if s in mine]
