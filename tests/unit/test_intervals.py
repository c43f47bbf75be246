"""Intervals and agreement."""

import numpy as np
import pytest
from scipy.stats import norm

from covidpipe.metrics import counts, intervals
from covidpipe.metrics.agreement import bias, concordance, limits_of_agreement, mean_absolute_error
from covidpipe.metrics.classification import average_precision, roc_auc
from covidpipe.metrics.intervals import (
    PatientBootstrap,
    auc_interval,
    bootstrap_by_group,
    mean_of_many,
    placements,
    proportion,
    quantile_of_many,
    wilson,
)


def test_wilson_against_published_values():
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 0) is None


def test_bootstrap_draws_patients_not_images():
    rng = np.random.default_rng(1)
    level = rng.normal(0, 1, 20)
    values = np.repeat(level, 50)  # 20 patients, 50 equal slices each
    found = bootstrap_by_group(values, np.repeat(np.arange(20), 50), np.mean, seed=3)
    by_image = bootstrap_by_group(values, np.arange(1000), np.mean, seed=3)
    error = level.std(ddof=1) / np.sqrt(20)
    assert found.high - found.low == pytest.approx(2 * 2.093 * error, rel=0.1)  # Student's t of 19
    assert by_image.high - by_image.low < (found.high - found.low) / 4
    assert found == bootstrap_by_group(values, np.repeat(np.arange(20), 50), np.mean, seed=3)
    assert found.how == "bootstrap of 20 patients"


def test_bootstrap_without_enough_to_draw():
    assert bootstrap_by_group(np.ones(3), np.zeros(3), np.mean) is None
    assert bootstrap_by_group(np.zeros(0), np.zeros(0), np.mean) is None
    assert bootstrap_by_group(np.ones(3), np.arange(3), lambda _: None) is None


def test_few_patients_are_left_out_in_turn():
    values, groups = np.array([1.0, 3.0, 2.0, 6.0]), np.array([0, 0, 1, 2])
    found = bootstrap_by_group(values, groups, np.mean)
    left_out = np.array([4.0, 10 / 3, 2.0])
    half = 4.3027 * np.sqrt(2 / 3 * np.square(left_out - left_out.mean()).sum())
    assert found[:2] == pytest.approx((3 - half, 3 + half), rel=1e-4) and found.how == "jackknife of 3 patients"
    assert bootstrap_by_group(values, groups, np.mean, within=(0.0, 5.0))[:2] == (0.0, 5.0)


def test_patients_that_agree_with_each_other_but_not_with_the_whole():
    """Balanced accuracy of a patient who is all called sick and of one who is all called well is one half each."""
    columns = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)

    def score(sums):
        return counts.balanced_accuracy(counts.Counts(*sums.T))

    assert PatientBootstrap(np.array([0, 0, 0, 1, 1, 1])).of_sums(columns, score) is None
    assert PatientBootstrap(np.arange(6) // 2).of_sums(columns[:, :1] * 0, lambda s: s[:, 0])[:2] == (0, 0)


def test_a_score_that_many_draws_leave_undefined_has_no_interval():
    truth = np.repeat([1, 0, 0, 0, 0, 0], 2)  # one draw in three lacks the only positive patient
    found = bootstrap_by_group(truth, np.arange(12) // 2, lambda rows: 1.0 if rows.any() else None)
    assert found is None


def test_agreement_by_hand():
    pairs = np.array([[10.0, 12.0], [20.0, 17.0], [30.0, 31.0]])
    assert mean_absolute_error(pairs) == pytest.approx(2)
    assert bias(pairs) == pytest.approx(0)
    # means 20 and 20, covariance 380/6 = 190/3, variances 200/3 and 194/3
    assert concordance(pairs) == pytest.approx(2 * 190 / (200 + 194))
    # differences -2, 3, -1: mean 0, standard deviation the square root of 7
    assert limits_of_agreement(pairs) == pytest.approx((-1.96 * 7**0.5, 1.96 * 7**0.5), abs=1e-3)
    assert limits_of_agreement(pairs[:1]) is None
    empty = np.zeros((0, 2))
    assert mean_absolute_error(empty) is bias(empty) is concordance(empty) is None


def test_proportion_of_independent_images_is_wilson():
    success = np.arange(263) < 81
    assert proportion(success, np.arange(263))[:2] == pytest.approx(wilson(81, 263))
    assert proportion(np.zeros(0, bool), np.zeros(0)) is None


def test_proportion_counts_patients_where_images_repeat():
    success = np.repeat([True, False, True, True], 25)
    patients = np.repeat(np.arange(4), 25)
    low, high, how = proportion(success, patients)
    assert how == "Wilson, 4 patients"
    # every patient is all right or all wrong: no more known than from 4 images
    assert low <= wilson(3, 4)[0] and high >= wilson(3, 4)[1]
    # all right: as if each patient were one image; one patient: as if there were one image
    assert proportion(np.ones(100, bool), patients)[:2] == pytest.approx(wilson(4, 4))
    assert proportion(success, np.zeros(100))[:2] == pytest.approx(wilson(0.75, 1))
    # images that do not resemble their patient's others tell nearly as much as so many patients
    alike = proportion(np.arange(400) % 2 == 0, np.repeat(np.arange(100), 4))
    assert alike[:2] == pytest.approx(wilson(200, 400), abs=1e-3)
    # two patients who happen to agree prove no more than two patients can
    lucky = proportion(np.arange(100) % 2 == 0, np.repeat([0, 1], 50))
    assert lucky.low < 0.15 and lucky.high > 0.85


def brute_delong(probability, truth):
    """Area and DeLong's standard error by its definition: every positive against every negative image."""
    x, y = probability[truth], probability[~truth]
    psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    area, m, n = psi.mean(), len(x), len(y)
    variance = psi.mean(axis=1).var(ddof=1) / m + psi.mean(axis=0).var(ddof=1) / n
    return area, np.sqrt(variance)


def brute_obuchowski(probability, truth, groups):
    """Obuchowski's (1997) variance for clusters, by its definition."""
    x, y = probability[truth], probability[~truth]
    psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    area, names = psi.mean(), np.unique(groups)
    v10, v01, gx, gy = psi.mean(axis=1), psi.mean(axis=0), groups[truth], groups[~truth]
    m, n = len(x), len(y)
    ill = [(v10[gx == g] - area).sum() for g in names]
    healthy = [(v01[gy == g] - area).sum() for g in names]
    i10, i01, i = len(set(gx)), len(set(gy)), len(names)
    s10 = i10 / ((i10 - 1) * m) * np.square(ill).sum()
    s01 = i01 / ((i01 - 1) * n) * np.square(healthy).sum()
    s11 = i / (i - 1) * (np.array(ill) * healthy).sum()
    return area, np.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))


