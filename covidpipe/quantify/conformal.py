"""How far a percentage may be from the radiologists': conformal prediction intervals, with patients as the units.

What a method found and what was true, on patients whom none of its networks learned from, tells how far it goes wrong.
An interval is the set of all percentages that would be no worse an error than most of those.

Guaranteed (split conformal prediction: Vovk, Gammerman & Shafer 2005; for images that come in patients: Dunn, Wasserman
& Ramdas 2022, Lee, Barber & Willett 2023): of new patients who are like those of the calibration, and one image of each
at random, at least `level` of the intervals hold the radiologists' percentage, whatever the networks are worth. Not
guaranteed: that it holds for each patient, scanner or hospital; that it holds where patients differ from those of the
calibration; or that all images of one patient are covered alike.

Our reading:

- An error is measured between arcsines of square roots, under which shares vary alike whether they are small or large
  (Anscombe 1948). It is a normalized residual in the sense of Romano, Patterson & Candes 2019 and of Lei et al. 2018,
  with a scale that is fixed beforehand: intervals are narrow where little is found, and never leave 0 to 100.
- Each patient has the same weight, shared by the patient's images (Lee, Barber & Willett's), and one more patient is
  taken to be as wrong as can be: so with fewer patients than `patients_needed` the interval is all of 0 to 100.
- Errors are compared within ranges of the percentage found (Mondrian conformal prediction, Vovk et al. 2005, chapter 4)
  where each range has `RANGE_PATIENTS`; ranges that have fewer are joined to their neighbors. The joining looks at what
  was found in the calibration's patients, never at errors or the level: a higher level never has a narrower interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidpipe.metrics.intervals import proportion
from covidpipe.quantify.reference import Composition
from covidpipe.words import counted

# Upper ends of the ranges of the percentage found: nothing, and the classes of severity with those above 50 % in one.
EDGES = (0.0, 5.0, 25.0, 50.0)
# Fewest patients of a range: enough for levels up to 95 %.
RANGE_PATIENTS = 20
ROUNDING = 1e-9


def errors(found: np.ndarray, true: np.ndarray) -> NDArray[np.float64]:
    """How far percentages are apart on the arcsine scale, 0 to pi / 2.

    Parameters
    ----------
    found, true : ndarray, any equal shape
        Percentages, 0 to 100.

    Examples
    --------
    >>> errors(np.array([25.0, 0.0]), np.array([75.0, 100.0])).round(4).tolist()
    [0.5236, 1.5708]
    """
    return np.abs(_angle(found) - _angle(true))


def ends(found: float, most: float) -> tuple[float, float]:
    """The percentages whose error is at most `most`: the lowest and the highest.

    Examples
    --------
    >>> [round(end, 1) for end in ends(25.0, math.pi / 12)]
    [6.7, 50.0]
    >>> ends(25.0, math.inf)
    (0.0, 100.0)
    """
    middle = float(_angle(np.array(found)))
    low, high = (100 * math.sin(angle) ** 2 for angle in (max(0.0, middle - most), min(math.pi / 2, middle + most)))
    return min(low, found), max(high, found)  # the sine of an arcsine may miss by a rounding


def _angle(percent: np.ndarray) -> NDArray[np.float64]:
    return np.arcsin(np.sqrt(np.asarray(percent, float) / 100))


def patients_needed(level: float) -> int:
    """Fewest patients whose errors tell anything at this level.

    Parameters
    ----------
    level : float
        0 to 1, both excluded.

    Examples
    --------
    >>> patients_needed(0.9), patients_needed(0.8), patients_needed(0.95)
    (9, 4, 19)
    """
    return max(1, math.ceil(level / (1 - level) - ROUNDING))


def largest_error(scores: np.ndarray, patients: np.ndarray, level: float) -> float:
    """The error that a share `level` of patients, and one more who is as wrong as can be, stay within.

    Each of K patients weighs 1 / (K + 1), divided among the patient's images (Lee, Barber & Willett 2023).

    Parameters
    ----------
    scores : ndarray, (n,)
        Of images, as `errors` gives them.
    patients : ndarray, (n,)
        The patient of each image.
    level : float
        0 to 1, both excluded.

    Returns
    -------
    float
        Infinite where there are fewer than `patients_needed`.

    Examples
    --------
    >>> largest_error(np.arange(9.0), np.arange(9), 0.8), largest_error(np.arange(8.0), np.arange(8), 0.9)
    (7.0, inf)
    """
    _, codes = np.unique(np.asarray(patients), return_inverse=True)
    images = np.bincount(codes)
    if len(images) < patients_needed(level):
        return math.inf
    order = np.argsort(scores, kind="stable")
    weight = np.cumsum(1 / images[codes[order]]) / (len(images) + 1)
    place = int(np.searchsorted(weight, level - ROUNDING))
    return float(np.asarray(scores, float)[order[min(place, len(order) - 1)]])


def range_of(found: np.ndarray) -> NDArray[np.int64]:
    """The range of each percentage found, counted from 0: nothing found, up to 5 %, 25 %, 50 %, and above.

    >>> range_of(np.array([0.0, 0.1, 5.0, 5.1, 99.0])).tolist()
    [0, 1, 1, 2, 4]
    """
    return np.searchsorted(EDGES, np.asarray(found, float), side="left").astype(np.int64)


def joined_ranges(found: np.ndarray, patients: np.ndarray, needed: int = RANGE_PATIENTS) -> NDArray[np.int64]:
    """Which ranges are taken together, so that each has as many patients as are needed; if need be all of them.

    Parameters
    ----------
    found : ndarray, (n,)
        Percentages.
    patients : ndarray, (n,)
    needed : int

    Returns
    -------
    ndarray of int, (ranges,)
        For each range of `range_of` the number of the joined one, from 0 and rising.

    Examples
    --------
    >>> joined_ranges(np.array([0.0, 0.0, 3.0, 9.0, 9.0]), np.array([1, 2, 1, 1, 2]), 2).tolist()
    [0, 1, 1, 1, 1]
    """
    ranges, patients = range_of(found), np.asarray(patients)
    open_, number, numbers = np.zeros(len(ranges), bool), 0, []
    for place in range(len(EDGES) + 1):
        open_ |= ranges == place
        numbers.append(number)
        if len(np.unique(patients[open_])) >= needed:
            open_[:] = False
            number += 1
    if number and numbers[-1] == number:  # what is left above has too few
        numbers = [min(one, number - 1) for one in numbers]
    return np.array(numbers, np.int64)


@dataclass(frozen=True)
class Intervals:
    """The intervals of one method at one level.

    Parameters
    ----------
    largest_errors : tuple of float
        For each range of `range_of`, the error that is not exceeded; infinite for want of patients.
    patients : tuple of int
        For each range, how many patients that rests on.
    """

    largest_errors: tuple[float, ...]
    patients: tuple[int, ...]

    def of(self, percent: float) -> tuple[float, float, int]:
        """Both ends of the interval of a percentage, and how many patients' errors they rest on.

        >>> intervals = Intervals((math.inf, *[0.0] * 4), (3, 9, 9, 9, 9))
        >>> intervals.of(0.0), intervals.of(20.0)
        ((0.0, 100.0, 3), (20.0, 20.0, 9))
        """
        place = int(range_of(np.array(percent)))
        return *ends(percent, self.largest_errors[place]), self.patients[place]


@dataclass(frozen=True)
class Calibration(Composition):
    """What one method found and what was true, on patients whom its networks have not learned from.

    Parameters
    ----------
    models, settings
        As in `Composition`.
    found, true : tuple of float
        Percentages of images.
    patients : tuple of int
        The patient of each image, numbered.
    datasets : tuple of str
        The data set of each image.
    """

    found: tuple[float, ...]
    true: tuple[float, ...]
    patients: tuple[int, ...]
    datasets: tuple[str, ...]

    def at(self, level: float) -> Intervals:
        """The intervals of a level: share of patients' images that they are meant to hold, 0 to 1, both excluded."""
        found, patients = np.array(self.found), np.array(self.patients)
        ranges = joined_ranges(found, patients)
        scores, place = errors(found, np.array(self.true)), ranges[range_of(found)]
        inside = [place == number for number in ranges]
        return Intervals(
            tuple(largest_error(scores[here], patients[here], level) for here in inside),
            tuple(len(np.unique(patients[here])) for here in inside),
        )

    def in_words(self) -> str:
        """How far the method is off, its networks' lungs included: to be said beside its percentages.

        >>> Calibration({}, {}, (4.0, 9.0), (5.0, 8.0), (0, 0), ("a", "a")).in_words()[62:]
        'a (2 images, 1 patient): 1.0 points off on an image, 0.0 too low on average.'
        """
        off, patients = np.array(self.found) - np.array(self.true), np.array(self.patients)
        told = []
        for name in sorted(set(self.datasets)):
            here = np.array(self.datasets) == name
            mean = off[here].mean()
            told.append(
                f"{name} ({counted(int(here.sum()), 'image')}, {counted(len(np.unique(patients[here])), 'patient')}): "
                f"{np.abs(off[here]).mean():.1f} points off on an image, {abs(mean):.1f} too "
                f"{'high' if mean > 0 else 'low'} on average"
            )
        return f"The whole method, on patients whom its networks had not seen. {'; '.join(told)}."

    def only(self, keep: np.ndarray) -> Calibration:
        """The same with some of the images."""
        columns = {
            name: tuple(np.array(getattr(self, name), object)[keep])
            for name in ("found", "true", "patients", "datasets")
        }
        return Calibration(self.models, self.settings, **columns)


