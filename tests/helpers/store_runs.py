"""Runs of a store's pipeline in its own thread, until something holds."""

import threading
import time
from collections.abc import Callable

from helpers.store_bench import StoreBench


def running(
    bench: StoreBench,
    *,
    until: Callable[[], bool],
    then: Callable[[], None] | None = None,
) -> None:
    """Run the pipeline in its thread until something holds; with `then`, until all is done."""
    bench.pipeline._stop.clear()
    worker = threading.Thread(target=bench.pipeline.run)
    worker.start()
    _wait(until)
    if then is not None:
        assert "2 segments wait" in bench.health.reasons[0]
        then()
        _wait(lambda: not list(bench.spool.iterdir()))
    bench.pipeline.stop()
    worker.join(10)
    assert not worker.is_alive()


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not until():
        assert time.monotonic() < end
        time.sleep(0.005)
