"""ROC and precision-recall curves of a test part with pointwise 95 % intervals, patients as units: pure functions.

An interval belongs to one place of the curve: at that share of false positives, or at that recall. It is no promise
about the whole curve, and it is missing where too few patients, or patients of one class only, leave it undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidpipe.metrics.classification import called_of, precision_recall
from covidpipe.metrics.counts import ratio
from covidpipe.metrics.intervals import SHARE, PatientBootstrap

PLACES = np.linspace(0, 1, 21)  # where a curve is told its interval
TOLERANCE = 1e-9  # two shares of images that differ by less are one


class Place(NamedTuple):
    """One place of a curve, with the ends of its interval or None."""

    x: float
    low: float | None
    high: float | None


def roc(
    probability: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of false and of true positives at every distinct threshold, from the strictest; both begin at 0.

    Parameters
    ----------
    probability : ndarray, (n,)
    truth : ndarray of bool, (n,)
    weights : ndarray, (..., n), optional
        How often each image counts, such as in each of many bootstrap draws.

    Returns
    -------
    false, true : ndarray, (..., 1 + thresholds)
        NaN where a class is absent.

    Examples
    --------
    >>> false, true = roc(np.array([0.9, 0.6, 0.4]), np.array([1, 0, 1], bool))
    >>> false.tolist(), true.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    truth = np.asarray(truth, bool)
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)

    def reached(among: NDArray[np.float64]) -> NDArray[np.float64]:
        (called,) = called_of(probability, among)
        start = np.zeros((*called.shape[:-1], 1))
        return ratio(np.concatenate([start, called], axis=-1), among.sum(axis=-1, keepdims=True))

    return reached(weights * ~truth), reached(weights * truth)


def roc_band(probability: np.ndarray, truth: np.ndarray, patients: PatientBootstrap) -> list[Place]:
    """Between which ends the share of true positives lies at each of `PLACES` false positives."""
    return _band(partial(_true_at, probability, np.asarray(truth, bool)), patients)


def precision_recall_band(probability: np.ndarray, truth: np.ndarray, patients: PatientBootstrap) -> list[Place]:
    """Between which ends the precision lies at each of `PLACES` recalls."""
    return _band(partial(_precision_at, probability, np.asarray(truth, bool)), patients)


def _band(score: Callable[[float, np.ndarray], NDArray[np.float64]], patients: PatientBootstrap) -> list[Place]:
    found = []
    for x in PLACES.tolist():
        interval = patients.of_weights(partial(score, x), SHARE)
        found.append(Place(x, *((None, None) if interval is None else (interval.low, interval.high))))
    return found


def _true_at(probability: np.ndarray, truth: np.ndarray, x: float, weights: np.ndarray) -> NDArray[np.float64]:
    false, true = roc(probability, truth, weights)
    told = np.where(false <= x + TOLERANCE, true, 0).max(axis=-1)
    return np.where(np.isnan(false[..., -1] + true[..., -1]), np.nan, told)


def _precision_at(probability: np.ndarray, truth: np.ndarray, x: float, weights: np.ndarray) -> NDArray[np.float64]:
    precision, recall = precision_recall(probability, truth, weights)
    reached = (recall >= x - TOLERANCE) & ~np.isnan(precision)
    first = np.take_along_axis(precision, reached.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.where(reached.any(axis=-1), first, np.nan)
