"""Scores of labels and probabilities. Undefined is None: one class alone has no AUC."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def confusion(found: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, int]:
    """True positives, false positives, true negatives, false negatives.

    >>> confusion(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool))
    (1, 1, 1, 1)
    """
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    return (
        int(np.count_nonzero(found & truth)),
        int(np.count_nonzero(found & ~truth)),
        int(np.count_nonzero(~found & ~truth)),
        int(np.count_nonzero(~found & truth)),
    )


def balanced_accuracy(found: np.ndarray, truth: np.ndarray) -> float | None:
    """Mean of sensitivity and specificity, or None if a class is absent."""
    tp, fp, tn, fn = confusion(found, truth)
    if tp + fn == 0 or tn + fp == 0:
        return None
    return (tp / (tp + fn) + tn / (tn + fp)) / 2


def roc_auc(probability: np.ndarray, truth: np.ndarray) -> float | None:
    """Area under the ROC curve, or None if only one class is present."""
    truth = np.asarray(truth, bool)
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, probability))


def cross_entropy(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood of the labels."""
    p = np.clip(np.asarray(probability, float), 1e-7, 1 - 1e-7)
    wanted = np.asarray(truth, bool)
    return float(-np.mean(np.where(wanted, np.log(p), np.log(1 - p))))
