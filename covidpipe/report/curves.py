"""Charts of a study's networks as SVG: training, ROC and precision-recall, Bland-Altman, values with intervals.

As in `covidpipe.report.figures`, every function is pure and returns markup that is safe to put on the page. What color
tells is told by a dash, a shape or a word as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from covidpipe.metrics.curves import Place
from covidpipe.report import svg
from covidpipe.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH

LINE_POINTS = 400
SCATTER_POINTS = 1000


def training(lines: Sequence[tuple[str, np.ndarray, np.ndarray]], best: int | None, words: str, label: str) -> Markup:
    """One measure by epoch, of the training and the validation part.

    Parameters
    ----------
    lines : sequence of (str, ndarray, ndarray)
        Part (``train`` or ``validation``), epochs from 0, values.
    best : int, optional
        Epoch, from 0, whose weights were kept.
    words : str
        What is measured, written above the axis.
    label : str
        What a screen reader says.
    """
    height = 190
    last = max(1, *(int(epochs.max()) + 1 for _, epochs, _ in lines))
    values = np.concatenate([values[np.isfinite(values)] for _, _, values in lines])
    lowest = 0.0 if values.max(initial=0) <= 1 and words != "loss" else float(values.min())
    ticks = svg.round_ticks(lowest, float(values.max()))
    across, down = svg.scales((1, max(2, last)), (ticks[0], ticks[-1]), height)
    marks = [svg.gridline(down(t), f"{t:g}") for t in ticks]
    marks += [svg.x_tick(across(t), height, str(t)) for t in _epoch_ticks(last)]
    if best is not None:
        x = across(best + 1)
        marks.append(
            Markup('<line class="best" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"><title>{3}</title></line>').format(
                x, TOP, height - BOTTOM, f"kept: epoch {best + 1}"
            )
        )
    for part, epochs, of_part in lines:
        points = [(across(e + 1), down(v)) for e, v in zip(epochs, of_part, strict=True) if np.isfinite(v)]
        marks.append(svg.path(points, f"curve curve-{part}"))
        if len(points) == 1:
            marks.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(*points[0]))
    marks.append(svg.x_title(height, "epoch"))
    marks.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format(LEFT, TOP - 5, words))
    return svg.whole(height, label, marks)


def _epoch_ticks(last: int) -> list[int]:
    """Whole epochs to write under the axis, the first and about four more.

    >>> _epoch_ticks(30), _epoch_ticks(3), _epoch_ticks(1)
    ([1, 10, 20, 30], [1, 2, 3], [1])
    """
    if last <= 5:
        return list(range(1, last + 1))
    return [1, *(t for t in svg.count_ticks(last)[1:] if t <= last)]


def curve(
    x: np.ndarray, y: np.ndarray, band: Sequence[Place], chance: tuple[float, float], words: tuple[str, str], label: str
) -> Markup:
    """A curve in the unit square, with its pointwise intervals as a band.

    Parameters
    ----------
    x, y : ndarray, (n,)
        The curve; drawn as steps, for between two thresholds there is nothing.
    band : sequence of Place
    chance : (float, float)
        What an answer by chance gives at x = 0 and at x = 1.
    words : (str, str)
        What the axes tell.
    label : str
        What a screen reader says.
    """
    height, across, down, marks = svg.unit_square()
    marks.append(svg.path([(across(0), down(chance[0])), (across(1), down(chance[1]))], "equal"))
    for known, of_run in groupby(band, lambda place: place.low is not None and place.high is not None):
        places = list(of_run)
        if known and len(places) > 1:
            upper = [(across(p.x), down(p.high)) for p in places if p.high is not None]
            lower = [(across(p.x), down(p.low)) for p in places if p.low is not None]
            marks.append(svg.area([*upper, *lower[::-1]], "band"))
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), LINE_POINTS)).astype(int))
    marks.append(svg.path(_steps([(across(x[i]), down(y[i])) for i in kept]), "curve curve-validation"))
    marks.append(svg.x_title(height, words[0]))
    marks.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format(LEFT, TOP - 5, words[1]))
    return svg.whole(height, label, marks)


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners of a staircase: first along, then up or down.

    >>> _steps([(0, 0), (2, 3)])
    [(0, 0), (2, 0), (2, 3)]
    """
    found = list(points[:1])
    for before, point in pairwise(points):
        if before[0] != point[0] and before[1] != point[1]:
            found.append((point[0], before[1]))
        found.append(point)
    return found


