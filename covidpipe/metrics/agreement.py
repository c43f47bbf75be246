"""Agreement of measured with true percentages: pure functions of pairs."""

from __future__ import annotations

import numpy as np


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
