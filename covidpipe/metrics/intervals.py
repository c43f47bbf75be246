"""95 % intervals: of proportions by Wilson's formula, of the ROC AUC by DeLong's, of the rest by resampling patients.

The images of a patient resemble each other. Wilson's and DeLong's formulas take every image for a new patient; used so
on 100 slices of two patients they give an interval that a third patient has no reason to fall into. Each method here
therefore takes the patients as its units, and is the textbook formula again where every image has a patient of its own.
With few patients the intervals are honestly wide; those of the bootstrap are still somewhat too narrow (of means of 5,
10, 20 and 40 patients with 1 to 11 images they cover 91, 93, 94 and 95 % in place of 95; plain percentiles 81, 89, 92
and 94 %), so read every interval together with the number of patients. Of thousands of patients there are formulas.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit, ndtr, stdtrit

from covidpipe.words import counted

NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution
DRAWS = 1000
CHUNK = 2**22  # numbers of one block of weights
FEW = 5  # patients; fewer are not resampled
UNDEFINED = 0.05  # share of draws that may leave a score undefined

Range = tuple[float, float]
ANYWHERE: Range = (-math.inf, math.inf)
SHARE: Range = (0.0, 1.0)


class Interval(NamedTuple):
    """Both ends of a 95 % interval, and how it was made."""

    low: float
    high: float
    how: str


def wilson(k: float, n: float) -> tuple[float, float] | None:
    """Wilson's 95 % interval of the proportion k / n, or None if n is 0 (Wilson 1927).

    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    >>> wilson(0, 3)[0], wilson(3, 3)[1]
    (0.0, 1.0)
    """
    if n == 0:
        return None
    z2 = NORMAL_975**2
    center = (k + z2 / 2) / (n + z2)
    half = NORMAL_975 / (n + z2) * math.sqrt(k * (n - k) / n + z2 / 4)
    # Of none and of all one end is exact; rounding would leave 5.55e-17 in its place.
    return 0.0 if k <= 0 else max(0.0, center - half), 1.0 if k >= n else min(1.0, center + half)


def proportion(success: np.ndarray, groups: np.ndarray) -> Interval | None:
    """Wilson's 95 % interval of a share of images, with as many independent ones as the patients allow.

    If no patient has two images this is `wilson`. Otherwise n is divided by the design effect, the variance of the
    share between patients (as a ratio estimate) over that of independent images, which is taken to be 1 at least, and
    by (t / z)^2 for the few patients that this variance is known from (Korn & Graubard 1998, with Wilson's in place of
    Clopper and Pearson's formula). Where all images agree nothing is known of the variance: each patient counts once.

    Parameters
    ----------
    success : ndarray of bool, (n,)
    groups : ndarray, (n,)
        The patient of each image.

    Returns
    -------
    Interval or None
        None without images.

    Examples
    --------
    >>> proportion(np.array([1, 1, 1, 0]), np.arange(4)).how
    'Wilson'
    """
    success = np.asarray(success, float)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    n, patients = len(success), len(names)
    if n == 0:
        return None
    if patients == n:
        return _named(wilson(success.sum(), n), "Wilson")
    independent = _independent(success, codes, patients)
    return _named(wilson(success.mean() * independent, independent), f"Wilson, {counted(patients, 'patient')}")


def _independent(success: NDArray[np.float64], codes: NDArray[Any], patients: int) -> float:
    """As many independent images as the images of some patients are worth for a share (see `proportion`)."""
    n, share = len(success), success.mean()
    variance = n * share * (1 - share)
    if patients == n:
        return n
    if variance == 0 or patients == 1:
        return patients
    between = _between(success - share, codes, patients)
    few = (NORMAL_975 / stdtrit(patients - 1, 0.975)) ** 2
    return float(n * few / max(1.0, between / variance))


def _between(excess: NDArray[np.float64], codes: NDArray[Any], patients: int) -> float:
    """Variance of the sum over all images, from what the sums of patients are off by."""
    return float(patients / (patients - 1) * (np.bincount(codes, excess) ** 2).sum())


def mean_of_many(values: np.ndarray, groups: np.ndarray, within: Range = ANYWHERE) -> Interval:
    """95 % interval of a mean over the images of many patients, by the variance of a ratio of sums over patients.

    Of some hundred patients it is that of `PatientBootstrap`, which takes minutes for a million; of fewer it covers
    less.

    Parameters
    ----------
    values : ndarray, (n,)
    groups : ndarray, (n,)
        The patient of each image; more than one.
    within : tuple of float
        The smallest and largest value that the mean can have.

    Examples
    --------
    >>> mean_of_many(np.tile([0.0, 1.0], 5000), np.arange(10000)).how
    'normal, 10000 patients'
    """
    names, codes = np.unique(groups, return_inverse=True)
    mean = float(values.mean())
    half = NORMAL_975 * math.sqrt(_between(values - mean, codes, len(names))) / len(values)
    return Interval(
        max(mean - half, within[0]), min(mean + half, within[1]), f"normal, {counted(len(names), 'patient')}"
    )


def quantile_of_many(values: np.ndarray, groups: np.ndarray, share: float) -> Interval:
    """95 % interval of a quantile over the images of many patients: the quantiles at the ends of its share's interval.

    That is Wilson's, with as many independent images as in `proportion` (Woodruff 1952). Of some hundred patients it is
    the interval of `PatientBootstrap`; of fewer it covers less.

    Parameters
    ----------
    values : ndarray, (n,)
    groups : ndarray, (n,)
        The patient of each image.
    share : float
        Of the values that lie below the quantile.

    Examples
    --------
    >>> quantile_of_many(np.arange(10000) / 100, np.arange(10000), 0.5)
    Interval(low=49.015..., high=50.974..., how='Woodruff, 10000 patients')
    """
    names, codes = np.unique(groups, return_inverse=True)
    independent = _independent((values <= np.quantile(values, share)).astype(float), codes, len(names))
    ends = wilson(share * independent, independent)
    assert ends is not None
    low, high = np.quantile(values, ends).tolist()
    return Interval(low, high, f"Woodruff, {counted(len(names), 'patient')}")


def _named(ends: tuple[float, float] | None, how: str) -> Interval | None:
    return None if ends is None else Interval(*ends, how)


def auc_interval(probability: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Interval | None:
    """DeLong's 95 % interval of the area under the ROC curve, for images that come in patients.

    The variance is Obuchowski's (1997) for clustered images; with one image a patient it is that of DeLong, DeLong &
    Clarke-Pearson (1988). The interval is symmetric in the log-odds of the area, so that it stays between 0 and 1, and
    uses Student's t with one degree of freedom less than patients. Where the classes are told apart without a fault
    that variance is zero and would pretend to certainty: there it is the score interval of Newcombe (2006, method 5),
    each patient counted once.

    Parameters
    ----------
    probability : ndarray, (n,)
    truth : ndarray of bool, (n,)
    groups : ndarray, (n,)

    Returns
    -------
    Interval or None
        None if a class is seen in fewer than three patients, or if all probabilities are equal. (What two patients
        add to the area differs from their mean by the same amount to either side, and their terms can cancel: the
        interval of a real test on two patients was .702 to .703.)
    """
    probability, truth = np.asarray(probability), np.asarray(truth, bool)
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    ill, healthy = (len(np.unique(codes[truth == label])) for label in (True, False))
    if min(ill, healthy) < 3:
        return None
    area, of_ill, of_healthy = placements(probability, truth)
    how = "DeLong" if len(names) == len(truth) else f"DeLong (Obuchowski), {len(names)} patients"
    if area in (0.0, 1.0):
        far = _newcombe(ill, healthy)
        low, high = (far, 1.0) if area == 1 else (0.0, 1 - far)
        return Interval(low, high, f"score (Newcombe), {len(names)} patients")
    excess = [
        np.bincount(codes[truth == label], part - area, minlength=len(names)) / len(part)
        for label, part in ((True, of_ill), (False, of_healthy))
    ]
    patients = len(names)
    variance = (
        ill / (ill - 1) * (excess[0] ** 2).sum()
        + healthy / (healthy - 1) * (excess[1] ** 2).sum()
        + 2 * patients / (patients - 1) * (excess[0] * excess[1]).sum()
    )
    if variance <= 0:
        return None
    half = stdtrit(patients - 1, 0.975) * math.sqrt(variance) / (area * (1 - area))
    return Interval(float(expit(logit(area) - half)), float(expit(logit(area) + half)), how)


def placements(probability: np.ndarray, truth: np.ndarray) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Area under the ROC curve, and what each image adds to it: DeLong's structural components.

    Returns
    -------
    area : float
    of_ill : ndarray
        For each positive image, the share of the negative ones that it is ranked above; a tie counts half.
    of_healthy : ndarray
        For each negative image, the share of the positive ones that are ranked above it.
    """
    from scipy.stats import rankdata  # half of what a job that needs no area would import

    ranks = rankdata(probability)
    ill, healthy = ranks[truth], ranks[~truth]
    of_ill = (ill - rankdata(probability[truth])) / len(healthy)
    of_healthy = 1 - (healthy - rankdata(probability[~truth])) / len(ill)
    return float(of_ill.mean()), of_ill, of_healthy


def _newcombe(ill: int, healthy: int) -> float:
    """Lower end for an area of 1: where 1 - area is `NORMAL_975` standard errors of that area (Newcombe 2006)."""
    from scipy.optimize import brentq

    mean = (ill + healthy) / 2 - 1

    def beyond(area: float) -> float:
        spread = 1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area)
        return (1 - area) - NORMAL_975**2 * area * spread / (ill * healthy)

    return float(brentq(beyond, 0.0, 1.0))


