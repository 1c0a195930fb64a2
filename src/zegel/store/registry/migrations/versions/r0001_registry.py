"""Meters and connections."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "meters",
        sa.Column("meter_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("serial", sa.String(32), nullable=False, unique=True),
        sa.Column("system_title", sa.String(16), nullable=False, unique=True),
        sa.Column("maker", sa.String(64), nullable=False, server_default=""),
        sa.Column("model", sa.String(64), nullable=False, server_default=""),
        sa.Column("firmware", sa.String(64), nullable=False, server_default=""),
        sa.Column("segment", sa.String(64), nullable=False, server_default=""),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("counter_floor", sa.BigInteger, nullable=False, server_default="0"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "connections",
        sa.Column("connection_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("meter_id", sa.Integer, sa.ForeignKey("meters.meter_id"), nullable=False),
        sa.Column("ean", sa.String(18), nullable=False, index=True),
        sa.Column("from_s", sa.BigInteger, nullable=False),
        sa.Column("to_s", sa.BigInteger, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("connections_meter", "connections", ["meter_id"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("connections")
    op.drop_table("meters")
