"""A line that moves while an epoch runs, on a terminal; nothing in a log file, which gets one line an epoch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def epoch_line(title: str, steps: int, images: int) -> Iterator[Callable[[], None]]:
    """Yield a function to be called after each step of an epoch.

    Parameters
    ----------
    title : str
    steps : int
        Of the epoch.
    images : int
        Of a step, for the rate.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as line:
        task, started, done = line.add_task(title, total=steps, rate=""), time.monotonic(), 0

        def step() -> None:
            nonlocal done
            done += 1
            line.update(task, advance=1, rate=f"{done * images / (time.monotonic() - started):.0f} images/s")

        yield step