class PatientBootstrap:
    """Patients drawn again with replacement, the same draws for every score, and percentile intervals of scores.

    The percentiles are widened for few patients (Hesterberg 2015, expanded percentiles): plain ones are too narrow by
    the factor sqrt((n - 1) / n) and by z in place of t. Fewer than five patients cannot be drawn in enough ways (two
    give an interval that covers one half, not 95 %): there it is the score plus and minus Student's t times the
    jackknife's standard error, each patient left out in turn, cut off where the score cannot lie.

    Parameters
    ----------
    groups : ndarray, (n,)
        The patient of each image.
    draws, seed : int

    Examples
    --------
    >>> PatientBootstrap(np.repeat(np.arange(5), 2)).of_rows(np.ones(10), np.mean)
    Interval(low=1.0, high=1.0, how='bootstrap of 5 patients')
    """

    def __init__(self, groups: np.ndarray, draws: int = DRAWS, seed: int = 0):
        names, self.codes = np.unique(np.asarray(groups), return_inverse=True)
        self.patients, self.draws, self.seed = len(names), draws, seed

    def of_sums(
        self, columns: np.ndarray, statistic: Callable[[NDArray[Any]], NDArray[Any]], within: Range = ANYWHERE
    ) -> Interval | None:
        """Interval of a score that is made of sums over images.

        Parameters
        ----------
        columns : ndarray, (n, k)
            What is summed: one row an image.
        statistic : callable
            Takes (draws, k) and returns (draws,), NaN where it is undefined.
        within : tuple of float
            The smallest and largest value that the score can have.

        Returns
        -------
        Interval or None
            None with fewer than two patients, or if more than one draw in twenty leaves the score undefined.
        """
        columns = np.asarray(columns, float)
        sums = np.stack([np.bincount(self.codes, column, self.patients) for column in columns.T], axis=1)
        return self._interval(lambda counts: statistic(counts @ sums), self.patients, within)

    def of_weights(
        self, statistic: Callable[[NDArray[Any]], NDArray[Any]], within: Range = ANYWHERE
    ) -> Interval | None:
        """Interval of a score that takes (draws, n), how often each image was drawn, and returns (draws,)."""
        return self._interval(lambda counts: statistic(counts[:, self.codes]), len(self.codes), within)

    def of_levels(
        self, levels: np.ndarray, statistic: Callable[[NDArray[Any]], NDArray[Any]], within: Range = ANYWHERE
    ) -> Interval | None:
        """Interval of a score of how often each value occurs, such as a quantile: the work grows with the values.

        Parameters
        ----------
        levels : ndarray of int, (n,)
            Which value each image has, from 0.
        statistic : callable
            Takes (draws, values), how often each was drawn, and returns (draws,).
        within : tuple of float
        """
        number = int(levels.max()) + 1
        held = csr_array((np.ones(len(levels), np.int64), (self.codes, levels)), shape=(self.patients, number))
        return self._interval(lambda counts: statistic((held.T @ counts.T).T), max(self.patients, number), within)

    def of_rows(
        self, values: np.ndarray, statistic: Callable[[np.ndarray], float | None], within: Range = ANYWHERE
    ) -> Interval | None:
        """Interval of any score: `statistic` takes the rows of `values` that one draw holds; None is undefined."""
        values, order = np.asarray(values), np.arange(len(values))

        def each(counts: NDArray[np.int64]) -> NDArray[np.float64]:
            found = (statistic(values[np.repeat(order, drawn)]) for drawn in counts[:, self.codes])
            return np.array([np.nan if value is None else value for value in found], float)

        return self._interval(each, self.patients, within)

    def _interval(
        self, scores: Callable[[NDArray[np.int64]], NDArray[Any]], width: int, within: Range
    ) -> Interval | None:
        if self.patients < 2:
            return None
        quantile = stdtrit(self.patients - 1, 0.975)
        if self.patients < FEW:
            whole = scores(np.ones((1, self.patients), np.int64))[0]
            left_out = scores(1 - np.eye(self.patients, dtype=np.int64))
            spread = (self.patients - 1) * left_out.var()
            if spread == 0 and not np.allclose(left_out, whole):
                return None  # each patient alone gives another score than all, yet the same: nothing to go by
            half = quantile * math.sqrt(spread)
            low, high, how = whole - half, whole + half, "jackknife"
        else:
            values = np.concatenate([scores(counts) for counts in self._counts(width)])
            known = values[np.isfinite(values)]
            if len(known) < (1 - UNDEFINED) * len(values):
                return None
            tail = 100 * ndtr(-math.sqrt(self.patients / (self.patients - 1)) * quantile)
            (low, high), how = np.percentile(known, [tail, 100 - tail]), "bootstrap"
        if not np.isfinite(low + high):
            return None
        return Interval(max(float(low), within[0]), min(float(high), within[1]), f"{how} of {self.patients} patients")

    def _counts(self, width: int) -> Iterator[NDArray[np.int64]]:
        """How often each patient was drawn, (some draws, patients), in blocks of no more than `CHUNK` / width draws."""
        step = max(1, CHUNK // max(width, self.patients, 1))
        if self.patients * self.draws <= CHUNK:
            kept = _all_draws(self.patients, self.draws, self.seed)
            yield from (kept[start : start + step] for start in range(0, self.draws, step))
        else:
            rng = np.random.default_rng(self.seed)
            for start in range(0, self.draws, step):
                yield _draw(rng, self.patients, min(step, self.draws - start))


def _draw(rng: np.random.Generator, patients: int, draws: int) -> NDArray[np.int64]:
    return rng.multinomial(patients, np.full(patients, 1 / patients), draws)


@functools.lru_cache(maxsize=8)
def _all_draws(patients: int, draws: int, seed: int) -> NDArray[np.int64]:
    """The draws for so many patients: the same for every score, so they are made once."""
    return _draw(np.random.default_rng(seed), patients, draws)


def bootstrap_by_group(
    values: np.ndarray,
    groups: np.ndarray,
    statistic: Callable[[np.ndarray], float | None],
    draws: int = DRAWS,
    seed: int = 0,
    within: Range = ANYWHERE,
) -> Interval | None:
    """`PatientBootstrap.of_rows` for a single score.

    >>> bootstrap_by_group(np.ones(4), np.array(["a", "a", "b", "b"]), np.mean)
    Interval(low=1.0, high=1.0, how='jackknife of 2 patients')
    """
    return PatientBootstrap(groups, draws, seed).of_rows(values, statistic, within)