def logit_ends(area, error, quantile):
    far = quantile * error / (area * (1 - area))
    return [1 / (1 + np.exp(-(np.log(area / (1 - area)) + side * far))) for side in (-1, 1)]


def test_delong_by_its_definition():
    from scipy.stats import t

    rng = np.random.default_rng(8)
    for _ in range(200):
        n = int(rng.integers(8, 40))
        truth = np.arange(n) < rng.integers(3, n - 3)
        p = np.round(rng.normal(0, 1, n) + truth, 1)  # with ties
        area, error = brute_delong(p, truth)
        assert placements(p, truth)[0] == pytest.approx(area, abs=1e-12)
        assert roc_auc(p, truth) == pytest.approx(area, abs=1e-9)
        found = auc_interval(p, truth, np.arange(n))
        if area < 1:
            assert found.how == "DeLong"
            assert found[:2] == pytest.approx(logit_ends(area, error, t.ppf(0.975, n - 1)), abs=1e-9)
        groups = rng.integers(0, 6, n)
        if min(len(set(groups[truth])), len(set(groups[~truth]))) > 2 and area < 1:
            area, error = brute_obuchowski(p, truth, groups)
            patients = len(set(groups))
            found = auc_interval(p, truth, groups)
            assert found.how == f"DeLong (Obuchowski), {patients} patients"
            assert found[:2] == pytest.approx(logit_ends(area, error, t.ppf(0.975, patients - 1)), abs=1e-9)


