"""Opening frames in the vault: microseconds a frame by batch, beside the bare cipher.

`python benchmarks/bench_vault.py [--meters N] [--json]`. "bare" is the least that one thread
can do with the same primitive: a new `Cipher` for every frame, its key already at hand.
"log" is the use log's entry with its sync, once per batch. Times are the best of several runs.
"""

import argparse
import json
import os
import platform
import resource
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cryptography
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from zegel.calls.vault import OpenFrames
from zegel.node.health import HealthState
from zegel.vault.key_table import KeyTable
from zegel.vault.keys import Kind, associated
from zegel.vault.opening import Batch, Opener
from zegel.vault.providers import FileProvider
from zegel.vault.uselog import Opening, UseLog

PLAINTEXT_BYTES = 2716  # a day of 96 rows: clock, status, two registers
BATCHES = (1, 16, 256, 2900)
OWN = b"ZGL\0\0\0\0\0"


def best(work: Callable[[], object], runs: int) -> float:
    """Return the least seconds of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def fleet(n: int, provider: FileProvider) -> tuple[list[bytes], list[bytes], KeyTable]:
    """Return titles, key pairs and the table of `n` meters."""
    titles = sorted({b"BEN" + secrets.token_bytes(5) for _ in range(n)})
    keys = [secrets.token_bytes(32) for _ in titles]
    rows = [
        (title, 0, 1, provider.wrap(pair, associated(title, Kind.UNICAST, 1)))
        for title, pair in zip(titles, keys, strict=True)
    ]
    return titles, keys, KeyTable.columns(rows)


def call_of(titles: list[bytes], keys: list[bytes]) -> OpenFrames:
    """Return a call with one frame of each meter, counter 7."""
    plaintext, n = os.urandom(PLAINTEXT_BYTES), len(titles)
    frames = [
        AESGCM(pair[:16]).encrypt(title + b"\0\0\0\7", plaintext, b"\x30" + pair[16:])[:-4]
        for title, pair in zip(titles, keys, strict=True)
    ]
    return OpenFrames(
        frame_ids=np.arange(1, n + 1, dtype="<u8").tobytes(),
        titles=b"".join(titles),
        controls=b"\x30" * n,
        counters=np.full(n, 7, "<u4").tobytes(),
        lengths=np.full(n, PLAINTEXT_BYTES + 12, "<u4").tobytes(),
        sealed=memoryview(b"".join(frames)),
    )


def bare(call: OpenFrames, titles: list[bytes], keys: list[bytes]) -> None:
    """Open the frames with the cipher alone."""
    at = 0
    for title, pair in zip(titles, keys, strict=True):
        end = at + PLAINTEXT_BYTES
        mode = GCM(title + b"\0\0\0\7", bytes(call.sealed[end : end + 12]), 12)
        cipher = Cipher(AES(pair[:16]), mode).decryptor()
        cipher.authenticate_additional_data(b"\x30" + pair[16:])
        cipher.update(call.sealed[at:end])
        cipher.finalize()
        at = end + 12


def by_batch(meters: int) -> list[dict[str, float]]:
    """Measure every batch size."""
    provider = FileProvider(secrets.token_bytes(32))
    titles, keys, table = fleet(meters, provider)
    opener = Opener(table, provider, OWN, HealthState("vault"))
    rows = []
    for n in BATCHES:
        chosen = np.random.default_rng(n).permutation(len(titles))[:n].tolist()
        some, pairs = [titles[i] for i in chosen], [keys[i] for i in chosen]
        call, runs = call_of(some, pairs), max(9, 4096 // n)
        if set(opener.open(Batch.read(call))[0].verdicts) != {0}:
            raise SystemExit("a frame did not open")
        whole = best(lambda call=call: opener.open(Batch.read(call)), runs)  # type: ignore[misc]
        least = best(
            lambda call=call, some=some, pairs=pairs: bare(call, some, pairs),  # type: ignore[misc]
            runs,
        )
        rows.append(
            {
                "batch": n,
                "open_us": round(whole / n * 1e6, 2),
                "bare_us": round(least / n * 1e6, 2),
                "ratio": round(whole / least, 2),
                "log_us": round(log_entry(Batch.read(call)) / n * 1e6, 2),
            }
        )
    return rows


def log_entry(batch: Batch) -> float:
    """Return the seconds that one entry of the use log takes, synced."""
    with tempfile.TemporaryDirectory() as folder:
        log = UseLog.open(Path(folder) / "use", now_s=0)
        verdicts = np.zeros(len(batch), np.uint8)
        opening = Opening("store", 0.0, batch.frame_ids, batch.nonces, verdicts)
        seconds = best(lambda: log.append(opening), 20)
        log.close()
    return seconds


def table_of_a_country(meters: int) -> dict[str, float]:
    """Measure the table alone, with made-up envelopes: memory, look-up, and an import."""
    table = KeyTable(meters)
    table.titles[:] = np.arange(meters, dtype=np.uint64) * 3
    table.envelopes[:] = 1
    asked = np.random.default_rng(1).integers(0, 3 * meters, 2900).astype(np.uint64)
    find = best(lambda: table.find(asked), 9)
    part = KeyTable(100_000)
    part.titles[:] = np.arange(100_000, dtype=np.uint64) * 30 + 1
    start = time.perf_counter()
    table.put(part)
    put = time.perf_counter() - start
    return {
        "meters": meters,
        "find_us_per_frame": round(find / len(asked) * 1e6, 2),
        "import_100000_s": round(put, 2),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=4096, help="meters that take turns")
    parser.add_argument("--country", type=int, default=8_900_000, help="meters in the big table")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    opened = by_batch(arguments.meters)
    table = table_of_a_country(arguments.country)
    result = {
        "schema": "zegel.bench.vault/1",
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "plaintext_bytes": PLAINTEXT_BYTES,
        "open": opened,
        "table": table,
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    for row in opened:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print("  ".join(f"{name} {value}" for name, value in table.items()))


if __name__ == "__main__":
    main()
