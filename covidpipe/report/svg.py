"""What every chart is made of: axes, ticks, words and whiskers as SVG, safe to put on a page.

Lengths are in units of the viewBox, which is about as wide as a phone, so that labels stay readable there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup, escape

WIDTH = 340
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 16, 42


def upright(x: float, height: int, words: str) -> Markup:
    """A tick of an axis along the bottom, and its line across the plot."""
    return Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
        x, TOP, height - BOTTOM
    ) + x_tick(x, height, words)


def row_words(left: float, y: float, words: str) -> Markup:
    return Markup('<text class="axis" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(left - 8, y + 4, words)


def whisker(low: float, high: float, y: float) -> Markup:
    return Markup(
        '<path class="whisker" d="M{0:.1f} {1:.1f}V{2:.1f}M{0:.1f} {3:.1f}H{4:.1f}M{4:.1f} {1:.1f}V{2:.1f}"/>'
    ).format(low, y - 4, y + 4, y, high)


def count_ticks(highest: int) -> list[int]:
    """Two to five round numbers from 0 that reach `highest`.

    >>> count_ticks(7), count_ticks(0), count_ticks(130)
    ([0, 2, 4, 6, 8], [0, 1], [0, 50, 100, 150])
    """
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(s for s in steps if highest <= 4 * s)
    return list(range(0, max(highest + step - 1, step) // step * step + 1, step))


Scale = Callable[[float], float]


def axes(x_upper: float, y_upper: float, height: int) -> tuple[Scale, Scale]:
    """Where a value lies across and down in a plot whose axes begin at 0."""
    return scales((0, x_upper), (0, y_upper), height)


def unit_square() -> tuple[int, Scale, Scale, list[Markup]]:
    """A square plot of shares against shares: its height, where a value lies across and down, its grid and ticks."""
    height = WIDTH - LEFT - RIGHT + TOP + BOTTOM
    across, down = axes(1, 1, height)
    ticks = [0.2 * n for n in range(6)]
    marks = [gridline(down(t), f"{t:.1g}") for t in ticks] + [x_tick(across(t), height, f"{t:.1g}") for t in ticks]
    return height, across, down, marks


def scales(x: tuple[float, float], y: tuple[float, float], height: int) -> tuple[Scale, Scale]:
    """Where a value lies across and down in a plot, from the lower and the upper end of each axis."""

    def across(value: float) -> float:
        return LEFT + (value - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return height - BOTTOM - (value - y[0]) / (y[1] - y[0]) * (height - BOTTOM - TOP)

    return across, down


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers, two to six of them, from at most `low` to at least `high`.

    >>> round_ticks(0, 0.76), round_ticks(-23.5, 12), round_ticks(2, 2)
    ([0.0, 0.2, 0.4, 0.6, 0.8], [-30.0, -20.0, -10.0, 0.0, 10.0, 20.0], [2.0, 2.1])
    """
    spread = high - low or 1.0
    steps = (factor * 10.0**power for power in range(math.floor(math.log10(spread)) - 1, 300) for factor in (1, 2, 5))
    step = next(s for s in steps if math.ceil(high / s) - math.floor(low / s) <= 5)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through points of the viewBox."""
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polyline class="{}" points="{}"/>').format(kind, told)


def area(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A filled area with corners at points of the viewBox."""
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Markup('<polygon class="{}" points="{}"/>').format(kind, told)


def gridline(y: float, words: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>'
        '<text class="axis" x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>'
    ).format(LEFT, WIDTH - RIGHT, y, LEFT - 6, y + 4, words)


def x_tick(x: float, height: int, words: str) -> Markup:
    return Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
        x, height - BOTTOM + 16, words
    )


def x_title(height: int, words: str, left: int = LEFT, right: int = RIGHT) -> Markup:
    return Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        (left + WIDTH - right) / 2, height - 6, words
    )


def whole(height: int, label: str, marks: Sequence[Markup], width: int = WIDTH) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, escape(label), Markup("").join(marks)
    )
