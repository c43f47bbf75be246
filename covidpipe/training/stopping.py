"""Being told to stop: SIGTERM (time limit, preemption) and SIGUSR1 (sbatch --signal) end a training in good order."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any

from covidpipe.errors import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequests(contextlib.AbstractContextManager):
    """While it is entered, these signals only make a note of themselves; `check` raises where stopping is safe.

    Outside the main thread signals cannot be caught, and nothing is changed.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)

    def check(self) -> None:
        """Raise `Preempted` if a signal has come."""
        if self.received is not None:
            raise Preempted(
                f"stopped by {self.received.name}. Every finished epoch is saved: the same command, as a requeue or "
                "Snakemake's retry gives it, goes on from there."
            )
