"""How far long work is: one line that renews itself on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from covidpipe.words import duration, per

log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_SECONDS = 30.0  # between plain lines
RENEW_SECONDS = 0.2
CLEAR = "\r\033[K"  # to the line's start, and all of it away

# What `Rate.told` writes; `covidpipe cohort` reads it from the logs of its jobs.
TOLD = re.compile(r"(?P<done>[\d,]+) of (?P<total>[\d,]+) \w+, [\d.,]+ a (?:second|minute|hour)(?:, .* left)?")


class Rate:
    """How much is done, how fast, and how long the rest takes at this rate.

    Parameters
    ----------
    total : int
    unit : str
        What is counted, in the plural.
    clock : callable
        Seconds.
    before : int
        So many were done before the clock began: they count, but tell nothing of the rate.

    Examples
    --------
    >>> seconds = iter([0.0, 60.0])
    >>> rate = Rate(512, "images", clock=lambda: next(seconds))
    >>> rate.told(96)
    '96 of 512 images, 1.6 a second, about 4 min left'
    """

    def __init__(self, total: int, unit: str, clock: Callable[[], float] = time.monotonic, before: int = 0):
        self.total, self.unit, self.clock, self.before = total, unit, clock, before
        self.started = clock()

    def told(self, done: int) -> str:
        """In words, after `done` of them."""
        seconds = self.clock() - self.started
        words = f"{done:,} of {self.total:,} {self.unit}"
        since = done - self.before
        if since <= 0 or seconds <= 0:
            return words
        left = seconds / since * (self.total - done)
        return f"{words}, {per(since / seconds)}" + (f", about {duration(left)} left" if done < self.total else "")


def track(
    items: Iterable[T], total: int, unit: str = "images", stream: TextIO | None = None, *, title: str = ""
) -> Iterator[T]:
    """Hand on `items`, and tell how far the work is while they are used.

    On a terminal one line is renewed; elsewhere a line goes to the log every half minute, so that short work says
    nothing.

    Parameters
    ----------
    items : iterable
    total : int
        How many there are.
    unit : str
        What they are, in the plural.
    stream : file, optional
        Default: standard error.
    title : str
        Goes before each line.
    """
    before = f"{title}: " if title else ""
    stream = sys.stderr if stream is None else stream
    live = stream.isatty()
    rate, told_at = Rate(total, unit), time.monotonic()
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - told_at >= (RENEW_SECONDS if live else EVERY_SECONDS):
                told_at = now
                if live:
                    stream.write(f"{CLEAR}{before}{rate.told(done)}")
                    stream.flush()
                else:
                    log.info("%s%s", before, rate.told(done))
            yield item
    finally:
        if live:
            stream.write(CLEAR)
            stream.flush()
