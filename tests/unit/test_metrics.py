"""Scores on drawn masks, computed by hand, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from covidpipe.metrics import classification as c
from covidpipe.metrics import counts
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
def test_dice_goes_with_iou_and_is_blind_to_order_and_flips(found, truth):
    value = s.dice(found, truth)
    if value is None:
        assert not found.any() and not truth.any()
        return
    iou = s.iou_of_counts(*s.overlap(found, truth))
    assert value == pytest.approx(2 * iou / (1 + iou), abs=1e-12)
    assert 0 <= iou <= value <= 1
    assert s.dice(truth, found) == s.dice(found[::-1], truth[::-1]) == s.dice(found.T, truth.T) == value


DRAWN = [TRUTH, HALF, EMPTY, ~TRUTH, ~EMPTY]
SCORES = (
    counts.accuracy,
    counts.balanced_accuracy,
    counts.recall,
    counts.specificity,
    counts.precision,
    counts.negative_predictive_value,
    counts.f_score,
    counts.iou,
    counts.mcc,
    counts.mean_iou,
    counts.weighted_iou,
)


def sklearn_scores(found, truth):
    """The same scores by scikit-learn (MCC by NumPy, as a correlation), a column for each case, NaN for 0 / 0."""
    kinds = {"average": None, "zero_division": np.nan}
    precision, recall, f, support = sk.precision_recall_fscore_support(truth, found, **kinds)
    predictive, left, g, absent = sk.precision_recall_fscore_support(~truth, ~found, **kinds)
    # the Jaccard score has no such option; it is 0 / 0 where F is
    iou = np.where(np.isnan(f), np.nan, sk.jaccard_score(truth, found, average=None, zero_division=0))
    background = np.where(np.isnan(g), np.nan, sk.jaccard_score(~truth, ~found, average=None, zero_division=0))
    with np.errstate(invalid="ignore"):
        mcc = [np.corrcoef(one, other)[0, 1] for one, other in zip(found.T, truth.T, strict=True)]
    yield counts.accuracy, (found == truth).mean(axis=0)
    yield counts.balanced_accuracy, (recall + left) / 2
    yield counts.recall, recall
    yield counts.specificity, left
    yield counts.precision, precision
    yield counts.negative_predictive_value, predictive
    yield counts.f_score, f
    yield counts.iou, iou
    yield counts.mcc, mcc
    yield counts.mean_iou, (iou + background) / 2
    yield counts.weighted_iou, (support * iou + absent * background) / (support + absent)


def test_every_count_score_agrees_with_sklearn():
    """1,000 random and all drawn cases."""
    rng = np.random.default_rng(3)
    drawn = np.array([(one.ravel(), other.ravel()) for one in DRAWN for other in DRAWN])
    random = np.array([(rng.random(30) < rng.random(), rng.random(30) < rng.random()) for _ in range(1000)])
    for cases in (drawn, random):
        told = [c.confusion(found, truth) for found, truth in cases]
        theirs = sk.multilabel_confusion_matrix(cases[:, 1].T, cases[:, 0].T).reshape(-1, 4)
        assert [(tn, fp, fn, tp) for tp, fp, tn, fn in told] == [tuple(row) for row in theirs]
        pixels = counts.Counts(*np.array(told).T)
        agreed = dict(sklearn_scores(cases[:, 0].T, cases[:, 1].T))
        assert set(agreed) == set(SCORES)
        for score, wanted in agreed.items():
            np.testing.assert_allclose(score(pixels), wanted, atol=1e-9, err_msg=score.__name__)


def test_zero_by_zero_is_undefined():
    nothing = counts.Counts(0, 0, 0, 0)
    assert all(counts.defined(score(nothing)) is None for score in SCORES)
    all_healthy = c.confusion(np.zeros(4, bool), np.zeros(4, bool))
    assert counts.defined(counts.specificity(all_healthy)) == counts.defined(counts.accuracy(all_healthy)) == 1
    assert counts.defined(counts.mcc(all_healthy)) is counts.defined(counts.f_score(all_healthy)) is None


def test_scores_of_table_4_are_those_of_the_released_network():
    """Khan et al.'s table 4 and 5, SA-CoV-RASeg: the row-wise rates and the IoUs belong to 38 % infected pixels."""
    infected = 0.383
    tp, fp = 99.19 * infected, 0.30 * (1 - infected)
    pixels = counts.Counts(tp, fp, 100 * (1 - infected) - fp, 100 * infected - tp)
    assert counts.iou(pixels) == pytest.approx(0.9873, abs=5e-4)
    assert counts.iou(counts.of_background(pixels)) == pytest.approx(0.9920, abs=5e-4)
    assert counts.weighted_iou(pixels) == pytest.approx(0.9902, abs=5e-4)
    assert counts.mean_iou(pixels) == pytest.approx(0.9897, abs=5e-4)
    assert counts.accuracy(pixels) == pytest.approx(0.9951, abs=5e-4)
    assert counts.balanced_accuracy(pixels) == pytest.approx(0.9945, abs=5e-4)
    assert counts.f_score(pixels) == pytest.approx(0.9936, abs=5e-4)  # .953 is printed


