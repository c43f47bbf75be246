"""Are probabilities what they say? Brier score, calibration error, reliability; and the temperature that mends them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from covidpipe.metrics.intervals import proportion

BINS = 10
SMALLEST_BIN = 10
# Beyond a factor of 20 either way a temperature says only that the validation part is too small to tell.
TEMPERATURES = (1 / 20, 20.0)


def fit_temperature(probability: np.ndarray, truth: np.ndarray) -> float:
    """The temperature under which the labels of validation images are most likely.

    The labels are taken as nearly certain only, (k + 1) / (k + 2) for k images of a class (Platt 1999): otherwise a
    validation part on which the classes are told apart without a fault would ask for a temperature of zero.

    Parameters
    ----------
    probability : ndarray, (n,)
        Of COVID-19, as the network says it.
    truth : ndarray of bool, (n,)

    Returns
    -------
    float
        Between 1/20 and 20; 1 if only one class is present, which tells nothing of the spread.
    """
    p, truth = np.asarray(probability, np.float64), np.asarray(truth, bool)
    ill, healthy = np.count_nonzero(truth), np.count_nonzero(~truth)
    if not ill or not healthy:
        return 1.0
    p = np.clip(p, 1e-12, 1 - 1e-12)  # a float32 may round to a certainty
    odds = np.log(p / (1 - p))
    target = np.where(truth, (ill + 1) / (ill + 2), 1 / (healthy + 2))

    def loss(log_temperature: float) -> float:
        scaled = odds / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    low, high = (math.log(t) for t in TEMPERATURES)
    return math.exp(float(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def squared_errors(probability: np.ndarray, truth: np.ndarray) -> NDArray[np.float64]:
    """(probability - label)^2 of each image; their mean is the Brier score (Brier 1950)."""
    return (np.asarray(probability, float) - np.asarray(truth, bool)) ** 2


def bins_of(probability: np.ndarray, bins: int = BINS) -> NDArray[np.int64]:
    """Bins of equal mass: a number from 0 for each image, rising with the probability; equal ones share a bin.

    There are `bins`, or fewer if one would hold less than 10 images.

    >>> bins_of(np.arange(40) / 40).tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10
    True
    """
    place = rankdata(probability, method="min").astype(np.int64) - 1  # that of the first of equals
    wanted = max(1, min(bins, len(place) // SMALLEST_BIN))
    return np.unique(place * wanted // max(1, len(place)), return_inverse=True)[1]


def calibration_columns(probability: np.ndarray, truth: np.ndarray) -> NDArray[np.float64]:
    """What the expected calibration error is summed from, a row an image: label - probability in its bin, and 1."""
    bins = bins_of(probability)
    columns = np.zeros((len(bins), bins.max(initial=0) + 2))
    columns[np.arange(len(bins)), bins] = np.asarray(truth, bool) - np.asarray(probability, float)
    columns[:, -1] = 1
    return columns


def error_of_columns(sums: np.ndarray) -> NDArray[np.float64]:
    """Expected calibration error from sums of `calibration_columns`: |share - mean probability|, weighed by images.

    Of a perfectly calibrated classifier it is still above 0, by chance alone: about 0.8 of the standard error of a
    bin's share.
    """
    return np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]


def reliability(probability: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> list[dict[str, Any]]:
    """The reliability diagram as rows, one a bin: what was said, and what was so.

    Parameters
    ----------
    probability : ndarray, (n,)
    truth : ndarray of bool, (n,)
    groups : ndarray, (n,)
        The patient of each image.

    Returns
    -------
    list of dict
        Columns of the RELIABILITY table but for `subject` and `temperature`.
    """
    probability, truth, bins = np.asarray(probability, float), np.asarray(truth, bool), bins_of(probability)
    rows = []
    for number in range(bins.max(initial=-1) + 1):
        here = bins == number
        interval = proportion(truth[here], groups[here])
        assert interval is not None, "no bin is empty"
        k, n = int(np.count_nonzero(truth[here])), int(np.count_nonzero(here))
        rows.append(
            {
                "bin": number,
                "lowest": float(probability[here].min()),
                "highest": float(probability[here].max()),
                "mean_probability": float(probability[here].mean()),
                "share": k / n,
                "low": interval.low,
                "high": interval.high,
                "n": n,
                "k": k,
                "patients": len(np.unique(groups[here])),
                "interval": interval.how,
            }
        )
    return rows