def bland_altman(pairs: np.ndarray, lines: Sequence[tuple[str, dict[str, Any]]], label: str) -> Markup:
    """Differences of found from true percentages against their mean, with bias and limits of agreement.

    Parameters
    ----------
    pairs : ndarray, (n, 2)
        Found and true percentage of each image; at most `SCATTER_POINTS` are drawn, evenly picked.
    lines : sequence of (str, dict)
        Words, and value, low and high of the bias and of the limits; None where undefined.
    label : str
        What a screen reader says.
    """
    height = WIDTH - LEFT - RIGHT + TOP + BOTTOM
    means, differences = pairs.mean(axis=1), pairs[:, 0] - pairs[:, 1]
    told = [(words, row) for words, row in lines if row["value"] is not None]
    values = [row["value"] for _, row in told]
    low, high = min([*differences, *values, 0.0]), max([*differences, *values, 0.0])
    y_ticks, x_ticks = svg.round_ticks(low, high), svg.round_ticks(0, max(float(means.max(initial=0)), 1.0))
    across, down = svg.scales((0, x_ticks[-1]), (y_ticks[0], y_ticks[-1]), height)
    marks = [svg.gridline(down(t), f"{t:g}") for t in y_ticks] + [
        svg.x_tick(across(t), height, f"{t:g}") for t in x_ticks
    ]
    right = WIDTH - RIGHT
    for place, (words, row) in enumerate(told):
        kind, y = "median" if words == "bias" else "best", down(row["value"])
        marks.append(
            Markup('<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"><title>{}</title></line>').format(
                kind, LEFT, right, y, y, f"{words} {row['value']:.1f}"
            )
        )
        if row["low"] is not None and row["high"] is not None:
            marks.append(
                _upright_whisker(right - 5 - 8 * place, (row["low"], row["high"]), (y_ticks[0], y_ticks[-1]), down)
            )
    drawn = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), SCATTER_POINTS)).astype(int))
    marks += [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(across(means[i]), down(differences[i]))
        for i in drawn
    ]
    marks += [
        Markup('<text class="halo" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            right - 30, down(row["value"]) - 5, f"{words} {row['value']:.1f}"
        )
        for words, row in told
    ]
    marks.append(svg.x_title(height, "mean of found and true infection_percent"))
    marks.append(Markup('<text class="axis" x="{}" y="{}">found − true, points</text>').format(LEFT, TOP - 5))
    return svg.whole(height, label, marks)


def _upright_whisker(x: float, ends: tuple[float, float], axis: tuple[float, float], down: svg.Scale) -> Markup:
    """An interval beside its line; an end that lies outside of the plot has no crossbar."""
    low, high = max(ends[0], axis[0]), min(ends[1], axis[1])
    told = f"M{x:.1f} {down(low):.1f}V{down(high):.1f}"
    told += "".join(
        f"M{x - 3:.1f} {down(end):.1f}h6" for end, wanted in zip((low, high), ends, strict=True) if end == wanted
    )
    return Markup('<path class="whisker" d="{}"/>').format(told)


def values(rows: Sequence[tuple[str, float, float | None, float | None, bool]], words: str, label: str) -> Markup:
    """A line for each answer, under its name: its value as a dot, its 95 % interval as a bar; controls are hollow.

    Parameters
    ----------
    rows : sequence of (str, float, float or None, float or None, bool)
        Words, value, the ends of its interval, and whether it is a control.
    words : str
        What is measured.
    label : str
        What a screen reader says.
    """
    step, left = 32, 12
    height = TOP + step * len(rows) + BOTTOM
    known = [end for _, value, low, high, _ in rows for end in (value, low, high) if end is not None]
    ticks = svg.round_ticks(min([*known, 0.0]), max([*known, 0.0]))

    def across(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - left - RIGHT)

    marks = [svg.upright(across(t), height, f"{t:g}") for t in ticks]
    for place, (name, value, low, high, control) in enumerate(rows):
        y = TOP + step * (place + 0.75)
        told = f"{name}: {value:.3f}"
        marks.append(Markup('<text class="halo plain" x="{}" y="{:.1f}">{}</text>').format(left, y - 9, name))
        if low is not None and high is not None:
            told += f", 95 % interval {low:.3f} to {high:.3f}"
            marks.append(svg.whisker(across(low), across(high), y))
        marks.append(
            Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="4.5"><title>{}</title></circle>').format(
                "hollow" if control else "point", across(value), y, told
            )
        )
    marks.append(svg.x_title(height, words, left))
    return svg.whole(height, label, marks)
