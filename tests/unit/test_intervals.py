"""Intervals and agreement."""

import numpy as np
import pytest

from covidpipe.metrics.agreement import bias, concordance, mean_absolute_error
from covidpipe.metrics.intervals import bootstrap_by_group, wilson


def test_wilson_against_published_values():
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 0) is None


def test_bootstrap_draws_patients_not_images():
    rng = np.random.default_rng(1)
    level = rng.normal(0, 1, 20)
    values = np.repeat(level, 50)  # 20 patients, 50 equal slices each
    low, high = bootstrap_by_group(values, np.repeat(np.arange(20), 50), np.mean, seed=3)
    by_image = bootstrap_by_group(values, np.arange(1000), np.mean, seed=3)
    error = level.std() / np.sqrt(20)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert by_image[1] - by_image[0] < (high - low) / 4
    assert (low, high) == bootstrap_by_group(values, np.repeat(np.arange(20), 50), np.mean, seed=3)


def test_bootstrap_without_enough_to_draw():
    assert bootstrap_by_group(np.ones(3), np.zeros(3), np.mean) is None
    assert bootstrap_by_group(np.zeros(0), np.zeros(0), np.mean) is None
    assert bootstrap_by_group(np.ones(3), np.arange(3), lambda _: None) is None


def test_agreement_by_hand():
    pairs = np.array([[10.0, 12.0], [20.0, 17.0], [30.0, 31.0]])
    assert mean_absolute_error(pairs) == pytest.approx(2)
    assert bias(pairs) == pytest.approx(0)
    # means 20 and 20, covariance 380/6 = 190/3, variances 200/3 and 194/3
    assert concordance(pairs) == pytest.approx(2 * 190 / (200 + 194))
    empty = np.zeros((0, 2))
    assert mean_absolute_error(empty) is bias(empty) is concordance(empty) is None
