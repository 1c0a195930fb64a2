"""The registry's tables. A meter id is never used again; a serial never changes its meter."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig

from zegel.errors import StorageError

__all__ = ["CONNECTIONS", "METADATA", "METERS", "STATES", "migrate"]

STATES = ("registered", "ready", "in_use", "removed", "destroyed")

METADATA = sa.MetaData()

METERS = sa.Table(
    "meters",
    METADATA,
    sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("serial", sa.String(32), nullable=False, unique=True),
    sa.Column("system_title", sa.String(16), nullable=False, unique=True),  # lower-case hex
    sa.Column("maker", sa.String(64), nullable=False, server_default=""),
    sa.Column("model", sa.String(64), nullable=False, server_default=""),
    sa.Column("firmware", sa.String(64), nullable=False, server_default=""),
    sa.Column("segment", sa.String(64), nullable=False, server_default=""),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("counter_floor", sa.BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

# Which connection (EAN) a meter measures, from when to when (UTC seconds; to: open)
CONNECTIONS = sa.Table(
    "connections",
    METADATA,
    sa.Column("connection_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("meter_id", sa.Integer, sa.ForeignKey("meters.meter_id"), nullable=False),
    sa.Column("ean", sa.String(18), nullable=False, index=True),
    sa.Column("from_s", sa.BigInteger, nullable=False),
    sa.Column("to_s", sa.BigInteger, nullable=True),
    sa.Index("connections_meter", "meter_id"),
    sqlite_autoincrement=True,
)


def migrate(engine: sa.Engine) -> None:
    """Bring the database to this version's tables.

    Raises:
        StorageError: it cannot be opened, or a newer version wrote it.
    """
    config = AlembicConfig()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except Exception as error:
        found = str(error).splitlines()[0]
        where = engine.url.render_as_string(hide_password=True)
        raise StorageError("registry", where=where, found=found) from error
