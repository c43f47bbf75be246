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


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(what: str, ours: Callable[[], Any], plain: Callable[[], Any], n: int = 5) -> Ratio:
    """Time both in turn, after one run of each that is not counted."""
    ours()
    plain()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(n)]
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
