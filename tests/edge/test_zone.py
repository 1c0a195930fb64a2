import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from helpers.edges import confirm, sealed, spooled, wrapped
from zegel.node.config import Config, EdgeConfig, NodeConfig
from zegel.node.start import StartDocument

PATHS = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def config(folder: Path, port: int = 0) -> Config:
    """Return settings of a node in `folder`, its data directory laid out."""
    made = Config(node=NodeConfig(data_dir=str(folder)), edge=EdgeConfig(port=port))
    (folder / "edge" / "spool").mkdir(parents=True, exist_ok=True)
    for zone in ("edge", "store", "console", "vault"):
        (folder / "run" / zone).mkdir(parents=True, exist_ok=True)
    return made


@contextmanager
def edge_process(settings: Config) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Run an edge as the supervisor does; give the process and its first line."""
    command = [sys.executable, "-m", "zegel.edge"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=PATHS, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        document = StartDocument(zone="edge", config=settings)
        process.stdin.write(msgspec.json.encode(document) + b"\n")
        process.stdin.flush()
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def test_the_zone_receives_until_its_supervisor_is_gone(tmp_path: Path) -> None:
    with edge_process(config(tmp_path)) as (process, ready):
        peer = socket.create_connection(("127.0.0.1", ready["ports"]["push"]), timeout=10)
        peer.sendall(wrapped(sealed()))
        assert peer.recv(14) == confirm(7)
        peer.close()
    assert process.returncode == 0
    assert [record.frame for record in spooled(tmp_path / "edge" / "spool")] == [sealed()]


def test_a_port_in_use_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with edge_process(config(tmp_path, port)) as (process, ready):
            expected = f"push port in use (TCP); 127.0.0.1:{port}; expected a free port"
            assert ready["error"] == f"zegel: conflict: {expected}"
    assert process.returncode == 1


def test_a_second_edge_on_the_same_spool_is_one_line_and_exit_1(tmp_path: Path) -> None:
    settings = config(tmp_path)
    with edge_process(settings), edge_process(settings) as (second, ready):
        assert ready["error"].startswith("zegel: storage: spool in use; ")
        assert ready["exit_code"] == 1
    assert second.returncode == 1


def test_the_edge_loads_no_key_no_decoder_and_no_other_zone() -> None:
    code = "import sys, zegel.edge.zone; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], env=PATHS, capture_output=True, text=True, check=True
    )
    loaded = run.stdout.split()
    ours = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("zegel.")}
    assert ours == {"zegel.calls", "zegel.edge", "zegel.errors", "zegel.node"}
    assert not {"cryptography", "numpy", "zegel.edge.check_spool"} & set(loaded)
