"""95 % intervals: of means and pooled scores by resampling patients, of proportions by Wilson's formula."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def bootstrap_by_group(
    values: np.ndarray,
    groups: np.ndarray,
    statistic: Callable[[np.ndarray], float | None],
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic, patients and not images being drawn again.

    The images of a patient resemble each other; resampling images would make the interval far too narrow. With few
    patients even this one is too narrow: read it together with the number of patients.

    Parameters
    ----------
    values : ndarray, (n,) or (n, k)
        One row an image.
    groups : ndarray, (n,)
        The patient of each image.
    statistic : callable
        Takes rows of `values` and returns a number, or None where it is undefined; such draws are left out.
    draws, seed : int

    Returns
    -------
    tuple of float or None
        Low and high end; None with fewer than two groups (nothing can be resampled) or no defined draw.

    Examples
    --------
    >>> bootstrap_by_group(np.ones(4), np.array(["a", "a", "b", "b"]), np.mean)
    (1.0, 1.0)
    """
    values = np.asarray(values)
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return None
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        value = statistic(values[rows])
        if value is not None and math.isfinite(value):
            drawn.append(value)
    if not drawn:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def wilson(k: int, n: int) -> tuple[float, float] | None:
    """Wilson's 95 % interval of the proportion k / n, or None if n is 0 (Wilson 1927).

    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if n == 0:
        return None
    z2 = NORMAL_975**2
    center = (k + z2 / 2) / (n + z2)
    half = NORMAL_975 / (n + z2) * math.sqrt(k * (n - k) / n + z2 / 4)
    return max(0.0, center - half), min(1.0, center + half)
