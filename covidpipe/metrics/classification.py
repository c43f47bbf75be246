"""Scores of labels and probabilities. Undefined is None: one class alone has no AUC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from covidpipe.metrics import counts
from covidpipe.metrics.counts import Counts, defined, ratio


def confusion(found: np.ndarray, truth: np.ndarray) -> Counts:
    """True positives, false positives, true negatives, false negatives, of labels or of pixels.

    >>> tuple(confusion(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool)))
    (1, 1, 1, 1)
    """
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    tp = int(np.count_nonzero(found & truth))
    fp, fn = int(np.count_nonzero(found)) - tp, int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, truth.size - tp - fp - fn, fn)


def balanced_accuracy(found: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean of sensitivity and specificity, or None if a class is absent."""
    return defined(counts.balanced_accuracy(confusion(found, truth)))


def roc_auc(probability: np.ndarray, truth: np.ndarray) -> float | None:
    """Area under the ROC curve, or None if only one class is present."""
    truth = np.asarray(truth, bool)
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, probability))


def roc_auc_within(
    probability: np.ndarray, truth: np.ndarray, strata: np.ndarray, weights: np.ndarray | None = None
) -> NDArray[np.float64]:
    """Area under the ROC curve where images are compared with those of their own stratum alone.

    It is the share of pairs, one positive and one negative image of one stratum, that are in the right order; of equals
    one half counts. Where each stratum was answered by another network, whose probabilities may be of another scale,
    it tells how good such networks are, as `roc_auc` of all together does not.

    Parameters
    ----------
    probability : ndarray, (n,)
    truth : ndarray of bool, (n,)
    strata : ndarray, (n,)
    weights : ndarray, (..., n), optional
        How often each image counts, such as in each of many bootstrap draws.

    Returns
    -------
    ndarray of float, (...)
        NaN where no stratum has both classes.

    Examples
    --------
    >>> said, truth = np.array([0.2, 0.1, 0.9, 0.8]), np.array([1, 0, 1, 0], bool)
    >>> roc_auc_within(said, truth, np.array([1, 1, 2, 2])).tolist(), roc_auc(said, truth)
    (1.0, 0.75)
    """
    probability, truth, strata = np.asarray(probability), np.asarray(truth, bool), np.asarray(strata)
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    right = pairs = np.zeros(weights.shape[:-1])
    for stratum in np.unique(strata):
        here = strata == stratum
        ill, healthy = weights[..., here] * truth[here], weights[..., here] * ~truth[here]
        hits, falses = called_of(probability[here], ill, healthy)
        before = hits - np.diff(hits, axis=-1, prepend=0)
        right = right + (np.diff(falses, axis=-1, prepend=0) * (before + hits) / 2).sum(axis=-1)
        pairs = pairs + ill.sum(axis=-1) * healthy.sum(axis=-1)
    return ratio(right, pairs)


def cross_entropy(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels."""
    p = np.clip(np.asarray(probability, float), 1e-7, 1 - 1e-7)
    wanted = np.asarray(truth, bool)
    return float(-np.mean(np.where(wanted, np.log(p), np.log(1 - p))))


def precision_recall(
    probability: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at every distinct threshold, from the strictest.

    Parameters
    ----------
    probability : ndarray, (n,)
    truth : ndarray of bool, (n,)
    weights : ndarray, (..., n), optional
        How often each image counts, such as in each of many bootstrap draws.

    Returns
    -------
    precision, recall : ndarray, (..., thresholds)
        NaN where nothing is called positive, or nothing is.
    """
    truth = np.asarray(truth, bool)
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, float)
    hits, called = called_of(probability, weights * truth, weights)
    return ratio(hits, called), ratio(hits, (weights * truth).sum(axis=-1, keepdims=True))


def called_of(probability: np.ndarray, *counts: np.ndarray) -> list[NDArray[np.float64]]:
    """How much of each of `counts` is called positive at every distinct threshold, from the strictest.

    Parameters
    ----------
    probability : ndarray, (n,)
    *counts : ndarray, (..., n)
        What each image counts.

    Returns
    -------
    list of ndarray, (..., thresholds)

    Examples
    --------
    >>> [called.tolist() for called in called_of(np.array([0.4, 0.9, 0.4]), np.array([1.0, 1.0, 1.0]))]
    [[1.0, 3.0]]
    """
    probability = np.asarray(probability)
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.diff(probability[order], append=np.nan))  # of each run of equal probabilities
    return [np.cumsum(count[..., order], axis=-1)[..., last] for count in counts]


def average_precision(
    probability: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> NDArray[np.float64]:
    """Area under the precision-recall curve as steps, sum of (recall - recall before) x precision.

    This is scikit-learn's estimator; it does not interpolate, which would be too friendly (Davis & Goadrich 2006).
    Parameters are those of `precision_recall`; the result is NaN without a positive image.

    >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1], bool)).round(6).tolist()
    0.833333
    """
    precision, recall = precision_recall(probability, truth, weights)
    gained = np.diff(recall, axis=-1, prepend=0)
    return np.where(gained == 0, 0, gained * precision).sum(axis=-1)


def pr_auc_trapezoid(
    probability: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None
) -> NDArray[np.float64]:
    """Area under the precision-recall curve by trapezoids: what MATLAB's ``perfcurve`` gives for tpr against prec.

    Khan et al.'s AUC column is most likely this one. It interpolates, so `average_precision` is the one to quote. Our
    reading: at recall 0, where precision is 0 / 0, it is that of the strictest threshold.
    """
    precision, recall = precision_recall(probability, truth, weights)
    filled = np.where(np.isnan(precision), np.inf, precision)
    # a draw without the images of the strictest thresholds has no precision there: that of the next one stands in
    first = np.take_along_axis(filled, np.isfinite(filled).argmax(axis=-1)[..., None], axis=-1)
    filled = np.where(np.isinf(filled), first, filled)
    width = np.diff(recall, axis=-1, prepend=0)
    before = np.concatenate([first, filled[..., :-1]], axis=-1)
    return (width * (filled + before) / 2).sum(axis=-1)
