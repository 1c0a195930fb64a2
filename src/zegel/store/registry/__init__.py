"""The registry: which meters there are, their titles, states and connections."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from zegel.calls.store import ImportReport, MeterPage, MeterRow
from zegel.errors import NotFoundError, StorageError, UsageError
from zegel.store.registry.importing import import_meters
from zegel.store.registry.index import MeterIndex, Meters
from zegel.store.registry.tables import CONNECTIONS, METERS, migrate

__all__ = ["MeterIndex", "Registry"]

MOST_ON_A_PAGE = 10_000
_NO_FRAMES = ("destroyed",)
_INDEXED = sa.select(
    METERS.c.meter_id,
    METERS.c.system_title,
    METERS.c.serial,
    METERS.c.counter_floor,
    METERS.c.state,
)


class Registry:
    """Meters in a database, and the same as arrays in `index`, replaced after every import.

    Methods may be called from any thread; each takes its own connection.

    Args:
        url: SQLAlchemy URL.

    Raises:
        StorageError: the database cannot be opened or brought to this version.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = sa.create_engine(url)
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise StorageError("registry", where="[registry] url", found=error) from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _tune)
        migrate(self._engine)
        self._importing = threading.Lock()
        with self._connection() as connection:
            self.index = MeterIndex(_meters(connection, None))

    @staticmethod
    def default_url(folder: Path) -> str:
        """Return the URL of the registry of an embedded node."""
        return f"sqlite:///{folder / 'registry.db'}"

    def add(self, rows: Sequence[MeterRow]) -> ImportReport:
        """Import meters; see `zegel.store.registry.importing`."""
        with self._importing:
            with self._connection() as connection:
                report, touched = import_meters(connection, rows, int(time.time()))
                connection.commit()
            if touched:
                with self._connection() as connection:
                    self.index = _merged(self.index, _meters(connection, touched))
        return report

    def page(self, *, after: int, limit: int, search: str, segment: str) -> MeterPage:
        """Return one page of meters by meter id; `search` is the start of serial or title."""
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise UsageError("limit", expected=f"1 to {MOST_ON_A_PAGE}", found=limit)
        wanted: list[sa.ColumnElement[bool]] = []
        if search:
            start = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            wanted.append(
                METERS.c.serial.like(f"{start}%", escape="\\")
                | METERS.c.system_title.like(f"{start.lower()}%", escape="\\")
            )
        if segment:
            wanted.append(METERS.c.segment == segment)
        with self._connection() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(METERS).where(*wanted))
            found = connection.execute(
                sa.select(METERS)
                .where(*wanted, METERS.c.meter_id > after)
                .order_by(METERS.c.meter_id)
                .limit(limit + 1)
            ).all()
            meters = self._rows(connection, found[:limit])
        more = meters[-1].meter_id if len(found) > limit else None
        return MeterPage(meters, more, int(total or 0))

    def show(self, meter: str) -> MeterRow:
        """Return one meter by serial, system title or meter id.

        Raises:
            NotFoundError: there is none.
        """
        meter_id = self.find(meter)
        with self._connection() as connection:
            found = connection.execute(sa.select(METERS).where(METERS.c.meter_id == meter_id)).all()
            return self._rows(connection, found)[0]

    def find(self, meter: str) -> int:
        """Return the meter id of a serial, system title or meter id.

        Raises:
            NotFoundError: there is none.
        """
        index = self.index
        found = index.by_serial(meter)
        if not found and len(meter) == 16:
            try:
                found = index.by_title(bytes.fromhex(meter))
            except ValueError:
                found = 0
        if not found and meter.isascii() and meter.isdigit() and len(meter) < 16:
            found = int(meter) if index.serial(int(meter)) else 0
        if not found:
            raise NotFoundError("meter", found=meter[:40])
        return found

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @staticmethod
    def _rows(connection: sa.Connection, found: Sequence[sa.Row[Any]]) -> list[MeterRow]:
        eans = connection.execute(
            sa.select(CONNECTIONS.c.meter_id, CONNECTIONS.c.ean).where(
                CONNECTIONS.c.meter_id.in_([row.meter_id for row in found]),
                CONNECTIONS.c.to_s.is_(None),
            )
        )
        ean = {row.meter_id: row.ean for row in eans}
        return [
            MeterRow(**row._mapping, ean=ean.get(row.meter_id))  # noqa: SLF001 - SQLAlchemy's API
            for row in found
        ]

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            found = str(error).splitlines()[0]
            raise StorageError("registry", found=found) from error


def _tune(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA busy_timeout = 10000")


def _meters(connection: sa.Connection, serials: list[str] | None) -> Meters:
    """Read all meters, or those of some serials, as columns."""
    rows: list[Any] = []
    if serials is None:
        rows += connection.execute(_INDEXED)
    else:
        for start in range(0, len(serials), 5_000):
            part = serials[start : start + 5_000]
            rows += connection.execute(_INDEXED.where(METERS.c.serial.in_(part)))
    titles = np.frombuffer(bytes.fromhex("".join([row[1] for row in rows])), "u8")
    return Meters(
        meter_id=np.array([row[0] for row in rows], "u8"),
        title=titles,
        serial=np.array([row[2] for row in rows], "S32"),
        floor=np.array([row[3] for row in rows], "i8"),
        alive=np.array([row[4] not in _NO_FRAMES for row in rows], "?"),
    )


def _merged(index: MeterIndex, new: Meters) -> MeterIndex:
    """Return an index with meters added or replaced."""
    old = index.meters()
    keep = ~np.isin(old.meter_id, new.meter_id)
    return MeterIndex(
        Meters(
            np.concatenate([old.meter_id[keep], new.meter_id]),
            np.concatenate([old.title[keep], new.title]),
            np.concatenate([old.serial[keep], new.serial]),
            np.concatenate([old.floor[keep], new.floor]),
            np.concatenate([old.alive[keep], new.alive]),
        )
    )
