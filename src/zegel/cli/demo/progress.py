"""Progress of the demo on a terminal; nothing at all where nobody looks."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["Display"]


class Display:
    """Bars on standard error, one for each step. A context manager.

    Args:
        shown: whether somebody looks. If not, every call does nothing.
    """

    def __init__(self, *, shown: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not shown,
        )
        self._steps: dict[str, TaskID] = {}

    @classmethod
    def on_terminal(cls, *, quiet: bool) -> "Display":
        """Return a display that is shown if standard error is a terminal and `quiet` is false."""
        return cls(shown=not quiet and sys.stderr.isatty())

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def finish(self) -> None:
        """Take the bars off the terminal: the result follows."""
        self._progress.stop()

    def step(self, name: str, done: int, total: int | None = None) -> None:
        """Say how far a step is; `total` once it is known."""
        task = self._steps.get(name)
        if task is None:
            task = self._steps[name] = self._progress.add_task(name, total=total)
        self._progress.update(task, completed=done, total=total)
