"""A decision that fails: the frames that break it are found by halving, and left out."""

from collections.abc import Callable
from typing import Any

from zegel.errors import ZegelError
from zegel.store.batch import Batch, Decision

__all__ = ["Stopped", "decide_around"]

Attempt = Callable[[Batch, dict[int, str]], Decision]


class Stopped(Exception):  # noqa: N818 - no error: the zone is asked to stop
    """The pipeline was asked to stop while it waited."""


_NO_FRAMES_FAULT = (ZegelError, Stopped, MemoryError)


def decide_around(batch: Batch, attempt: Attempt, poison: dict[int, str], log: Any) -> Decision:
    """Decide; frames that break the decision itself are added to `poison`, and how.

    Raises:
        ZegelError: or `Stopped`, `MemoryError`: what is around the frames failed.
        Exception: the decision fails, and no frame breaks it alone.
    """
    try:
        return attempt(batch, poison)
    except _NO_FRAMES_FAULT:
        raise
    except Exception as error:
        log.exception("decision failed", frames=len(batch))
        _isolate(batch, set(batch.frame_id.tolist()), error, attempt, poison)
        return attempt(batch, poison)


def _isolate(
    batch: Batch, suspects: set[int], error: Exception, attempt: Attempt, poison: dict[int, str]
) -> None:
    """Find the frames of `suspects` that break the decision; raises if none does alone."""
    if len(suspects) == 1:
        poison[suspects.pop()] = f"decision failed: {type(error).__name__}"
        return
    ordered = sorted(suspects)
    found = False
    for half in (set(ordered[: len(ordered) // 2]), set(ordered[len(ordered) // 2 :])):
        others = {frame: "left out" for frame in batch.frame_id.tolist() if frame not in half}
        try:
            attempt(batch, {**others, **poison})
        except _NO_FRAMES_FAULT:
            raise
        except Exception as inner:  # noqa: BLE001 - see decide_around
            found = True
            _isolate(batch, half, inner, attempt, poison)
    if not found:
        raise error
