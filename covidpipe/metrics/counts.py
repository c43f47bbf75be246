"""Scores made of true and false positives and negatives, each written once, for labels and for pixels alike.

The four counts may be numbers or arrays of any one shape (such as one entry for each patient or bootstrap draw). A
score whose denominator is zero is undefined: NaN here, so that arrays stay arrays; `defined` turns it into None.

**Empty masks**, the one rule of loss, metrics and tables: where there is nothing to find and nothing was found, there
is nothing to score; the score is undefined (null), is left out of every mean, and such images are told apart
(``..._where_absent``). Where only one of the two is empty, every overlap is 0 and a distance is undefined; how often
that happens is told (``missed_where_present``, ``marked_where_absent``). A loss has to be a number, so `dice_loss`
takes the best one, 0, for a correct empty answer; a percentage of a lung that is not there is null, of a lung without
lesion 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Counts(NamedTuple):
    """True positives, false positives, true negatives, false negatives."""

    tp: Any
    fp: Any
    tn: Any
    fn: Any


def defined(value: Any) -> float | None:
    """A number, or None for NaN.

    >>> defined(0.5), defined(float("nan"))
    (0.5, None)
    """
    return None if np.isnan(value) else float(value)


def ratio(numerator: Any, denominator: Any) -> NDArray[np.float64]:
    """numerator / denominator, NaN where the denominator is 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, nan]
    """
    above, below = np.asarray(numerator, float), np.asarray(denominator, float)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def accuracy(c: Counts) -> NDArray[np.float64]:
    """Share of right answers; over pixels this is MATLAB's GlobalAccuracy."""
    return ratio(c.tp + c.tn, c.tp + c.fp + c.tn + c.fn)


def recall(c: Counts) -> NDArray[np.float64]:
    """Sensitivity: share of the positives that were found; over pixels, MATLAB's Accuracy of the foreground."""
    return ratio(c.tp, c.tp + c.fn)


def specificity(c: Counts) -> NDArray[np.float64]:
    """Share of the negatives that were left alone; over pixels, MATLAB's Accuracy of the background."""
    return ratio(c.tn, c.tn + c.fp)


def precision(c: Counts) -> NDArray[np.float64]:
    """Share of what was called positive that is."""
    return ratio(c.tp, c.tp + c.fp)


def negative_predictive_value(c: Counts) -> NDArray[np.float64]:
    """Share of what was called negative that is."""
    return ratio(c.tn, c.tn + c.fn)


def balanced_accuracy(c: Counts) -> NDArray[np.float64]:
    """Mean of sensitivity and specificity; over pixels, MATLAB's MeanAccuracy."""
    return (recall(c) + specificity(c)) / 2


def f_score(c: Counts) -> NDArray[np.float64]:
    """F1, the harmonic mean of precision and recall; over pixels the same number is called Dice."""
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def iou(c: Counts) -> NDArray[np.float64]:
    """Intersection over union (Jaccard) of the foreground."""
    return ratio(c.tp, c.tp + c.fp + c.fn)


def of_background(c: Counts) -> Counts:
    """The same answers with background as the class that is looked for."""
    return Counts(c.tn, c.fn, c.tp, c.fp)


def mean_iou(c: Counts) -> NDArray[np.float64]:
    """Mean of the IoU of foreground and background (MATLAB's MeanIoU); undefined if either is."""
    return (iou(c) + iou(of_background(c))) / 2


def weighted_iou(c: Counts) -> NDArray[np.float64]:
    """IoU of foreground and background weighted by their share of the true pixels (MATLAB's WeightedIoU).

    Accuracy weighted in the same way is `accuracy` itself.
    """
    share = ratio(c.tp + c.fn, c.tp + c.fp + c.tn + c.fn)
    return share * iou(c) + (1 - share) * iou(of_background(c))


def mcc(c: Counts) -> NDArray[np.float64]:
    """Matthews' correlation coefficient, undefined where a class is absent from the truth or from the answers.

    (Khan et al.'s equation 15 prints FP + FN under the root where TP + FN is meant.)
    """
    tp, fp, tn, fn = (np.asarray(n, float) for n in c)
    root = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return ratio(tp * tn - fp * fn, root)
