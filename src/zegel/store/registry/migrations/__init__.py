"""Migrations of the registry (Alembic), run at every start."""
