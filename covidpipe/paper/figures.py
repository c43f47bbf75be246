"""Figures of the papers, in colors that color-blind readers can tell apart (Okabe & Ito 2008), as SVG and PNG.

Every function draws and returns a matplotlib figure; `save` alone writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from covidpipe.io.files import replacing, write_text
from covidpipe.paper.frames import SCORINGS

Row = Mapping[str, Any]
# Okabe & Ito's palette without its yellow, which is too light for lines on white.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
MARKS = ("o", "s", "^", "D", "v", "P", "X")
COLORS = (BLUE, ORANGE, GREEN, RED, SKY, PINK, BLACK)
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "covidpipe",  # the same figure gives the same bytes
    "figure.dpi": 100,
}
CAPTIONS = {
    "border_effect": "What is counted decides the score. Top: the authors' released weights, and a painter that marks "
    "only the white margin of the exported figure, scored in three ways on the 74 test frames of Khan et al. With the "
    "margin counted as infected lung, the painter, which finds no lesion, comes close to the published score; in the "
    "CT alone its score is zero. Bars carry 95 % intervals, by drawing frames again. Bottom: the painter's only answer "
    "(orange), and frames with a small, a middling and a large lesion: orange is what their masks call infected, the "
    "margin included; a blue line is what the released weights mark.",
    "metric_ranges": "Lowest, mean and highest score of the classifiers of Table 3 that were trained from scratch, on "
    "wavelet-enhanced and on original images, as published and as recomputed here under both protocols. After "
    "Figures 6 and 8 of Khan et al.; the cross is CoV-CTNet (Table 2).",
    "feature_space": "The two first principal components of what CoV-CTNet's last hidden layer says of the test "
    "images, under the grouped protocol: patients in the test were never seen in training. After Figure 7 of Khan "
    "et al.",
    "precision_recall": "Precision against sensitivity of every classifier of this run on its test part. The area "
    "is the average precision with its 95 % interval, by drawing patients again; a dotted line is the share of "
    "images that are positive, the precision of a guess. After Figure 9 of Khan et al.",
    "convergence": "Loss on training images by epoch, and loss or score (higher is better) on validation images. After "
    "Figure 10 of Khan et al.",
    "iou_and_bfs": "IoU of the infected class and mean boundary F of every segmenter, as published (bars), and as "
    "recomputed under both protocols (marks with 95 % intervals). The dashed line is the border painter, which "
    "finds no lesion, scored as the paper scores. After Figure 12 of Khan et al.",
    "qualitative": "Test images with lesions from small to large: orange is what radiologists marked, blue lines are "
    "what each network of this run marks. After Figures 11, 13 and 14 of Khan et al.",
    "training_accuracy": "Loss on training images by epoch, and loss and score (higher is better) on validation "
    "images, of the detectors. After Figure 9 of Alom et al.",
    "roc": "ROC curves of the detectors of this run on their test parts; areas with 95 % intervals. After Figure 10 of "
    "Alom et al., which prints an area of 0.93 for pneumonia.",
    "lungs": "Lungs in test images: orange is the true mask, a blue line is what the network marks. After Figure 11 of "
    "Alom et al.",
    "heat_maps": "Infected share of the lung by the threshold of Alom et al.: image, lungs (blue line), what the "
    "threshold marks in them (orange) and a heat map of how far each pixel exceeds it. The number is the "
    "percentage. No mask of infection says how right it is in X-rays. After Figures 12 to 15 of Alom et al.; the "
    "last rows are slices without lung, where any mark is wrong.",
    "cost_against_quality": "What each network costs, and how good it is on patients it has not seen, with 95 % "
    "intervals by patient; one panel a task. Blue: networks of the two papers; black: a small one of our own. Dashed: "
    "the best control, which looks at no lung or at nearly nothing. Dotted: what others published, on other images and "
    "by other rules.",
}
SCORING_NAMES = {
    "full_frame_exact": "whole figure,\npixels of exactly 0 or 255",
    "full_frame": "whole figure,\nall pixels",
    "inside_ct": "the CT alone,\nall pixels",
}
ANSWERS = ("released weights", "border painter")
PROTOCOL_COLORS = {"published": ORANGE, "grouped": BLUE}


def save(figure: Figure, stem: Path, caption: str) -> None:
    """Write ``{stem}.svg``, ``{stem}.png`` (200 dots an inch) and ``{stem}.txt``, the caption."""
    with matplotlib.rc_context(STYLE):
        with replacing(stem.with_name(f"{stem.name}.svg")) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None, "Description": caption})
        with replacing(stem.with_name(f"{stem.name}.png")) as partial:
            figure.savefig(partial, format="png", dpi=200, metadata={"Description": caption})
    write_text(stem.with_name(f"{stem.name}.txt"), caption + "\n")


def border_effect(
    rows: Sequence[Row],
    shown: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    painted: np.ndarray,
    published: float,
) -> Figure:
    """IoU of the infected class by scoring, above frames that show what is counted.

    Parameters
    ----------
    rows : sequence of mapping
        Of PAPER_FRAMES.
    shown : sequence of (frame, mask, found)
        uint8 (rows, columns, 3), uint8 (rows, columns) and bool (rows, columns).
    painted : ndarray of bool, (rows, columns)
        What the painter marks.
    published : float
        The published IoU in %.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 6.4), layout="constrained")
        grid = figure.add_gridspec(2, 1 + len(shown), height_ratios=[1.5, 1])
        bars = figure.add_subplot(grid[0, :])
        panels = [figure.add_subplot(grid[1, i]) for i in range(1 + len(shown))]
    by_key = {(r["answer"], r["scoring"]): r for r in rows if (r["subject"], r["measure"]) == ("infected", "iou")}
    for number, answer in enumerate(ANSWERS):
        for place, scoring in enumerate(SCORINGS):
            row = by_key[answer, scoring]
            value, x = 100 * row["value"], place + (number - 0.5) * 0.3
            name = answer if place == 0 else None
            bars.bar(x, value, 0.28, color=COLORS[number], hatch=("", "//")[number % 2], edgecolor="white", label=name)
            highest = value
            if row["low"] is not None:
                highest = 100 * row["high"]
                bars.errorbar(x, value, [[value - 100 * row["low"]], [highest - value]], color=BLACK, capsize=2, lw=1)
            bars.annotate(f"{value:.2f}", (x, highest), (0, 3), textcoords="offset points", ha="center")
    bars.axhline(published, color=RED, linestyle="--", linewidth=1, label=f"published, {published} %", zorder=0)
    bars.set_xticks(range(len(SCORINGS)), [SCORING_NAMES[name] for name in SCORINGS])
    bars.set(ylim=(0, 112), yticks=range(0, 101, 20), ylabel="IoU of the infected class, %")
    bars.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.72))
    blank = np.full((*painted.shape, 3), 255, np.uint8)
    pictures = [(blank, painted, None), *((frame, mask > 127, found) for frame, mask, found in shown)]
    titles = ("border painter", "small lesion", "middling lesion", "large lesion")
    for panel, (frame, infected, found), title in zip(panels, pictures, titles, strict=False):
        panel.imshow(_tinted(frame, infected, ORANGE))
        if found is not None:
            panel.contour(found, [0.5], colors=[BLUE], linewidths=0.8)
        panel.set_title(title, fontsize=9)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(True)
    return figure


