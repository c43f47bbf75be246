"""Agreement of two masks by pixels. Undefined is None, by the rule for empty masks in `covidpipe.metrics.counts`."""

from __future__ import annotations

import numpy as np

from covidpipe.metrics import counts
from covidpipe.metrics.counts import Counts, defined


def overlap(found: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """Pixels in both masks, in `found`, in `truth`: everything Dice and IoU are made of.

    Parameters
    ----------
    found, truth : ndarray of bool, any equal shape

    Returns
    -------
    tuple of int
    """
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    return int(np.count_nonzero(found & truth)), int(np.count_nonzero(found)), int(np.count_nonzero(truth))


def dice(found: np.ndarray, truth: np.ndarray) -> float | None:
    """Dice similarity 2 |A and B| / (|A| + |B|), or None if both masks are empty.

    >>> dice(np.array([1, 1, 0], bool), np.array([1, 0, 0], bool))
    0.6666666666666666
    """
    both, found_px, truth_px = overlap(found, truth)
    return dice_of_counts(both, found_px, truth_px)


def dice_of_counts(both: int, found_px: int, truth_px: int) -> float | None:
    """Dice from pixel counts, which may be sums over many images (pooled Dice)."""
    return defined(counts.f_score(_without_background(both, found_px, truth_px)))


def iou_of_counts(both: int, found_px: int, truth_px: int) -> float | None:
    """Intersection over union from pixel counts, or None if both masks are empty."""
    return defined(counts.iou(_without_background(both, found_px, truth_px)))


def _without_background(both: int, found_px: int, truth_px: int) -> Counts:
    return Counts(both, found_px - both, 0, truth_px - both)
