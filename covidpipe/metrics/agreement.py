"""Agreement of measured with true percentages: pure functions of pairs."""

from __future__ import annotations

import numpy as np

from covidpipe.metrics.intervals import NORMAL_975


def mean_absolute_error(pairs: np.ndarray) -> float | None:
    """Mean of |found - true|, or None without pairs.

    Parameters
    ----------
    pairs : ndarray, (n, 2)
        Found and true value of each image.

    >>> mean_absolute_error(np.array([[1.0, 3.0], [5.0, 4.0]]))
    1.5
    """
    return float(np.abs(pairs[:, 0] - pairs[:, 1]).mean()) if len(pairs) else None


def bias(pairs: np.ndarray) -> float | None:
    """Mean of found - true, or None without pairs.

    >>> bias(np.array([[1.0, 3.0], [5.0, 4.0]]))
    -0.5
    """
    return float((pairs[:, 0] - pairs[:, 1]).mean()) if len(pairs) else None


def concordance(pairs: np.ndarray) -> float | None:
    """Lin's concordance correlation coefficient (Lin 1989), or None where nothing varies.

    >>> concordance(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]))
    1.0
    >>> concordance(np.array([[1.0, 1.0]])) is None
    True
    """
    if len(pairs) < 2:
        return None
    found, true = pairs.T
    spread = found.var() + true.var() + (found.mean() - true.mean()) ** 2
    if spread == 0:
        return None
    return float(2 * ((found - found.mean()) * (true - true.mean())).mean() / spread)


def limits_of_agreement(pairs: np.ndarray) -> tuple[float, float] | None:
    """Bland & Altman's (1986) limits: bias -/+ 1.96 standard deviations of found - true; None with fewer than 2 pairs.

    They are those of single images: an image whose difference lies outside is one in twenty if differences are normal.

    >>> low, high = limits_of_agreement(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]))
    >>> round(low, 2), round(high, 2)
    (-1.96, 1.96)
    """
    if len(pairs) < 2:
        return None
    differences = pairs[:, 0] - pairs[:, 1]
    middle, half = float(differences.mean()), NORMAL_975 * float(differences.std(ddof=1))
    return middle - half, middle + half


def limit_low(pairs: np.ndarray) -> float | None:
    """The lower of the limits of agreement."""
    limits = limits_of_agreement(pairs)
    return None if limits is None else limits[0]


def limit_high(pairs: np.ndarray) -> float | None:
    """The upper of the limits of agreement."""
    limits = limits_of_agreement(pairs)
    return None if limits is None else limits[1]
