"""Two ways of doing the same thing, timed in turn: the ratio holds when the machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """Seconds of ours and of the plain way (medians), and how many times as fast ours is (median, least, most).

    ``cpu_speedup`` and its range compare processor time, all cores together: what else runs on the machine disturbs it
    less, and it does not see how well work is spread over cores.
    """

    what: str
    ours_s: float
    plain_s: float
    speedup: float
    low: float
    high: float
    cpu_speedup: float
    cpu_low: float
    cpu_high: float
    n: int


def seconds(work: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, float]:
    """Time by the clock, and by the processor."""
    started, cpu_started = clock(), time.process_time()
    work()
    return clock() - started, time.process_time() - cpu_started


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
    return _ratio(what, [(seconds(ours, clock), seconds(plain, clock)) for _ in range(n)])


def share(what: str, whole: Callable[[], Any], part: Callable[[], float], n: int = 5) -> Ratio:
    """The share of the time of `whole` in which a part of it was at work, by the clock.

    `part` tells its seconds so far, since whenever.
    """
    whole()
    pairs = []
    for _ in range(n):
        before = part()
        taken, _ = seconds(whole, time.perf_counter)
        pairs.append(((taken, taken), (part() - before,) * 2))
    return _ratio(what, pairs)


def _ratio(what: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> Ratio:
    """Of pairs of seconds, ours and the plain way's, each by the clock and by the processor."""
    ratios = [slow / fast for (fast, _), (slow, _) in pairs]
    cpu_ratios = [slow / fast for (_, fast), (_, slow) in pairs]
    return Ratio(
        what,
        statistics.median(fast for (fast, _), _ in pairs),
        statistics.median(slow for _, (slow, _) in pairs),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(cpu_ratios),
        min(cpu_ratios),
        max(cpu_ratios),
        len(pairs),
    )


def told(rows: Iterable[Ratio]) -> list[Ratio]:
    """All rows, each printed as soon as it is measured."""
    kept = []
    for row in rows:
        kept.append(row)
        print(f"{row.what:<52} {row.speedup:8.2f} ({row.low:.2f} to {row.high:.2f}, n = {row.n})", flush=True)
    return kept