def calibrations_of(stored: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Calibration]]:
    """Calibrations by modality and method, from the content of their files."""
    found: dict[tuple[str, str], list[Calibration]] = {}
    for one in stored:
        for method, told in one["methods"].items():
            columns: dict[str, list[Any]] = {name: [] for name in ("found", "true", "patients", "datasets")}
            for number, person in enumerate(told["patients"]):
                n = len(person["found"])
                columns["found"] += person["found"]
                columns["true"] += person["true"]
                columns["patients"] += [number] * n
                columns["datasets"] += [person["dataset"]] * n
            tuples = {name: tuple(column) for name, column in columns.items()}
            made = Calibration(told["models"], told["settings"], **tuples)
            found.setdefault((one["modality"], method), []).append(made)
    return found


def coverage(calibration: Calibration, level: float) -> list[dict[str, Any]]:
    """How often intervals hold the truth on patients that they were not made from.

    ``patient``: each patient judged by all the others. ``dataset``: each data set judged by the others, which is what
    patients of another hospital would meet.

    Returns
    -------
    list of dict
        For each data set, and for all of them together (`dataset` None): `level`, `left_out`, `images`, `patients`,
        `coverage` (share of the images, each patient counting once), `images_covered` (share of the images) with its
        95 % interval `low`, `high`, `median_width` in points of infection_percent, and `unbounded`, the share of images
        whose interval is all of 0 to 100 for want of patients.
    """
    found, true = np.array(calibration.found), np.array(calibration.true)
    patients, datasets = np.array(calibration.patients), np.array(calibration.datasets)
    rows = []
    for left_out, groups in (("patient", patients), ("dataset", datasets)):
        if left_out == "dataset" and len(np.unique(datasets)) < 2:
            continue
        told = np.empty((len(found), 3))
        for group in np.unique(groups):
            out = groups == group
            others = calibration.only(~out).at(level)
            told[out] = [others.of(percent) for percent in found[out].tolist()]
        low, high, number = told.T
        covered = (low - ROUNDING <= true) & (true <= high + ROUNDING)
        for name in (*np.unique(datasets).tolist(), None):
            here = np.ones(len(found), bool) if name is None else datasets == name
            rows.append(
                {
                    "level": level,
                    "left_out": left_out,
                    "dataset": name,
                    **_covered(covered[here], patients[here]),
                    "median_width": float(np.median((high - low)[here])),
                    "unbounded": float((number[here] < patients_needed(level)).mean()),
                }
            )
    return rows


def _covered(covered: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    persons: Sequence[int] = np.unique(patients).tolist()
    interval = proportion(covered, patients)
    assert interval is not None, "no data set is empty"
    return {
        "images": len(covered),
        "patients": len(persons),
        "coverage": float(np.mean([covered[patients == person].mean() for person in persons])),
        "images_covered": float(covered.mean()),
        "low": interval.low,
        "high": interval.high,
    }
