"""Alom et al.'s percentages of infection: those they print, and what their method finds on images that can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidpipe.metrics.agreement import mean_absolute_error
from covidpipe.metrics.intervals import bootstrap_by_group, proportion
from covidpipe.paper.published import Published
from covidpipe.paper.tables import Result, Row, Scores, control_rows, filled, printed_row, unfilled
from covidpipe.registry import PROTOCOLS

# Images of one kind, and the figure of the paper that shows such images. Figure 13 calls slices below the diaphragm its
# abdominal CT.
KINDS = {
    "COVID-19 in X-rays": "Figure 12",
    "CT with lesions": "Figure 13",
    "CT with lungs and no lesion": "Figure 13",
    "CT without lungs": "Figure 13",
}
MEASURES = {("", name): name for name in ("infection_percent", "mean_absolute_error", "share_with_percent")}


@dataclass(frozen=True)
class Percentages:
    """Percentages of images of one kind, under one protocol.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    protocol, dataset : str
    found : ndarray of float, (n,)
        In 0..100; NaN where no lung was found.
    true : ndarray of float, (n,), optional
        Inside the true lungs, by the true lesions; NaN where there is no lung. None where nobody drew masks.
    in_true_lungs : ndarray of float, (n,), optional
        What the threshold alone finds, in the true lungs.
    groups : ndarray, (n,)
        Patients.
    """

    kind: str
    protocol: str
    dataset: str
    found: np.ndarray
    groups: np.ndarray
    true: np.ndarray | None = None
    in_true_lungs: np.ndarray | None = None

    def result(self, seed: int) -> Result:
        """What is told of them, with two controls where masks were drawn: no network, and no method at all."""
        controls: dict[str, Scores] = {}
        if self.true is not None and np.isfinite(self.true).any():
            controls["always_zero"] = percent_scores(np.zeros_like(self.true), self.true, self.groups, seed)
            assert self.in_true_lungs is not None
            controls["true_lungs"] = percent_scores(self.in_true_lungs, self.true, self.groups, seed)
        scores = percent_scores(self.found, self.true, self.groups, seed)
        return Result(
            self.kind, "quantify", self.dataset, "nabla3", "scratch", self.protocol, scores, controls=controls
        )


def percent_scores(found: np.ndarray, true: np.ndarray | None, groups: np.ndarray, seed: int) -> Scores:
    """Mean percentage, mean absolute error, and the share of images with a percentage, as shares of 1.

    Parameters
    ----------
    found, true : ndarray of float, (n,)
        In 0..100; NaN: none. Without `true` there is no error.
    groups : ndarray, (n,)
        Patients: the units of the intervals.

    Returns
    -------
    dict of dict
        By measure: value, low, high, n, patients.

    Examples
    --------
    >>> scores = percent_scores(np.array([10.0, 30.0, np.nan]), np.array([10.0, 20.0, 5.0]), np.arange(3), seed=1)
    >>> [scores[name]["value"] for name in ("infection_percent", "mean_absolute_error")]
    [0.2, 0.05]
    """

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if len(values) else None

    told = np.isfinite(found)
    interval = bootstrap_by_group(found[told] / 100, groups[told], mean, seed=seed, within=(0, 1))
    scores = {"infection_percent": _score(mean(found[told] / 100), interval, groups[told])}
    scores["share_with_percent"] = _score(mean(told), proportion(told, groups), groups)
    if true is not None:
        both = told & np.isfinite(true)
        pairs = np.column_stack([found[both], true[both]]) / 100
        interval = bootstrap_by_group(pairs, groups[both], mean_absolute_error, seed=seed, within=(0, 1))
        scores["mean_absolute_error"] = _score(mean_absolute_error(pairs), interval, groups[both])
    return scores


def _score(value: float | None, interval: tuple[float, float, str] | None, groups: np.ndarray) -> dict[str, object]:
    low, high, _ = interval or (None, None, None)
    return {"value": value, "low": low, "high": high, "n": len(groups), "patients": len(np.unique(groups))}


def percent_table(published: Published, found: Sequence[Percentages], label: str, seed: int) -> list[Row]:
    """The printed percentages, whose images nobody has, and below them those of images that can be had.

    Returns
    -------
    list of dict
        Rows of PAPER_TABLE.
    """
    rows = [printed_row(cell, label) for cell in published.where(measure="infection_percent")]
    for kind, source in KINDS.items():
        results = {one.protocol: one.result(seed) for one in found if one.kind == kind}
        for subject, measure in MEASURES:
            row = unfilled(source, kind, "nabla3", "scratch", subject, measure, "%", label)
            rows.append(filled(row, measure, results))
        ordered = [results[protocol] for protocol in PROTOCOLS if protocol in results]
        units = dict.fromkeys(MEASURES.values(), "%")
        for row in control_rows(source, ordered, MEASURES, label, units):
            rows.append({**row, "row": f"{kind}: {row['row']}"})
    return rows
