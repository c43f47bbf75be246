"""Brier score, calibration error and reliability by hand; a temperature that was put in is found again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from covidpipe.inference.engine import LoadedModel
from covidpipe.io.files import to_table
from covidpipe.metrics import calibration as c
from covidpipe.metrics.temperature import temper
from covidpipe.schemas import RELIABILITY

SAID = np.repeat([0.1, 0.3, 0.6, 0.9], 10)
TRUTH = np.concatenate([np.arange(10) < k for k in (0, 3, 8, 9)])


def error(probability, truth):
    return float(c.error_of_columns(c.calibration_columns(probability, truth).sum(axis=0)))


def test_scores_by_hand():
    assert c.squared_errors(np.array([0.8, 0.4]), np.array([1, 1], bool)) == pytest.approx([0.04, 0.36])
    assert c.squared_errors(SAID, TRUTH).mean() == pytest.approx(sk.brier_score_loss(TRUTH, SAID), abs=1e-12)
    # four bins of ten: .1 said and 0 so, .3 and .3, .6 and .8, .9 and .9
    assert error(SAID, TRUTH) == pytest.approx((0.1 + 0 + 0.2 + 0) / 4)
    rows = c.reliability(SAID, TRUTH, np.arange(40))
    assert [(row["k"], row["n"]) for row in rows] == [(0, 10), (3, 10), (8, 10), (9, 10)]
    assert [row["mean_probability"] for row in rows] == pytest.approx([0.1, 0.3, 0.6, 0.9])
    assert rows[0]["high"] == pytest.approx(0.2775, abs=1e-4) and rows[0]["interval"] == "Wilson"
    to_table([{**row, "subject": "net", "temperature": 1.0} for row in rows], RELIABILITY)


def test_bins_agree_with_sklearn_where_nothing_is_tied():
    rng = np.random.default_rng(0)
    p = rng.random(200)
    y = rng.random(200) < p
    share, said = calibration_curve(y, p, n_bins=10, strategy="quantile")
    rows = c.reliability(p, y, np.arange(200))
    assert [row["share"] for row in rows] == pytest.approx(share)
    assert [row["mean_probability"] for row in rows] == pytest.approx(said)
    assert error(p, y) == pytest.approx(np.abs(share - said).mean())


def test_equal_probabilities_share_a_bin_and_few_images_make_few_bins():
    assert set(c.bins_of(np.full(50, 0.4))) == {0}
    assert c.bins_of(np.array([])).size == 0 and c.reliability(np.array([]), np.array([], bool), np.array([])) == []
    assert set(c.bins_of(np.arange(19))) == {0} and set(c.bins_of(np.arange(20))) == {0, 1}
    tied = np.repeat([0.1, 0.2], [95, 5])
    assert [c.bins_of(tied)[tied == p].tolist() for p in (0.1, 0.2)] == [[0] * 95, [1] * 5]


def test_the_temperature_that_was_put_in_is_found():
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-odds))
    for temperature in (0.5, 1.0, 3.0):
        said = 1 / (1 + np.exp(-odds * temperature))  # too sure of itself if above 1
        found = c.fit_temperature(said, truth)
        assert found == pytest.approx(temperature, rel=0.05)
        mended = temper(said, found)
        assert error(mended, truth) < 0.012 and error(mended, truth) <= error(said, truth) + 1e-3
        assert sk.roc_auc_score(truth, mended) == pytest.approx(sk.roc_auc_score(truth, said), abs=1e-12)


def test_a_part_that_tells_nothing_of_the_spread():
    assert c.fit_temperature(np.array([0.2, 0.9]), np.array([True, True])) == 1
    # told apart without a fault: the labels are not certain, so neither is the answer
    perfect = np.repeat([0.4, 0.6], 20)
    mended = temper(perfect, c.fit_temperature(perfect, perfect > 0.5))
    assert mended[[0, -1]] == pytest.approx([1 / 22, 21 / 22], abs=1e-3)
    sure = c.fit_temperature(np.array([0.0, 1.0] * 20), np.array([False, True] * 20))
    assert np.isfinite(sure) and 1 / 20 <= sure <= 20


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30), st.floats(0.05, 20))
def test_a_temperature_keeps_order_bounds_and_its_fixed_points(values, temperature):
    said = np.sort(np.array(values, np.float32))
    mended = temper(said, temperature)
    assert (np.diff(mended) >= 0).all() and mended.min() >= 0 and mended.max() <= 1
    assert np.array_equal(temper(said, 1.0), said)
    assert temper([0.0, 0.5, 1.0], temperature) == pytest.approx([0.0, 0.5, 1.0])
    assert ((mended >= temper(0.3, temperature)) == (said.astype(float) >= 0.3)).all()


def test_inference_applies_the_temperature_and_does_without():
    """A network that says the mean grey level: with a temperature the odds move, the answers stay."""
    network = SimpleNamespace(
        output_shape=(None, 2),
        predict_on_batch=lambda images: np.stack([1 - images.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3))], -1),
    )
    images = np.broadcast_to(np.arange(0, 256, 5, dtype=np.uint8)[:, None, None], (52, 4, 4))
    recipe = {"task": "classify", "image_size": 4, "channels": 1}
    plain, mended = (
        LoadedModel({**recipe, **extra}, "net", {}, network, "keras") for extra in ({}, {"temperature": 3.0})
    )
    said = plain.predict(images)
    assert plain.temperature == 1 and said == pytest.approx(images[:, 0, 0] / 255, abs=1e-6)
    assert np.array_equal(mended.predict(images, calibrated=False), said)
    assert mended.predict(images) == pytest.approx(temper(said, 3.0), abs=1e-6)
    assert mended.predict(images).dtype == np.float32
    for threshold in (0.2, 0.5, 0.85):
        assert np.array_equal(mended.predict(images) >= float(temper(threshold, 3.0)), said >= threshold)
