"""Intervals of percentages: by hand, and how often they hold the truth when patients are drawn again and again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from covidpipe.quantify.conformal import (
    EDGES,
    Calibration,
    calibrations_of,
    coverage,
    ends,
    errors,
    joined_ranges,
    largest_error,
    patients_needed,
    range_of,
)


def calibration(found, true, patients, datasets=None):
    return Calibration({}, {}, tuple(found), tuple(true), tuple(patients), tuple(datasets or ["d"] * len(found)))


def draw(rng, patients, images=(1, 12), alike=0.7):
    """Patients of `images` slices each: whose errors are large or small, and of one sign, more or less together."""
    rows = []
    for number in range(patients):
        n = int(rng.integers(*images)) if images[0] < images[1] else images[0]
        own, habit = rng.gamma(1.5, 0.25), rng.normal()
        found = np.where(rng.random(n) < 0.2, 0.0, 100 * np.clip(rng.beta(1, 5, n) + 0.02 * own, 0, 1))
        off = 0.12 * own * (alike * habit + math.sqrt(1 - alike**2) * rng.normal(size=n))
        true = 100 * np.sin(np.clip(np.arcsin(np.sqrt(found / 100)) + off, 0, math.pi / 2)) ** 2
        rows += [(f, t, number) for f, t in zip(found.tolist(), true.tolist(), strict=True)]
    return list(zip(*rows, strict=True))


def test_the_quantile_of_nine_patients_by_hand():
    scores, patients = np.array([3, 1, 2, 9, 8, 7, 4, 5, 6.0]), np.arange(9)
    assert largest_error(scores, patients, 0.9) == 9  # 9 of 10 patients: the largest of all
    assert largest_error(scores, patients, 0.8) == 8
    assert largest_error(scores, patients, 0.5) == 5
    assert largest_error(scores, patients, 0.91) == math.inf
    assert largest_error(scores[:8], patients[:8], 0.9) == math.inf


def test_a_patient_of_many_images_weighs_no_more_than_one_of_few():
    # 100 good images of one patient, one bad image each of three: a half of four patients and a worst one is 2.5 of 5
    scores = np.array([*[0.0] * 100, 1.0, 2.0, 3.0])
    patients = np.array([*[0] * 100, 1, 2, 3])
    assert largest_error(scores, patients, 0.2) == 0
    assert largest_error(scores, patients, 0.5) == 2
    assert largest_error(scores, patients, 0.8) == 3
    # of a patient with one good and one bad image, half a patient stays within the good one
    assert largest_error(np.array([0.0, 5.0, 1.0]), np.array([0, 0, 1]), 0.5) == 1
    assert largest_error(np.array([0.0, 5.0, 1.0]), np.array([0, 0, 1]), 1 / 6) == 0


def test_ends_are_the_percentages_of_that_error_and_stay_within_bounds():
    for found in (0.0, 0.3, 17.0, 50.0, 99.0, 100.0):
        for most in (0.0, 0.05, 0.4, 2.0):
            low, high = ends(found, most)
            assert 0 <= low <= found <= high <= 100
            for end in (low, high):
                if 0 < end < 100:
                    assert errors(np.array(found), np.array(end)) == pytest.approx(most, abs=1e-7)
    assert ends(0.0, math.asin(0.5))[1] == pytest.approx(25.0)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_one_patient_fewer_than_needed_tells_nothing(level):
    needed = patients_needed(level)
    scores, patients = np.zeros(needed), np.arange(needed)
    assert largest_error(scores, patients, level) == 0
    assert largest_error(scores[1:], patients[1:], level) == math.inf


def test_ranges_are_joined_until_each_has_enough_patients():
    found = np.array([0, 0, 0, 2, 2, 10, 10, 10, 60.0])
    patients = np.array([1, 2, 3, 1, 2, 1, 2, 3, 3])
    assert range_of(found).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 4] and len(EDGES) == 4
    assert joined_ranges(found, patients, 3).tolist() == [0, 1, 1, 1, 1]
    assert joined_ranges(found, patients, 2).tolist() == [0, 1, 2, 2, 2]
    assert joined_ranges(found, patients, 1).tolist() == [0, 1, 2, 3, 3]
    assert joined_ranges(found, patients, 4).tolist() == [0, 0, 0, 0, 0]


def test_with_too_few_patients_the_interval_is_everything_and_says_how_few():
    few = calibration([10.0] * 80, [10.0] * 80, [n % 8 for n in range(80)])
    assert few.at(0.9).of(10.0) == (0.0, 100.0, 8)
    assert few.at(0.8).of(10.0)[:2] == pytest.approx((10.0, 10.0))


@pytest.mark.parametrize("patients", [8, 15, 60, 150])
def test_a_higher_level_never_has_a_narrower_interval(patients):
    many = calibration(*draw(np.random.default_rng(5), patients))
    levels = np.linspace(0.01, 0.99, 99)
    for percent in (0.0, 2.0, 30.0, 80.0):
        lows, highs, _ = zip(*(many.at(level).of(percent) for level in levels), strict=True)
        assert list(lows) == sorted(lows, reverse=True) and list(highs) == sorted(highs)
        assert lows[0] <= percent <= highs[0] and highs[-1] - lows[-1] > highs[0] - lows[0]


def test_where_errors_differ_by_size_so_do_intervals_if_there_are_enough_patients():
    def width(number, percent):
        patients = [*range(number), *range(number)]
        found = [0.0] * number + [40.0] * number  # right where nothing is found, wrong by 30 points otherwise
        low, high, _ = calibration(found, [0.0] * number + [70.0] * number, patients).at(0.9).of(percent)
        return high - low

    assert width(20, 0.0) == 0 and width(20, 40.0) > 50
    assert width(19, 0.0) > 5  # joined: the errors of both


def simulated(rng, draws, patients, level, **how):
    """Share of the images, one of each new patient, whose interval holds the truth."""
    hits = []
    for _ in range(draws):
        intervals = calibration(*draw(rng, patients, **how)).at(level)
        for _ in range(10):
            found, true, _ = draw(rng, 1, **how)
            pick = rng.integers(len(found))
            low, high, _ = intervals.of(found[pick])
            hits.append(low - 1e-9 <= true[pick] <= high + 1e-9)
    return np.mean(hits)


@pytest.mark.parametrize(
    ("patients", "how"),
    [
        (99, {"images": (1, 1)}),  # every image a patient of its own
        (99, {"images": (1, 12)}),
        (99, {"images": (5, 40), "alike": 0.95}),  # images of a patient are nearly copies
    ],
)
def test_nine_of_ten_new_patients_are_covered(patients, how):
    share = simulated(np.random.default_rng(1), 200, patients, 0.9, **how)
    assert 0.88 <= share <= 0.92, share


def test_few_patients_are_covered_at_least_as_often():
    assert simulated(np.random.default_rng(2), 150, 10, 0.9) >= 0.88


def test_images_taken_for_patients_would_be_covered_too_seldom():
    """What the weights are for: each image counted as a patient of its own, nine of ten are not held."""
    rng, hits = np.random.default_rng(3), []
    for _ in range(400):
        found, true, _ = draw(rng, 4, images=(20, 40), alike=0.95)
        naive = calibration(found, true, range(len(found))).at(0.9)
        (f, *_), (t, *_), _ = draw(rng, 1, images=(20, 40), alike=0.95)
        low, high, _ = naive.of(f)
        hits.append(low - 1e-9 <= t <= high + 1e-9)
    assert np.mean(hits) < 0.85


def test_coverage_on_left_out_patients_by_hand():
    # ten patients of one image; the errors of nine tell the tenth: only the worst one is not held
    found, true = [50.0] * 10, [50.0 + n for n in range(10)]
    rows = coverage(calibration(found, true, range(10), ["a"] * 4 + ["b"] * 6), 0.9)
    told = {(row["left_out"], row["dataset"]): row for row in rows}
    assert told["patient", None]["coverage"] == told["patient", None]["images_covered"] == 0.9
    assert told["patient", "a"]["coverage"] == 1.0 and told["patient", "b"]["coverage"] == pytest.approx(5 / 6)
    assert told["patient", None]["patients"] == 10 and told["patient", None]["unbounded"] == 0
    assert told["dataset", "a"]["unbounded"] == told["dataset", "b"]["unbounded"] == 1.0  # 6 and 4 patients are too few
    assert told["dataset", None]["coverage"] == 1.0 and told["dataset", None]["median_width"] == 100.0
    assert {row["left_out"] for row in coverage(calibration(found, true, range(10)), 0.9)} == {"patient"}


def test_coverage_counts_each_patient_once():
    found, true = [50.0] * 18, [*[50.0] * 9, *[90.0] * 9]
    (row, _) = coverage(calibration(found, true, [*range(9), *[9] * 9]), 0.9)
    assert row["coverage"] == 0.9 and row["images_covered"] == 0.5


def test_what_is_stored_comes_back():
    stored = {
        "modality": "ct",
        "methods": {
            "alom2020": {
                "models": {"segment_lungs": "l@1"},
                "settings": {"s": 1},
                "patients": [
                    {"dataset": "a", "found": [1.0, 2.0], "true": [0.0, 3.0]},
                    {"dataset": "b", "found": [4.0], "true": [5.0]},
                ],
            }
        },
    }
    ((key, (one,)),) = calibrations_of([stored]).items()
    assert key == ("ct", "alom2020") and one.models == {"segment_lungs": "l@1"}
    assert (one.found, one.true) == ((1.0, 2.0, 4.0), (0.0, 3.0, 5.0))
    assert (one.patients, one.datasets) == ((0, 0, 1), ("a", "a", "b"))
    found = {"classifier_id": None, "lung_model_id": "l@1", "infection_model_id": None}
    assert one.fits(found, {"s": 1}) and not one.fits(found, {"s": 2})
