"""Alom et al.'s percentages of infection: those they print, and what their method finds on images that can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidpipe.metrics.summary import Part
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
        Rows of METRICS_SUMMARY, but for `subject` and `role`, by measure.

    Examples
    --------
    >>> scores = percent_scores(np.array([10.0, 30.0, np.nan]), np.array([10.0, 20.0, 5.0]), np.arange(3), seed=1)
    >>> [scores[name]["value"] for name in ("infection_percent", "mean_absolute_error")]
    [0.2, 0.05]
    """
    part = Part(groups, seed)
    rows = [part.mean("infection_percent", found / 100), part.share("share_with_percent", np.isfinite(found))]
    if true is not None:
        rows.append(part.mean("mean_absolute_error", np.abs(found - true) / 100))
    return {row["measure"]: row for row in rows}


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
