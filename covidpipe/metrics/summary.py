"""What is measured of one image, and how the images of a test part are summed up: rows of METRICS_SUMMARY.

``pooled_...`` and the accuracies and IoUs without a prefix are made of the pixels of all images together, as MATLAB's
``evaluateSemanticSegmentation`` does; ``mean_..._where_present`` are means over the images that have something to be
found; ``..._where_absent`` are about those that have not. Intervals are those of `covidpipe.metrics.intervals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from covidpipe.metrics import agreement, boundary, calibration, classification, counts
from covidpipe.metrics.counts import Counts, defined, ratio
from covidpipe.metrics.intervals import (
    ANYWHERE,
    SHARE,
    Interval,
    PatientBootstrap,
    Range,
    auc_interval,
    proportion,
)

Row = dict[str, Any]
SURFACE_PX, SURFACE_MM = 1, 2  # tolerances of surface Dice, and of the boundary score in mm
NO_SPACING = "The images do not tell their pixel spacing."
NOTHING_TO_FIND = "No image has anything to be found."
NOTHING_FOUND = "Nothing was found in any image that has something to be found."

# Columns of `score_mask` that are averaged over the images where there is something to find.
WHERE_PRESENT = (
    "dice",
    "iou",
    "accuracy_foreground",
    "boundary_f",
    f"boundary_f_{SURFACE_MM}mm",
    "hausdorff95_px",
    "hausdorff95_mm",
    f"surface_dice_{SURFACE_PX}px",
    f"surface_dice_{SURFACE_MM}mm",
)
# Over all images: MATLAB's MeanBFScore, of both classes and of the background.
ALL_IMAGES = {"mean_boundary_f": "boundary_f_both", "mean_boundary_f_background": "boundary_f_background"}
IN_MM = tuple(name for name in WHERE_PRESENT if name.endswith("mm"))
PIXELS = ("true_positive_px", "false_positive_px", "true_negative_px", "false_negative_px")
# Columns of `score_mask`.
MEASURES = (*PIXELS, *WHERE_PRESENT, "accuracy_background", "boundary_f_background", "boundary_f_both")
# Of pooled pixels; those with a numerator and a denominator of pixels tell both as k and n.
POOLED: dict[str, Callable[[Counts], NDArray[np.float64]]] = {
    "pooled_dice": counts.f_score,
    "pooled_dice_background": lambda c: counts.f_score(counts.of_background(c)),
    "pooled_iou": counts.iou,
    "iou_background": lambda c: counts.iou(counts.of_background(c)),
    "mean_iou": counts.mean_iou,
    "weighted_iou": counts.weighted_iou,
    "mean_accuracy": counts.balanced_accuracy,
    "accuracy_foreground": counts.recall,
    "accuracy_background": counts.specificity,
    "global_accuracy": counts.accuracy,
    "pooled_precision": counts.precision,
}
SHARES: dict[str, Callable[[Counts], tuple[int, int]]] = {
    "accuracy_foreground": lambda c: (c.tp, c.tp + c.fn),
    "accuracy_background": lambda c: (c.tn, c.tn + c.fp),
    "global_accuracy": lambda c: (c.tp + c.tn, sum(c)),
    "pooled_precision": lambda c: (c.tp, c.tp + c.fp),
}
PERCENTAGE: Range = (0.0, 100.0)
AT_LEAST_0: Range = (0.0, math.inf)
PERCENT: dict[str, tuple[Callable[[np.ndarray], float | None], Range]] = {
    "infection_percent_mean_absolute_error": (agreement.mean_absolute_error, PERCENTAGE),
    "infection_percent_bias": (agreement.bias, (-100.0, 100.0)),
    "infection_percent_concordance": (agreement.concordance, (-1.0, 1.0)),
    "infection_percent_limit_low": (agreement.limit_low, ANYWHERE),
    "infection_percent_limit_high": (agreement.limit_high, ANYWHERE),
}


def score_mask(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float] | None = None
) -> dict[str, float | None]:
    """Everything that is measured of one image's mask.

    Parameters
    ----------
    found, truth : ndarray of bool, (rows, columns)
        Without padding: it would count as background that was rightly left alone.
    spacing_mm : tuple of float, optional
        Distance between rows and between columns.

    Returns
    -------
    dict of str to float or None
        By measure; None where it is undefined (`covidpipe.metrics.counts` has the rule).
    """
    pixels = classification.confusion(found, truth)
    outlines = boundary.contours(found, truth)
    tolerance = boundary.default_tolerance(truth.shape)
    scores: dict[str, float | None] = dict(zip(PIXELS, map(float, pixels), strict=True))
    scores |= {
        "dice": defined(counts.f_score(pixels)),
        "iou": defined(counts.iou(pixels)),
        "accuracy_foreground": defined(counts.recall(pixels)),
        "accuracy_background": defined(counts.specificity(pixels)),
        "boundary_f": boundary.boundary_f(found, truth, tolerance),
        "boundary_f_background": boundary.boundary_f(~found, ~truth, tolerance),
        "hausdorff95_px": boundary.hausdorff(outlines),
        f"surface_dice_{SURFACE_PX}px": boundary.surface_dice(outlines, SURFACE_PX),
        **dict.fromkeys(IN_MM),
    }
    if spacing_mm is not None:
        square = spacing_mm[0] == spacing_mm[1]
        in_mm = outlines.scaled(spacing_mm[0]) if square else boundary.contours(found, truth, spacing_mm)
        scores |= {
            f"boundary_f_{SURFACE_MM}mm": boundary.boundary_f(found, truth, SURFACE_MM, spacing_mm),
            "hausdorff95_mm": boundary.hausdorff(in_mm),
            f"surface_dice_{SURFACE_MM}mm": boundary.surface_dice(in_mm, SURFACE_MM),
        }
    told = [score for score in (scores["boundary_f"], scores["boundary_f_background"]) if score is not None]
    scores["boundary_f_both"] = sum(told) / len(told)
    return scores


class Part:
    """The images of a test part: whose they are, and the draws of patients that every interval uses.

    Parameters
    ----------
    groups : ndarray of str, (n,)
        The patient (or set of copies) of each image.
    seed : int
    """

    def __init__(self, groups: np.ndarray, seed: int):
        self.groups, self.seed = np.asarray(groups), seed
        self.patients = self.bootstrap(np.ones(len(self.groups), bool))

    def bootstrap(self, among: np.ndarray) -> PatientBootstrap:
        """Draws of the patients of some images only."""
        return PatientBootstrap(self.groups[among], seed=self.seed)

    def row(
        self,
        measure: str,
        value: Any,
        interval: Interval | None,
        *,
        among: np.ndarray | None = None,
        k: int | None = None,
        n: int | None = None,
        remark: str | None = None,
    ) -> Row:
        """One row; `among` are the images it is about (all), `k` of `n` trials where it is a proportion."""
        value = None if value is None else defined(value)
        groups = self.groups if among is None else self.groups[among]
        low, high, how = interval if interval is not None and value is not None else (None, None, None)
        return {
            "measure": measure,
            "value": value,
            "low": low,
            "high": high,
            "n": len(groups) if n is None else int(n),
            "k": None if k is None else int(k),
            "patients": len(np.unique(groups)),
            "interval": how,
            "remark": remark,
        }

    def share(self, measure: str, success: np.ndarray, among: np.ndarray | None = None) -> Row:
        """Images with `success` among those that could have it."""
        among = np.ones(len(success), bool) if among is None else among
        k, n = int(np.count_nonzero(success & among)), int(np.count_nonzero(among))
        interval = proportion(success[among], self.groups[among])
        return self.row(measure, ratio(k, n), interval, among=among, k=k, n=n)

    def area(self, measure: str, score: np.ndarray, truth: np.ndarray, among: np.ndarray | None = None) -> Row:
        """Area under the ROC curve: how well `score` tells images with `truth` from those without."""
        among = np.ones(len(truth), bool) if among is None else among
        score, truth = score[among], truth[among]
        interval = auc_interval(score, truth, self.groups[among])
        return self.row(measure, classification.roc_auc(score, truth), interval, among=among)

    def mean(
        self,
        measure: str,
        values: np.ndarray,
        among: np.ndarray | None = None,
        *,
        within: Range = SHARE,
        remark: str | None = None,
    ) -> Row:
        """Mean of the defined `values` (NaN: undefined), which lie `within`, of the images in `among`."""
        told = ~np.isnan(values) if among is None else ~np.isnan(values) & among
        if not told.any():
            return self.row(measure, None, None, among=told, remark=remark)
        columns = np.column_stack([values[told], np.ones(np.count_nonzero(told))])
        interval = self.bootstrap(told).of_sums(columns, lambda sums: ratio(sums[:, 0], sums[:, 1]), within)
        return self.row(measure, values[told].mean(), interval, among=told)


def label_rows(part: Part, probability: np.ndarray, found: np.ndarray, truth: np.ndarray) -> list[Row]:
    """Every score of a classifier's answers.

    Parameters
    ----------
    part : Part
    probability : ndarray, (n,)
        Of COVID-19.
    found, truth : ndarray of bool, (n,)
        The answer at the classifier's threshold, and the label.

    Returns
    -------
    list of dict
        Columns of METRICS_SUMMARY but for `subject` and `role`.
    """
    probability, found, truth = np.asarray(probability, float), np.asarray(found, bool), np.asarray(truth, bool)
    cells = [found & truth, found & ~truth, ~found & ~truth, ~found & truth]
    rows = [
        part.share(name, cell)
        for name, cell in zip(
            ("true_positives", "false_positives", "true_negatives", "false_negatives"), cells, strict=True
        )
    ]
    rows += [
        part.share("accuracy", found == truth),
        part.share("sensitivity", found, truth),
        part.share("specificity", ~found, ~truth),
        part.share("precision", truth, found),
        part.share("negative_predictive_value", ~truth, ~found),
    ]
    table = np.column_stack(cells).astype(float)
    for name, score in (
        ("balanced_accuracy", counts.balanced_accuracy),
        ("f_score", counts.f_score),
        ("mcc", counts.mcc),
    ):
        within = (-1.0, 1.0) if name == "mcc" else SHARE
        rows.append(part.row(name, score(Counts(*table.sum(axis=0))), _of_counts(part, table, score, within)))
    rows.append(part.area("roc_auc", probability, truth))
    for name, curve in (
        ("pr_auc", classification.average_precision),
        ("pr_auc_trapezoid", classification.pr_auc_trapezoid),
    ):
        if truth.any():
            interval = part.patients.of_weights(partial(curve, probability, truth), SHARE)
            rows.append(part.row(name, curve(probability, truth), interval))
        else:
            rows.append(part.row(name, None, None))
    return rows + probability_rows(part, probability, truth)


def probability_rows(part: Part, probability: np.ndarray, truth: np.ndarray, suffix: str = "") -> list[Row]:
    """How far the probabilities can be believed: Brier score and expected calibration error (10 bins of equal mass)."""
    if not len(truth):
        return [part.row(f"{name}{suffix}", None, None) for name in ("brier", "expected_calibration_error")]
    columns = calibration.calibration_columns(probability, truth)
    return [
        part.mean(f"brier{suffix}", calibration.squared_errors(probability, truth)),
        part.row(
            f"expected_calibration_error{suffix}",
            calibration.error_of_columns(columns.sum(axis=0)),
            part.patients.of_sums(columns, calibration.error_of_columns, SHARE),
        ),
    ]


def present_in(scores: pd.DataFrame) -> np.ndarray:
    """Which images hold any of what is looked for, bool (n,); `scores` as in `mask_rows`."""
    return (scores["true_positive_px"] + scores["false_negative_px"] > 0).to_numpy(bool)


def mask_rows(part: Part, scores: pd.DataFrame) -> list[Row]:
    """Every score of a segmenter's masks.

    Parameters
    ----------
    part : Part
    scores : pandas.DataFrame
        A row an image, the columns of `score_mask`, NaN where one is undefined.

    Returns
    -------
    list of dict
        Columns of METRICS_SUMMARY but for `subject` and `role`.
    """
    pixels = scores[list(PIXELS)].to_numpy(float)
    pooled = Counts(*(int(n) for n in pixels.sum(axis=0)))
    rows = []
    for number, name in enumerate(PIXELS):
        share = partial(_share_of_all, number)
        interval = _of_counts(part, pixels, share)
        rows.append(part.row(name, share(pooled), interval, k=pooled[number], n=sum(pooled)))
    for name, score in POOLED.items():
        k, n = SHARES[name](pooled) if name in SHARES else (None, None)
        rows.append(part.row(name, score(pooled), _of_counts(part, pixels, score), k=k, n=n))
    present = present_in(scores)
    marked = pixels[:, 0] + pixels[:, 1] > 0
    spaced = scores[f"boundary_f_{SURFACE_MM}mm"].notna()[present].any()
    for name in WHERE_PRESENT:
        why = NOTHING_TO_FIND if not present.any() else NO_SPACING if name in IN_MM and not spaced else NOTHING_FOUND
        within = AT_LEAST_0 if "hausdorff" in name else SHARE
        values = scores[name].to_numpy(float)
        rows.append(part.mean(f"mean_{name}_where_present", values, present, within=within, remark=why))
    for name, column in ALL_IMAGES.items():
        rows.append(part.mean(name, scores[column].to_numpy(float)))
    rows.append(part.share("missed_where_present", ~marked, present))
    rows.append(part.share("marked_where_absent", marked, ~present))
    falsely = 100 * ratio(pixels[:, 1], pixels.sum(axis=1))
    rows.append(part.mean("mean_marked_percent_where_absent", falsely, ~present, within=PERCENTAGE))
    return rows


def percent_rows(part: Part, pairs: np.ndarray, present: np.ndarray) -> list[Row]:
    """Error, bias and agreement of infection_percent, and how well it tells images with a lesion from those without.

    Parameters
    ----------
    part : Part
    pairs : ndarray, (n, 2)
        Found and true percentage of each image, NaN without lung.
    present : ndarray of bool, (n,)
        True where there is a lesion.

    Returns
    -------
    list of dict
        Columns of METRICS_SUMMARY but for `subject` and `role`.
    """
    told = ~np.isnan(pairs).any(axis=1)
    patients = part.bootstrap(told)
    rows = []
    for name, (statistic, within) in PERCENT.items():
        interval = patients.of_rows(pairs[told], statistic, within)
        rows.append(part.row(name, statistic(pairs[told]), interval, among=told))
    rows.append(part.mean("infection_percent_mean_where_absent", pairs[:, 0], told & ~present, within=PERCENTAGE))
    rows.append(part.area("infection_percent_roc_auc", pairs[:, 0], present, told))
    return rows


def _share_of_all(number: int, c: Counts) -> NDArray[np.float64]:
    return ratio(c[number], sum(c))


def _of_counts(
    part: Part, table: np.ndarray, score: Callable[[Counts], NDArray[np.float64]], within: Range = SHARE
) -> Interval | None:
    """Interval of a score of summed counts."""
    return part.patients.of_sums(table, lambda sums: score(Counts(*sums.T)), within)


def named(rows: Sequence[Row], subject: str, role: str | None) -> list[Row]:
    """The rows with whose they are."""
    return [{**row, "subject": subject, "role": role} for row in rows]
