"""All ratios in one picture, as an SVG that stands by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from covidpipe.report.svg import WIDTH

STEP, TOP, BOTTOM = 22, 34, 40
WORDS, PLOT = 520, WIDTH  # columns of the picture
STYLE = (
    "text{font:12px system-ui,'Liberation Sans',Arial,sans-serif;fill:#1d2530}.soft{fill:#566070}.head{font-weight:600}"
    ".grid{stroke:#dcdfe4}.one{stroke:#566070;stroke-dasharray:4 3}.spread{stroke:#1d2530;stroke-width:1.5}"
    ".ratio{fill:#0072b2}.goal{fill:none;stroke:#e69f00;stroke-width:2.5}"
)


@dataclass(frozen=True)
class Row:
    """A ratio with the least and the most of its pairs, and its goal if it has one."""

    what: str
    speedup: float
    low: float
    high: float
    goal: float | None


def ratios(groups: Sequence[tuple[str, Sequence[Row]]], label: str) -> str:
    """Dots on a logarithmic axis, a line from the least to the most of each, an upright stroke for its goal.

    Parameters
    ----------
    groups : sequence of (str, sequence of Row)
        Under a heading each.
    label : str
        What a screen reader says.
    """
    rows = [row for _, some in groups for row in some]
    ends = [value for row in rows for value in (row.low, row.high, row.goal or row.speedup)]
    first, last = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)) + 1e-9)
    last = max(last, first + 1)
    height = TOP + STEP * (len(rows) + len(groups)) + BOTTOM
    width = WORDS + PLOT + 30

    def across(value: float) -> float:
        return WORDS + (math.log10(value) - first) / (last - first) * PLOT

    marks = [
        Markup('<line class="{0}" x1="{1:.1f}" x2="{1:.1f}" y1="{2}" y2="{3}"/>').format(
            "one" if power == 0 else "grid", across(10.0**power), TOP, height - BOTTOM
        )
        + Markup('<text class="soft" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            across(10.0**power), height - BOTTOM + 18, f"{10.0**power:g}"
        )
        for power in range(first, last + 1)
    ]
    y = TOP
    for heading, some in groups:
        y += STEP
        marks.append(Markup('<text class="head" x="8" y="{:.1f}">{}</text>').format(y - 6, heading))
        for row in some:
            middle = y + STEP / 2
            y += STEP
            marks.append(
                Markup('<text class="soft" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                    WORDS - 12, middle + 4, row.what
                )
            )
            marks.append(
                Markup('<line class="spread" x1="{0:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{2:.1f}"/>').format(
                    across(row.low), across(row.high), middle
                )
            )
            if row.goal is not None:
                marks.append(
                    Markup('<line class="goal" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>').format(
                        across(row.goal), middle - 8, middle + 8
                    )
                )
            marks.append(
                Markup('<circle class="ratio" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>').format(
                    across(row.speedup), middle, f"{row.what}: {row.speedup:.3g}"
                )
            )
    told = "times as fast as what stands behind the slash; orange: the goal"
    marks.append(
        Markup('<text class="soft" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            WORDS + PLOT / 2, height - 4, told
        )
    )
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" '
            'aria-label="{2}"><style>{3}</style><rect width="{0}" height="{1}" fill="#ffffff"/>{4}</svg>\n'
        ).format(width, height, escape(label), Markup(STYLE), Markup("").join(marks))
    )
