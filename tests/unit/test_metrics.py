"""Scores on drawn masks, computed by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from covidpipe.metrics import classification as c
from covidpipe.metrics import segmentation as s


def drawing(*rows: str) -> np.ndarray:
    return np.array([[mark == "#" for mark in row] for row in rows])


TRUTH = drawing("....", ".##.", ".##.", "....")
HALF = drawing("....", ".##.", "....", "....")
EMPTY = drawing("....", "....", "....", "....")


def test_dice_and_iou_of_a_half_found_square():
    assert s.overlap(HALF, TRUTH) == (2, 2, 4)
    assert s.dice(HALF, TRUTH) == pytest.approx(4 / 6)
    assert s.iou_of_counts(2, 2, 4) == pytest.approx(0.5)


def test_both_empty_is_undefined_and_one_empty_is_zero():
    assert s.dice(EMPTY, EMPTY) is None
    assert s.iou_of_counts(0, 0, 0) is None
    assert s.dice(EMPTY, TRUTH) == 0.0
    assert s.dice(TRUTH, EMPTY) == 0.0


masks = hnp.arrays(bool, (5, 6))


@given(masks, masks)
def test_dice_is_f1_and_never_below_iou(found, truth):
    value = s.dice(found, truth)
    if value is None:
        assert not found.any() and not truth.any()
    else:
        assert value == pytest.approx(sk.f1_score(truth.ravel(), found.ravel(), zero_division=0))
        assert value >= s.iou_of_counts(*s.overlap(found, truth))


@given(hnp.arrays(bool, 20), hnp.arrays(bool, 20))
def test_confusion_and_balanced_accuracy_agree_with_sklearn(found, truth):
    tn, fp, fn, tp = sk.confusion_matrix(truth, found, labels=[False, True]).ravel()
    assert c.confusion(found, truth) == (tp, fp, tn, fn)
    if truth.any() and not truth.all():
        assert c.balanced_accuracy(found, truth) == pytest.approx(sk.balanced_accuracy_score(truth, found))
    else:
        assert c.balanced_accuracy(found, truth) is None


def test_auc_of_one_class_is_undefined():
    assert c.roc_auc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert c.roc_auc(np.array([0.1, 0.9, 0.5]), np.array([0, 1, 0])) == 1.0


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=20))
def test_cross_entropy_agrees_with_sklearn(pairs):
    p = np.array([a for a, _ in pairs])
    y = np.array([b for _, b in pairs])
    assert c.cross_entropy(p, y) == pytest.approx(sk.log_loss(y, np.c_[1 - p, p], labels=[False, True]), rel=1e-6)
