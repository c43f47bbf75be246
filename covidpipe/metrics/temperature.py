"""Probabilities with a temperature: apart from `covidpipe.metrics.calibration`, so that inference imports little."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def temper(probability: Any, temperature: float) -> NDArray[np.float64]:
    """Divide the log-odds of probabilities by a temperature (Guo et al. 2017): above 1 they move towards one half.

    For two classes this is the softmax of logits over the temperature. Order never changes, nor do 0, 1 and one half.

    >>> temper([0.5, 0.9, 1.0], 2.0).round(6).tolist()
    [0.5, 0.75, 1.0]
    """
    p = np.asarray(probability, np.float64)
    if temperature == 1:
        return p
    positive, negative = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    return positive / (positive + negative)
