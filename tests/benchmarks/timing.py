"""Two ways of doing the same thing, timed in turn: the ratio holds when the machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Seconds of ours and of the plain way (medians), and how many times as fast ours is (median, least, most)."""

    what: str
    ours_s: float
    plain_s: float
    speedup: float
    low: float
    high: float
    n: int


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work()
    return clock() - started


def paired(
    what: str,
    ours: Callable[[], Any],
    plain: Callable[[], Any],
    n: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time both in turn, after one run of each that is not counted.

    `time.process_time` as `clock` counts what this process computes, whoever else uses the machine: right for work of
    one thread that neither waits nor starts processes.
    """
    ours()
    plain()
    pairs = [(seconds(ours, clock), seconds(plain, clock)) for _ in range(n)]
    ratios = [slow / fast for fast, slow in pairs]
    return Ratio(
        what,
        statistics.median(fast for fast, _ in pairs),
        statistics.median(slow for _, slow in pairs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        n,
    )
