"""No process of the node but the vault holds a key; a copied disk of the store tells nothing."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.attack import SeparateNode
from helpers.memory import found_in_files, found_in_process
from helpers.nodes import ZONE, Street, street
from zegel.meter.faults import Scene, fault_frames
from zegel.vault.keys import NOBODY, Kind, associated
from zegel.vault.providers.file import FileProvider

METERS, DAYS = 3, 3
WITHOUT_METER_KEYS = ("supervisor", "edge", "store", "console")
root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="looks into other users' processes and files"),
]
pytestmark = root

# The thief's program: the engine, over the copied folder, with a key of its own. It takes the
# folder for a plain disk, then for an encrypted one, and prints whatever comes out.
THIEF = """
import sys
from pathlib import Path
from zegel.node import switches
from zegel.store import engine
engine._check_key = lambda *_: None
if sys.argv[2] == "plain":
    switches.install(switches.Switches(guard_off=("store.encrypted_disk",)))
query = engine.Engine(Path(sys.argv[1]), bytes(32)).writer
print(query.data("SELECT t, import_wh, export_wh FROM readings_interval", "TSV").decode())
"""


def pushed(node: SeparateNode) -> Street:
    """Bring meters to a node, let them push, and try the same without any protection."""
    made = street(node, meters=METERS, days=DAYS)
    for day in range(DAYS):
        assert node.send(made.pushes(day)).confirmed == METERS
    (plain,) = fault_frames("plain", scene(made))
    node.send([plain], tries=1, receipt_s=0.2)
    assert node.settled(METERS * DAYS + 1).reasons["not_authenticated"] == 1
    return made


def scene(made: Street) -> Scene:
    block = made.block(DAYS - 1)
    return Scene(made.fleet, block, DAYS - 1, int(time.time()), ZONE, made.fleet, block)


def meter_keys(made: Street) -> dict[str, bytes]:
    keys = made.fleet.keys
    return {
        f"{name} of meter {place}": key(place)
        for place in range(METERS)
        for name, key in (("GUEK", keys.encryption), ("GAK", keys.authentication))
    }


def vault_secrets(data: Path) -> dict[str, bytes]:
    """Return the vault's own secrets: only root, and the operator key, give them."""
    file = data / "vault" / "operator.key"
    provider = FileProvider.open(file, make=False)
    with sqlite3.connect(f"file:{data / 'vault' / 'keys.db'}?mode=ro", uri=True) as db:
        rows = dict(db.execute("SELECT kind, envelope FROM secrets").fetchall())
    db.close()
    found = {
        kind.name: provider.unwrap(rows[kind], associated(NOBODY, kind, 0))
        for kind in (Kind.IMPORT, Kind.DISK)
    }
    return {"operator key": file.read_bytes(), **found}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[SeparateNode, Street]]:
    with SeparateNode() as node:
        yield node, pushed(node)


def test_no_process_but_the_vault_holds_a_meter_key(
    running: tuple[SeparateNode, Street],
) -> None:
    node, made = running
    own = vault_secrets(node.data)
    keys = {**meter_keys(made), "operator key": own["operator key"], "import key": own["IMPORT"]}
    there = {  # what each process does hold: the scan would find a key as well
        "supervisor": str(node.folder).encode(),
        "edge": made.fleet.title(0),
        "store": own["DISK"],
        "console": node.token.encode(),
        "vault": own["operator key"],
    }
    for zone in WITHOUT_METER_KEYS:
        mine = {} if zone == "store" else {"disk key": own["DISK"]}
        found = found_in_process(node.pids[zone], {**keys, **mine, "planted": there[zone]})
        assert "planted" in found, zone
        assert set(found) == {"planted"}, (zone, found)
    assert found_in_process(node.pids["vault"], {"planted": there["vault"]})


def test_where_keys_may_leave_the_vault_they_are_found_in_another_process() -> None:
    with SeparateNode(guard_off="vault.keys_stay") as node:
        made = pushed(node)
        keys = meter_keys(made)
        assert set(found_in_process(node.pids["store"], keys)) == set(keys)


def test_keys_at_rest_stand_in_envelopes_only(running: tuple[SeparateNode, Street]) -> None:
    node, made = running
    own = vault_secrets(node.data)
    found = found_in_files(node.data, {**meter_keys(made), **own})
    assert found == {"operator key": {"vault/operator.key"}}


def loot(folder: Path, made: Street) -> set[str]:
    """Return what a thief gets out of a copied data directory of the store."""
    days = [made.block(day) for day in range(DAYS)]
    needles = {"plain frame": fault_frames("plain", scene(made))[0].wire[60:120]}
    for day, block in enumerate(days):
        few = block.import_wh[0, 10:13]
        needles[f"numbers of day {day}"] = np.asarray(few, "<i8").tobytes()
        for mark in ",\t\n":
            needles[f"text of day {day} {mark!r}"] = mark.join(map(str, few.tolist())).encode()
    found = set(found_in_files(folder, needles))
    truth = {
        (int(t), int(value))
        for block in days
        for row in block.import_wh
        for t, value in zip(block.t, row, strict=True)
    }
    for disk in ("plain", "encrypted"):
        copy = folder.parent / f"thief-{disk}"
        shutil.copytree(folder / "engine", copy, symlinks=True)
        done = subprocess.run(
            [sys.executable, "-c", THIEF, str(copy), disk],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TZ": "UTC"},
        )
        rows = {tuple(line.split("\t")[:2]) for line in done.stdout.splitlines() if "\t" in line}
        known = {(f"{np.datetime64(t, 's')}".replace("T", " "), str(value)) for t, value in truth}
        if rows & known:
            found.add(f"{disk} disk: {len(rows & known)} readings of {len(truth)}")
    return found


def copied(node: SeparateNode, to: Path) -> Path:
    """Stop the node and copy the store's folder, as a thief of the disk would have it."""
    node.stop()
    return Path(shutil.copytree(node.data / "store", to / "store", symlinks=True))


def test_a_copied_data_directory_of_the_store_yields_no_true_value(tmp_path: Path) -> None:
    with SeparateNode() as node:
        made = pushed(node)
        assert loot(copied(node, tmp_path), made) == set()


def test_without_an_encrypted_disk_a_copied_data_directory_yields_every_value(
    tmp_path: Path,
) -> None:
    with SeparateNode(guard_off="store.encrypted_disk") as node:
        made = pushed(node)
        found = loot(copied(node, tmp_path), made)
    rows = METERS * sum(len(made.block(day).t) for day in range(DAYS))
    assert found == {"plain frame", f"plain disk: {rows} readings of {rows}"}