def _tinted(picture: np.ndarray, where: np.ndarray, color: str, share: float = 0.6) -> np.ndarray:
    """An RGB picture with a color laid over some of it."""
    tint = 255 * np.array(matplotlib.colors.to_rgb(color))
    return np.where(where[..., np.newaxis], (1 - share) * picture + share * tint, picture).astype(np.uint8)


def _axes(figure: Figure, rows: int, columns: int, **more: Any) -> np.ndarray:
    with matplotlib.rc_context(STYLE):
        return np.asarray(figure.subplots(rows, columns, squeeze=False, **more))


def _figure(width: float, height: float, label: str) -> Figure:
    """An empty figure that says what kind of run it is from, unless that is the full one."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        if label != "full":
            figure.suptitle(label, fontsize=9, color=RED, x=0.005, ha="left")
    return figure


def metric_ranges(tables: Mapping[str, Sequence[Row]], label: str) -> Figure:
    """Lowest, mean and highest of each measure over the rivals trained from scratch.

    Parameters
    ----------
    tables : mapping
        ``Table 2`` and ``Table 3`` to rows of PAPER_TABLE.
    label : str
    """
    measures = ("accuracy", "f_score", "mcc", "precision", "specificity", "sensitivity")
    columns = {
        "published": ("published", BLACK, "o"),
        "published protocol": ("published_protocol", ORANGE, "s"),
        "grouped protocol": ("grouped_protocol", BLUE, "D"),
    }
    figure = _figure(8.2, 3.4, label)
    panels = _axes(figure, 1, 2, sharey=True)[0]
    for panel, (regime, title) in zip(
        panels, (("scratch_wavelet", "wavelet-enhanced"), ("scratch_original", "original")), strict=True
    ):
        for number, (name, (column, color, mark)) in enumerate(columns.items()):
            for place, measure in enumerate(measures):
                x = place + (number - 1) * 0.24
                values = _shares(tables["Table 3"], regime, measure, column)
                if values:
                    panel.plot([x, x], [min(values), max(values)], color=color, linewidth=1.5)
                    panel.plot(x, sum(values) / len(values), mark, color=color, markersize=5)
                own = _shares([r for r in tables["Table 2"] if r["network"] == "cov_ctnet"], regime, measure, column)
                if own:
                    panel.plot(x, own[0], "x", color=color, markersize=6, markeredgewidth=1.5)
            drawn = any(row.get(column) is not None for rows in tables.values() for row in rows)
            panel.plot([], [], mark, color=color, label=name if drawn else f"{name}: not run")
        panel.set_title(title, fontsize=9)
        panel.set_xticks(range(len(measures)), [m.replace("_", " ") for m in measures], rotation=30, ha="right")
    panels[0].set_ylabel("score (1 is perfect)")
    figure.legend(*panels[1].get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=3)
    return figure


def _shares(rows: Sequence[Row], regime: str, measure: str, column: str) -> list[float]:
    return [
        row[column] / (100 if row["unit"] == "%" else 1)
        for row in rows
        if row["role"] == "network" and (row["regime"], row["measure"]) == (regime, measure)
        if row.get(column) is not None
        if row[column] <= (100 if row["unit"] == "%" else 1)  # a precision of 95.95 is a misprint
    ]


def iou_and_bfs(rows: Sequence[Row], painter: float | None, label: str) -> Figure:
    """IoU of the infected class and mean boundary F, published and recomputed, of every segmenter.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of PAPER_TABLE of Tables 5 and 6.
    painter : float, optional
        IoU of the border painter in %, scored as the paper does.
    label : str
    """
    figure = _figure(8.2, 7.4, label)
    panels = _axes(figure, 1, 2, sharey=True)[0]
    chosen = {
        (row["source"], row["row"], row["regime"], row["measure"]): row
        for row in rows
        if row["role"] == "network"
        and (row["subject"], row["measure"]) in (("infected", "iou"), ("all", "mean_boundary_f"))
    }
    names = list(dict.fromkeys(key[:3] for key in chosen))[::-1]
    for panel, measure, title in zip(
        panels, ("iou", "mean_boundary_f"), ("IoU of the infected class, %", "mean boundary F, %"), strict=True
    ):
        for place, name in enumerate(names):
            row = chosen.get((*name, measure))
            if row is None:
                continue
            if row.get("published") is not None:
                panel.barh(place, row["published"], color="#cccccc", height=0.7)
            for number, (protocol, color) in enumerate(PROTOCOL_COLORS.items()):
                value = row.get(f"{protocol}_protocol")
                if value is None:
                    continue
                y, ends = place + (0.5 - number) * 0.3, None
                if row.get(f"{protocol}_protocol_low") is not None:
                    ends = [[value - row[f"{protocol}_protocol_low"]], [row[f"{protocol}_protocol_high"] - value]]
                panel.errorbar(value, y, xerr=ends, fmt=MARKS[number], color=color, markersize=4, capsize=2, lw=1)
        panel.set(xlim=(0, 100), xlabel=title)
    panels[0].set_yticks(range(len(names)), [_row_name(*name) for name in names])
    if painter is not None:
        panels[0].axvline(painter, color=RED, linestyle="--", linewidth=1)
    for words, made in (
        ("published", {"marker": "s", "color": "#cccccc", "linestyle": ""}),
        *(
            (
                f"{p} protocol" + ("" if any(r.get(f"{p}_protocol") is not None for r in rows) else ": not run"),
                {"marker": m, "color": c, "linestyle": ""},
            )
            for (p, c), m in zip(PROTOCOL_COLORS.items(), MARKS, strict=False)
        ),
        *([("border painter", {"color": RED, "linestyle": "--"})] if painter is not None else []),
    ):
        panels[1].plot([], [], label=words, **made)
    figure.legend(*panels[1].get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=4)
    return figure


def _row_name(source: str, row: str, regime: str) -> str:
    return f"{row}, {regime.replace('_', ' ')}" if source == "Table 6" or row.islower() else row


def curves(found: Sequence[Mapping[str, Any]], kind: str, label: str) -> Figure:
    """Precision-recall or ROC curves, one panel a protocol.

    Parameters
    ----------
    found : sequence of mapping
        name, protocol, x, y (arrays), area, low, high, and ``chance`` (share of positives).
    kind : {"precision_recall", "roc"}
    label : str
    """
    figure = _figure(8.2, 4.2, label)
    panels = _axes(figure, 1, 2, sharey=True)[0]
    for panel, protocol in zip(panels, PROTOCOL_COLORS, strict=True):
        mine = [curve for curve in found if curve["protocol"] == protocol]
        for number, curve in enumerate(mine):
            ends = "" if curve["low"] is None else f" ({curve['low']:.2f} to {curve['high']:.2f})"
            style = ("-", "--", ":", "-.")[number // len(COLORS) % 4]
            panel.plot(
                curve["x"], curve["y"], color=COLORS[number % len(COLORS)], linestyle=style, linewidth=1.3,
                label=f"{curve['name']}: {curve['area']:.3f}{ends}",
            )  # fmt: skip
        panel.set_title(f"{protocol} protocol" + ("" if mine else ": not run"), fontsize=9)
        if kind == "roc":
            panel.plot([0, 1], [0, 1], color="#999999", linestyle=":", linewidth=1)
            panel.set(xlabel="1 - specificity")
        else:
            for chance in {curve["chance"] for curve in mine}:
                panel.axhline(chance, color="#999999", linestyle=":", linewidth=1)
            panel.set(xlabel="sensitivity")
        panel.set(xlim=(0, 1), ylim=(0, 1.02))
        if mine:
            place = "lower right" if kind == "roc" else "lower left"
            panel.legend(fontsize=6.5, loc=place, framealpha=0.85, edgecolor="none")
    panels[0].set_ylabel("sensitivity" if kind == "roc" else "precision")
    return figure


def histories(found: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """What was kept of a training by epoch, one panel a network.

    Parameters
    ----------
    found : sequence of mapping
        ``name``, and ``lines``: name of a series to its epochs and values.
    label : str
    """
    columns = min(3, max(1, len(found)))
    lines = -(-max(1, len(found)) // columns)
    figure = _figure(2.75 * columns, 2.3 * lines, label)
    panels = _axes(figure, lines, columns).ravel()
    for panel, history in zip(panels, found, strict=False):
        for number, (name, (epochs, values)) in enumerate(history["lines"].items()):
            panel.plot(
                epochs, values, color=COLORS[number], marker=MARKS[number], markersize=3, linewidth=1, label=name
            )
        panel.set_title(history["name"], fontsize=7)
        panel.set(xlabel="epoch", ylim=(0, None))
        panel.xaxis.get_major_locator().set_params(integer=True)
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    drawn = {name: line for panel in panels for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(drawn.values(), drawn.keys(), frameon=False, fontsize=7, loc="outside upper right", ncols=len(drawn))
    return figure


def feature_space(points: np.ndarray, positive: np.ndarray, shares: np.ndarray, label: str) -> Figure:
    """The first two principal components of what a network says of images.

    Parameters
    ----------
    points : ndarray, (n, 2)
    positive : ndarray of bool, (n,)
    shares : ndarray, (2,)
        Share of the variance that each component explains.
    label : str
    """
    figure = _figure(4.2, 3.8, label)
    panel = _axes(figure, 1, 1)[0, 0]
    for is_positive, color, mark, name in ((True, RED, "o", "infected"), (False, BLUE, "x", "not infected")):
        some = points[positive == is_positive]
        panel.plot(some[:, 0], some[:, 1], mark, color=color, markersize=4, alpha=0.7, label=f"{name} ({len(some)})")
    panel.set(
        xlabel=f"first component ({100 * shares[0]:.0f} % of the variance)",
        ylabel=f"second component ({100 * shares[1]:.0f} %)",
    )
    panel.legend(frameon=False)
    return figure


def gallery(
    names: Sequence[str], lines: Sequence[Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None] | None]], label: str
) -> Figure:
    """Images with a tinted mask and an outline: a column a name, a line an image.

    Parameters
    ----------
    names : sequence of str
    lines : sequence of sequence of (image, mask, outlined) or None
        uint8 (rows, columns), bool (rows, columns), and bool (rows, columns) or None. None: the place stays empty.
    label : str
    """
    figure = _figure(1.9 * len(names), 1.95 * len(lines) + 0.3, label)
    for number, (panels, line) in enumerate(zip(_axes(figure, len(lines), len(names)), lines, strict=True)):
        for panel, name, shown in zip(panels, names, line, strict=True):
            panel.set_axis_off()
            if shown is None:
                continue
            image, mask, outlined = shown
            panel.imshow(_tinted(np.repeat(image[..., np.newaxis], 3, axis=2), mask, ORANGE, 0.45))
            if outlined is not None and outlined.any() and not outlined.all():
                panel.contour(outlined, [0.5], colors=[BLUE], linewidths=1)
            if number == 0:
                panel.set_title(name, fontsize=8)
    return figure


def heat_maps(lines: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """Image, lungs, marked regions and how far each pixel exceeds the threshold; the percentage is the title.

    Parameters
    ----------
    lines : sequence of mapping
        name, image (uint8), lung_mask, infection_mask (bool), excess (float, 0 to 1), percent (float or None).
    label : str
    """
    figure = _figure(7.0, 1.85 * len(lines) + 0.3, label)
    for panels, line in zip(_axes(figure, len(lines), 4), lines, strict=True):
        grey = np.repeat(line["image"][..., np.newaxis], 3, axis=2)
        panels[0].imshow(grey)
        panels[1].imshow(grey)
        if line["lung_mask"].any():
            panels[1].contour(line["lung_mask"], [0.5], colors=[BLUE], linewidths=1)
        panels[2].imshow(_tinted(grey, line["infection_mask"], ORANGE))
        panels[3].imshow(np.where(line["lung_mask"], line["excess"], np.nan), cmap="viridis", vmin=0, vmax=1)
        panels[0].set_title(line["name"], fontsize=7)
        percent = line["percent"]
        panels[2].set_title("no lung" if percent is None else f"{percent:.2f} % of the lung", fontsize=8)
        for panel in panels:
            panel.set_axis_off()
    return figure


def _apart(values: Sequence[float], least: float, top: float) -> list[float]:
    """Places of labels near ascending `values`, each at least `least` above the one before, the last at most at `top`.

    >>> [round(place, 2) for place in _apart([0.5, 0.5, 0.52, 1.0, 1.0], 0.1, 1.0)]
    [0.5, 0.6, 0.7, 0.9, 1.0]
    """
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + least) if places else value)
    for number in range(len(places) - 1, -1, -1):
        places[number] = min(places[number], top - least * (len(places) - 1 - number))
    return places


def cost_against_quality(boards: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """Milliseconds an image against the leading measure, a panel a task.

    Parameters
    ----------
    boards : sequence of mapping
        title, measure, and rows of LEADERBOARD: networks, control (the best, or None), references.
    label : str
    """
    figure = _figure(5.2 * len(boards), 4.8, label)
    panels = _axes(figure, 1, len(boards))[0]
    for panel, told in zip(panels, boards, strict=True):
        costs = [row["cpu_ms"] for row in told["networks"]]
        panel.set(xscale="log", xlim=(min(costs) / 2, 2 * max(costs)), ylim=(0, 1.02))
        panel.set(xlabel="ms an image on a CPU", ylabel=told["measure"])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.set_title(told["title"], fontsize=9)
        marks: list[tuple[Mapping[str, Any], str, str]] = []  # row, name and color of what is named beside the panel
        for row in told["networks"]:
            value, ends = row["value"], None
            if row.get("low") is not None:
                ends = [[value - row["low"]], [row["high"] - value]]
            color = BLACK if row["row"] == "compact_unet" else BLUE
            panel.errorbar(row["cpu_ms"], value, yerr=ends, fmt="o", color=color, markersize=4, capsize=2, lw=0.7)
            marks.append((row, row["row"], color))
        control = [] if told["control"] is None else [told["control"]]
        for row in (*control, *told["references"]):
            name, color, style = row["row"].replace("_", " "), GREEN, ":"
            if row["role"] == "control":
                name, color, style = f"{name} (control)", RED, "--"
            panel.axhline(row["value"], color=color, linestyle=style, linewidth=0.8, zorder=0)
            marks.append((row, name, color))
        marks.sort(key=lambda mark: mark[0]["value"])
        right = panel.get_xlim()[1]
        for (row, name, color), place in zip(marks, _apart([m[0]["value"] for m in marks], 0.04, 1.0), strict=True):
            beside = (right * (right / panel.get_xlim()[0]) ** 0.06, place)
            panel.plot(
                [row.get("cpu_ms") or right, right, beside[0]], [row["value"], row["value"], place],
                color=color, linewidth=0.3, clip_on=False, zorder=0,
            )  # fmt: skip
            panel.annotate(
                name, beside, (2, 0), textcoords="offset points", va="center", fontsize=6, color=color,
                annotation_clip=False,
            )  # fmt: skip
    return figure
