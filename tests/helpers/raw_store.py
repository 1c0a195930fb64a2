"""What stands in a stopped node's store and vault, counted behind the API's back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# In a process of its own: one process has one engine, for good.
_COUNT = """
import asyncio, json, sys
from pathlib import Path
import numpy as np
from zegel.calls.vault import DiskKey, UseSummary
from zegel.node.config import VaultConfig
from zegel.node.health import HealthState
from zegel.store.engine import Engine
from zegel.store.queries import opened_frames
from zegel.vault.zone import Vault

data = Path(sys.argv[1])
vault = Vault.open(data / "vault", VaultConfig(), HealthState("vault"))
engine = Engine(data / "store" / "engine", asyncio.run(vault.disk_key(DiskKey())).key)
def number(sql):
    return int(engine.writer.rows(sql, np.dtype([("n", "<u8")]))[0]["n"])
last = number("SELECT max(frame_id) FROM frames")
use = asyncio.run(vault.use_summary(UseSummary(last=last)))
print(json.dumps({
    "rows": number("SELECT count() FROM readings_interval"),
    "distinct_rows": number("SELECT uniqExact(meter_id, t) FROM readings_interval"),
    "frames": number("SELECT count() FROM frames"),
    "distinct_frames": number("SELECT uniqExact(frame_id) FROM frames"),
    "opened_by_vault": use.opened - use.reopened,
    "opened_by_store": opened_frames(engine.writer, last),
    "use_log_intact": use.intact,
}))
engine.close()
vault.close()
"""


def raw_counts(data: Path) -> dict[str, Any]:
    """Count what the data directory of a node that is stopped holds; the node stays stopped."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT, str(data)], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


def check_raw(data: Path) -> dict[str, Any]:
    """Check what must hold of every stopped node, whatever happened to it; return the counts."""
    counts = raw_counts(data)
    assert counts["rows"] == counts["distinct_rows"], counts
    assert counts["frames"] == counts["distinct_frames"], counts
    assert counts["opened_by_vault"] == counts["opened_by_store"], counts
    assert counts["use_log_intact"], counts
    return counts
