"""A graph without loops as a picture: boxes in layers, each below all that it needs, and lines that pass no box."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from covidpipe.report import svg

BOX, GAP = 104, 14  # width of a box, and between two
ROW, BOX_HEIGHT = 58, 36
SWEEPS = 8
LETTER = 6.6  # width of a letter; longer words are cut

Edge = tuple[str, str]


def layers(nodes: Collection[str], edges: Collection[Edge]) -> list[list[str]]:
    """Nodes by how far they are from the first ones, by the longest way.

    >>> layers(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    [['a'], ['b'], ['c']]
    """
    depth: dict[str, int] = {}

    def depth_of(node: str) -> int:
        if node not in depth:
            depth[node] = max((depth_of(needed) + 1 for needed, needing in edges if needing == node), default=0)
        return depth[node]

    found: list[list[str]] = []
    for node in sorted(nodes):
        found += [[] for _ in range(depth_of(node) + 1 - len(found))]
        found[depth[node]].append(node)
    return found


def graph(nodes: Mapping[str, tuple[str, str]], edges: Collection[Edge], label: str) -> Markup:
    """Draw it.

    Parameters
    ----------
    nodes : mapping of str to (str, str)
        What stands in each box: its name's line, and a second, softer one.
    edges : collection of (str, str)
        The box above and the one below.
    label : str
        What a screen reader says.
    """
    rows = layers(nodes, edges)
    depth = {node: place for place, row in enumerate(rows) for node in row}
    chains = []  # a line that passes layers gets a place of its own in each
    for needed, needing in sorted(edges):
        between = [f"{needed}>{needing}@{place}" for place in range(depth[needed] + 1, depth[needing])]
        for name in between:
            rows[depth[needed] + 1 + between.index(name)].append(name)
        chains.append([needed, *between, needing])
    rows = _untangled(rows, [pair for chain in chains for pair in pairwise(chain)])
    width = max(sum(BOX if node in nodes else GAP for node in row) + GAP * (len(row) + 1) for row in rows)
    width = max(width, svg.WIDTH)
    where: dict[str, tuple[float, float]] = {}
    for place, row in enumerate(rows):
        x = (width - sum((BOX if node in nodes else GAP) + GAP for node in row) - GAP) / 2
        for node in row:
            wide = BOX if node in nodes else GAP
            x += GAP
            where[node] = x + wide / 2, svg.TOP + place * ROW
            x += wide
    marks = [_line([where[node] for node in chain]) for chain in chains]
    marks += [_box(*where[node], *words) for node, words in nodes.items()]
    return svg.whole(svg.TOP + ROW * (len(rows) - 1) + BOX_HEIGHT + svg.TOP, label, marks, int(width))


def _untangled(rows: list[list[str]], pairs: Sequence[Edge]) -> list[list[str]]:
    """Rows in an order with few crossings: each node as near as may be to the middle of its neighbours (Sugiyama)."""
    beside: dict[str, list[str]] = {}
    for one, other in pairs:
        beside.setdefault(one, []).append(other)
        beside.setdefault(other, []).append(one)
    for sweep in range(SWEEPS):
        places = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for place in places:
            fixed = rows[place - 1 if sweep % 2 == 0 else place + 1]
            at = {node: (i + 0.5) / len(fixed) for i, node in enumerate(fixed)}
            own = {node: (i + 0.5) / len(rows[place]) for i, node in enumerate(rows[place])}

            def middle(node: str, at: dict[str, float] = at, own: dict[str, float] = own) -> float:
                found = [at[other] for other in beside.get(node, ()) if other in at]
                return sum(found) / len(found) if found else own[node]

            rows[place] = sorted(rows[place], key=middle)
    return rows


def _line(points: Sequence[tuple[float, float]]) -> Markup:
    """From the lower edge of the first box to the upper edge of the last, straight through the layers between."""
    (x, y), *rest = points
    told = f"M{x:.1f} {y + BOX_HEIGHT:.1f}"
    below = y + BOX_HEIGHT
    for place, (to_x, to_y) in enumerate(rest):
        half = (below + to_y) / 2
        told += f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
        if place < len(rest) - 1:
            told += f"V{to_y + BOX_HEIGHT:.1f}"
        x, below = to_x, to_y + BOX_HEIGHT
    return Markup('<path class="edge" d="{}"/>').format(told)


def _box(x: float, y: float, name: str, words: str) -> Markup:
    most = int(BOX / LETTER)
    shown = words if len(words) <= most else f"{words[: most - 1]}…"
    return Markup(
        '<rect class="node" x="{:.1f}" y="{:.1f}" width="{}" height="{}" rx="6"/>'
        '<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>'
        '<text class="axis" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}<title>{}</title></text>'
    ).format(x - BOX / 2, y, BOX, BOX_HEIGHT, x, y + 15, name, x, y + 29, shown, words)