def test_a_perfect_auc_is_no_certainty():
    truth = np.arange(20) < 10
    low, high, how = auc_interval(truth.astype(float), truth, np.arange(20))
    assert high == 1 and 0.6 < low < 0.9 and how.startswith("score")
    # by its definition: 1 - area is 1.96 of the standard errors that belong to that area
    spread = low * (1 - low) * (1 + 9 * (1 - low) / (2 - low) + 9 * low / (1 + low)) / 100
    assert 1 - low == pytest.approx(1.959964 * spread**0.5, rel=1e-5)
    worst = auc_interval(-truth.astype(float), truth, np.arange(20))
    assert worst[:2] == pytest.approx((0, 1 - low))
    few = auc_interval(truth.astype(float), truth, np.arange(20) // 2)
    assert few.low < low  # ten patients, not twenty


def test_an_auc_without_patients_to_compare_has_no_interval():
    truth = np.arange(8) < 4
    assert auc_interval(np.arange(8.0), np.ones(8, bool), np.arange(8)) is None
    assert auc_interval(np.arange(8.0), truth, np.arange(8) // 4) is None  # one patient of each kind
    two = np.arange(8) % 2
    assert auc_interval(np.arange(8.0), truth, two) is None and auc_interval(np.arange(8.0), truth, np.arange(8))
    assert auc_interval(np.zeros(8), truth, np.arange(8)) is None  # every probability the same


def test_the_ways_to_resample_agree(monkeypatch):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    n = len(groups)
    p, y = rng.random(n), rng.random(n) < 0.5
    patients = PatientBootstrap(groups, draws=200, seed=4)
    mean = patients.of_rows(p, np.mean)
    assert patients.of_sums(np.c_[p, np.ones(n)], lambda s: counts.ratio(s[:, 0], s[:, 1])) == pytest.approx(mean)
    area = patients.of_rows(np.c_[p, y], lambda rows: float(average_precision(rows[:, 0], rows[:, 1] > 0)))
    assert patients.of_weights(lambda w: average_precision(p, y, w)) == pytest.approx(area)
    monkeypatch.setattr(intervals, "CHUNK", 500)  # a few draws at a time: memory stays flat, the draws are the same
    streamed = PatientBootstrap(groups, draws=200, seed=4).of_weights(lambda w: average_precision(p, y, w))
    assert streamed == pytest.approx(area)
    assert patients.of_sums(np.ones((n, 1)), lambda s: s[:, 0] * np.nan) is None


R = 1000


def share_covered(intervals, truth):
    truth = np.broadcast_to(truth, len(intervals))
    return np.mean([low <= wanted <= high for (low, high, *_), wanted in zip(intervals, truth, strict=True)])


def test_wilson_covers():
    rng = np.random.default_rng(20)
    truth = rng.uniform(0.5, 0.95, R)  # for one single share the cover of any such interval jumps with n
    assert 0.93 <= share_covered([wilson(k, 60) for k in rng.binomial(60, truth)], truth) <= 0.97


def test_wilson_of_patients_covers_and_that_of_images_does_not():
    rng = np.random.default_rng(21)
    groups = np.repeat(np.arange(40), rng.integers(1, 20, 40))
    success = [rng.random(len(groups)) < rng.beta(5.6, 2.4, 40)[groups] for _ in range(R)]
    assert 0.93 <= share_covered([proportion(s, groups) for s in success], 0.7) <= 0.97
    assert share_covered([wilson(s.sum(), len(s)) for s in success], 0.7) < 0.85


@pytest.mark.parametrize(("patients", "images", "alike"), [(80, 1, 0.0), (40, 6, 0.4)])
def test_delong_covers(patients, images, alike):
    rng = np.random.default_rng(22)
    groups = np.repeat(np.arange(patients), images)
    area = norm.cdf(1.4 / 2**0.5)
    found = []
    for _ in range(R):
        truth = rng.random(len(groups)) < 0.5
        own = rng.normal(0, alike**0.5, patients)[groups]
        found.append(auc_interval(own + rng.normal(0, (1 - alike) ** 0.5, len(groups)) + 1.4 * truth, truth, groups))
    assert 0.93 <= share_covered(found, area) <= 0.97


def test_bootstrap_by_patient_covers_and_that_of_images_does_not():
    rng = np.random.default_rng(23)
    groups = np.repeat(np.arange(40), rng.integers(1, 12, 40))
    n = len(groups)
    by_patient, by_image = PatientBootstrap(groups, seed=1), PatientBootstrap(np.arange(n), draws=200, seed=1)
    found, too_narrow = [], []
    for trial in range(R):
        columns = np.c_[rng.normal(0, 1, 40)[groups] + rng.normal(0, 1, n), np.ones(n)]
        found.append(by_patient.of_sums(columns, lambda s: s[:, 0] / s[:, 1]))
        if trial < 200:
            too_narrow.append(by_image.of_sums(columns, lambda s: s[:, 0] / s[:, 1]))
    assert 0.93 <= share_covered(found, 0.0) <= 0.97
    assert share_covered(too_narrow, 0.0) < 0.8


@pytest.mark.parametrize("images", [1, 8])
def test_many_patients_have_the_intervals_that_drawing_them_gives(images):
    rng = np.random.default_rng(4)
    level = np.where(rng.random(800) < 0.3, 0.0, 100 * rng.beta(0.6, 4, 800))  # three tenths without infection
    values = np.clip(np.repeat(level, images) * rng.gamma(2, 0.5, 800 * images), 0, 100)
    patients = np.repeat(np.arange(800), images)
    drawn = PatientBootstrap(patients)
    sums = np.stack([values, np.ones(len(values))], axis=1)
    found = mean_of_many(values, patients, (0, 100))
    assert found.how == "normal, 800 patients"
    wanted = drawn.of_sums(sums, lambda found: found[:, 0] / found[:, 1])
    assert found[:2] == pytest.approx(wanted[:2], abs=0.1 * (wanted.high - wanted.low))
    for share in (0.5, 0.75, 0.9):
        found = quantile_of_many(values, patients, share)
        wanted = drawn.of_rows(values, lambda rows, share=share: np.quantile(rows, share))
        assert found[:2] == pytest.approx(wanted[:2], abs=0.15 * (wanted.high - wanted.low))
    assert quantile_of_many(values, patients, 0.1) == (0, 0, "Woodruff, 800 patients")


def test_the_mean_of_many_stays_within_what_it_can_be():
    values = np.zeros(1000)
    values[0] = 1
    assert mean_of_many(values, np.arange(1000), (0, 100)).low == 0
    assert mean_of_many(values, np.arange(1000)).low < 0