def test_areas_agree_with_sklearn():
    rng = np.random.default_rng(4)
    for _ in range(300):
        p = rng.integers(0, rng.integers(2, 50), 40) / 50  # with ties
        y = rng.random(40) < rng.uniform(0.1, 0.9)
        if y.any():
            assert c.average_precision(p, y) == pytest.approx(sk.average_precision_score(y, p), abs=1e-9)
            precision, recall, _ = sk.precision_recall_curve(y, p)
            precision[-1] = precision[-2]  # scikit-learn puts 1 where nothing is called positive
            assert c.pr_auc_trapezoid(p, y) == pytest.approx(sk.auc(recall, precision), abs=1e-9)


def test_areas_of_many_draws_at_once_are_those_of_each():
    rng = np.random.default_rng(5)
    p, y = rng.integers(0, 9, 25) / 9, rng.random(25) < 0.4
    draws = rng.multinomial(25, np.full(25, 1 / 25), 40)
    for area in (c.average_precision, c.pr_auc_trapezoid):
        each = [area(np.repeat(p, drawn), np.repeat(y, drawn)) for drawn in draws]
        np.testing.assert_allclose(area(p, y, draws), each, atol=1e-12)
    assert np.isnan(c.average_precision(p, np.zeros(25, bool)))


def test_area_within_strata_counts_the_pairs_of_each():
    rng = np.random.default_rng(6)
    for _ in range(50):
        p, y, strata = rng.integers(0, 9, 25) / 9, rng.random(25) < 0.4, rng.integers(0, 3, 25)
        pairs = [
            (p[i] > p[j]) + 0.5 * (p[i] == p[j])
            for i in np.flatnonzero(y)
            for j in np.flatnonzero(~y)
            if strata[i] == strata[j]
        ]
        assert c.roc_auc_within(p, y, strata) == pytest.approx(np.mean(pairs))
        assert c.roc_auc_within(p, y, np.zeros(25)) == pytest.approx(c.roc_auc(p, y))
        draws = rng.multinomial(25, np.full(25, 1 / 25), 10)
        each = [c.roc_auc_within(np.repeat(p, d), np.repeat(y, d), np.repeat(strata, d)) for d in draws]
        np.testing.assert_allclose(c.roc_auc_within(p, y, strata, draws), each, atol=1e-12)
    assert np.isnan(c.roc_auc_within(p, y, np.where(y, 1, 2)))


def test_auc_of_one_class_is_undefined():
    assert c.roc_auc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert c.roc_auc(np.array([0.1, 0.9, 0.5]), np.array([0, 1, 0])) == 1.0


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=20))
def test_cross_entropy_agrees_with_sklearn(pairs):
    p = np.array([a for a, _ in pairs])
    y = np.array([b for _, b in pairs])
    assert c.cross_entropy(p, y) == pytest.approx(sk.log_loss(y, np.c_[1 - p, p], labels=[False, True]), rel=1e-6)
