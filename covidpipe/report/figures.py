"""Charts as small hand-made SVG: they take the page's colors, light, dark or printed, and need no network.

Every function is pure and returns markup that is safe to put on the page: each word passes through `escape`.
Lengths are in units of the viewBox, which is about as wide as a phone, so that labels stay readable there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from covidpipe.report import svg
from covidpipe.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH

SCATTER_POINTS = 2000


def upper_bound(values: np.ndarray) -> float:
    """The smallest of 5, 10, 20, 50 and 100 % that holds all `values`.

    >>> upper_bound(np.array([0.0, 12.5]))
    20.0
    """
    highest = float(values.max(initial=0.0))
    return next(float(bound) for bound in (5, 10, 20, 50, 100) if highest <= bound)


def distribution(values: np.ndarray, upper: float, label: str) -> Markup:
    """Histogram of percentages above 0, in 20 equal bins of (0, `upper`], with their median.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
        Percentages, each above 0 and at most `upper`; may be empty.
    upper : float
        End of the axis in %.
    label : str
        What a screen reader says.
    """
    height, bins = 210, 20
    counts = np.histogram(upper - values, bins=bins, range=(0, upper))[0][::-1]  # mirrored: bins closed at the right
    ticks = svg.count_ticks(int(counts.max(initial=0)))
    across, down = svg.axes(upper, ticks[-1], height)
    marks = [svg.gridline(down(t), f"{t:,}") for t in ticks]
    marks += [svg.x_tick(across(t), height, f"{t:g}") for t in np.linspace(0, upper, 6)]
    for i, count in enumerate(counts.tolist()):
        low, high = i * upper / bins, (i + 1) * upper / bins
        if count:
            marks.append(
                Markup(
                    '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
                ).format(
                    across(low) + 0.5,
                    down(count),
                    across(high) - across(low) - 1,
                    down(0) - down(count),
                    f"{low:g} to {high:g} %: {count:,} images",
                )
            )
    if len(values):
        middle = float(np.median(values))
        x, end = across(middle), "end" if middle > upper / 2 else "start"
        marks.append(
            Markup(
                '<line class="median" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                '<text class="halo" x="{3:.1f}" y="{4}" text-anchor="{5}">their median {6:.1f} %</text>'
            ).format(x, TOP - 10, height - BOTTOM, x + (-5 if end == "end" else 5), TOP - 5, end, middle)
        )
    marks.append(svg.x_title(height, "infected share of the lung, % (images at 0 left out)"))
    return svg.whole(height, label, marks)


def fates(segments: Sequence[tuple[str, str, int]], label: str) -> Markup:
    """One bar that shows what became of all images.

    Parameters
    ----------
    segments : sequence of (str, str, int)
        CSS class, words and number of images.
    label : str
        What a screen reader says.
    """
    total = sum(count for _, _, count in segments)
    x, marks = 0.0, []
    for kind, words, count in segments:
        width = WIDTH * count / total if total else 0.0
        if count:
            marks.append(
                Markup('<rect class="{}" x="{:.2f}" y="0" width="{:.2f}" height="16"><title>{}</title></rect>').format(
                    kind, x, max(width - 1, 0.8), f"{words}: {count:,} of {total:,}"
                )
            )
        x += width
    # as wide as its panel, never higher
    return Markup(
        '<svg class="strip" preserveAspectRatio="none" viewBox="0 0 {} 16" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, escape(label), Markup("").join(marks))


def agreement(first: np.ndarray, second: np.ndarray, names: tuple[str, str], upper: float, label: str) -> Markup:
    """Scatter of one method's percentages against another's, with the line of equality.

    Parameters
    ----------
    first, second : ndarray of float, shape (n,)
        Percentages of the same images; at most `SCATTER_POINTS` are drawn, evenly picked.
    names : (str, str)
        The methods, for the axes.
    upper : float
        End of both axes in %.
    label : str
        What a screen reader says.
    """
    height = WIDTH - LEFT - RIGHT + TOP + BOTTOM  # a square plot
    across, down = svg.axes(upper, upper, height)
    ticks = np.linspace(0, upper, 6)
    marks = [svg.gridline(down(t), f"{t:g}") for t in ticks] + [svg.x_tick(across(t), height, f"{t:g}") for t in ticks]
    marks.append(
        Markup('<line class="equal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            across(0), down(0), across(upper), down(upper)
        )
    )
    drawn = np.unique(np.linspace(0, len(first) - 1, min(len(first), SCATTER_POINTS)).astype(int))
    marks += [
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(across(first[i]), down(second[i]))
        for i in drawn
    ]
    marks.append(svg.x_title(height, f"{names[0]}, %"))
    marks.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format(LEFT, TOP - 4, f"{names[1]}, %"))
    return svg.whole(height, label, marks)


def reliability(rows: Sequence[dict], label: str) -> Markup:
    """What was said against what was so, with intervals and the line on which both agree.

    Parameters
    ----------
    rows : sequence of dict
        Bins with mean_probability, share, low, high, k and n, as `schemas.RELIABILITY` declares them.
    label : str
        What a screen reader says.
    """
    height, across, down, marks = svg.unit_square()
    marks.append(
        Markup('<line class="equal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            across(0), down(0), across(1), down(1)
        )
    )
    for row in rows:
        x = across(row["mean_probability"])
        marks.append(
            Markup(
                '<line class="median" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>'
                '<circle class="dot" cx="{0:.1f}" cy="{3:.1f}" r="4"><title>{4}</title></circle>'
            ).format(
                x,
                down(row["low"]),
                down(row["high"]),
                down(row["share"]),
                f"said {row['mean_probability']:.2f}, was so {row['k']} of {row['n']}",
            )
        )
    marks.append(svg.x_title(height, "mean probability of the bin"))
    marks.append(Markup('<text class="axis" x="{}" y="{}">{}</text>').format(LEFT, TOP - 4, "share that is positive"))
    return svg.whole(height, label, marks)


def intervals(rows: Sequence[tuple[str, float, float | None, float | None]], upper: float, label: str) -> Markup:
    """A line for each measure: its value as a dot, its 95 % interval as a bar through it.

    Parameters
    ----------
    rows : sequence of (str, float, float or None, float or None)
        Words, value and the ends of its interval, all in %.
    upper : float
        End of the axis in %.
    label : str
        What a screen reader says.
    """
    step, left = 26, 100
    height = TOP + step * len(rows) + BOTTOM

    def across(value: float) -> float:
        return left + value / upper * (WIDTH - left - RIGHT)

    marks = [svg.upright(across(t), height, f"{t:g}") for t in np.linspace(0, upper, 6)]
    for place, (words, value, low, high) in enumerate(rows):
        y = TOP + step * (place + 0.5)
        told = f"{words}: {value:.1f} %"
        marks.append(svg.row_words(left, y, words))
        if low is not None and high is not None:
            told += f", 95 % interval {low:.1f} to {high:.1f} %"
            marks.append(svg.whisker(across(low), across(high), y))
        marks.append(
            Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}</title></circle>').format(
                across(value), y, told
            )
        )
    marks.append(svg.x_title(height, "infected share of the lung, %", left))
    return svg.whole(height, label, marks)


def shares(rows: Sequence[tuple[str, float, float | None, float | None, int]], upper: float, label: str) -> Markup:
    """A bar for each class with its 95 % interval, its number written behind it.

    Parameters
    ----------
    rows : sequence of (str, float, float or None, float or None, int)
        Class, share in %, the ends of its interval, and how many it is of.
    upper : float
        End of the axis in %; it holds every interval.
    label : str
        What a screen reader says.
    """
    step, left, right = 26, 60, 40
    height = TOP + step * len(rows) + BOTTOM

    def across(value: float) -> float:
        return left + value / upper * (WIDTH - left - right)

    marks = [svg.upright(across(t), height, f"{t:g}") for t in np.linspace(0, upper, 6)]
    for place, (words, value, low, high, number) in enumerate(rows):
        y = TOP + step * (place + 0.5)
        marks.append(svg.row_words(left, y, words))
        marks.append(
            Markup('<rect class="share" x="{}" y="{:.1f}" width="{:.1f}" height="14"><title>{}</title></rect>').format(
                left, y - 7, max(across(value) - left, 0), f"{words} %: {number:,}, {value:.1f} %"
            )
        )
        if low is not None and high is not None:
            marks.append(svg.whisker(across(low), across(high), y))
        marks.append(
            Markup('<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                WIDTH - 2, y + 4, f"{number:,}"
            )
        )
    marks.append(svg.x_title(height, "share of the patients, %", left, right))
    return svg.whole(height, label, marks)


def course(lines: Sequence[tuple[str, Sequence[tuple[int, float]]]], days: int, upper: float, label: str) -> Markup:
    """One patient's percentages over the days, a line for each method.

    Parameters
    ----------
    lines : sequence of (str, sequence of (int, float))
        CSS class, and (day, percentage) by rising day.
    days : int
        End of the axis; at least 1.
    upper : float
        End of the other axis in %.
    label : str
        What a screen reader says.
    """
    height, width, left = 132, 220, 30

    def across(day: float) -> float:
        return left + day / days * (width - left - 12)

    def down(value: float) -> float:
        return height - 30 - value / upper * (height - 42)

    marks = [
        Markup(
            '<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>'
            '<text class="axis" x="{3}" y="{4:.1f}" text-anchor="end">{5:g}</text>'
        ).format(left, width - 12, down(t), left - 5, down(t) + 4, t)
        for t in (0, upper / 2, upper)
    ]
    marks += [
        Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
            across(day), height - 14, anchor, words
        )
        for day, anchor, words in ((0, "start", "day 0"), (days, "end", f"day {days}"))
    ]
    for kind, points in lines:
        path = " ".join(f"{across(day):.1f},{down(value):.1f}" for day, value in points)
        marks.append(Markup('<polyline class="{}" points="{}"/>').format(kind, path))
        marks += [
            Markup('<circle class="{} dot-{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
                kind, kind, across(day), down(value), f"day {day}: {value:.1f} %"
            )
            for day, value in points
        ]
    return svg.whole(height, label, marks, width)
