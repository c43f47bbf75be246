"""docs/reproduction.md: what was reproduced and what was not, in measured values only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from covidpipe.config import Config
from covidpipe.io.readable import markdown_table
from covidpipe.paper.published import Cell
from covidpipe.paper.tables import Row
from covidpipe.registry import DATASETS, PROTOCOLS

LABELS = {
    "full": "the papers' schedules",
    "short": "small networks, few epochs and a subset of models, on the real images: what the pipeline can do in an "
    "hour, not what the networks can",
    "phantoms": "synthetic patients and tiny networks, because the real images were not there: this shows that "
    "everything runs, and says nothing of the papers",
}
# Said in full for each; of the others only how many fail.
SAID = 6


def page(
    config: Config,
    *,
    tables: Mapping[str, Sequence[Row]],
    frames: Sequence[Mapping[str, Any]],
    painter: tuple[float, list[Cell], int] | None,
    checks: Sequence[Mapping[str, Any]],
    trained: Sequence[Mapping[str, Any]],
    figures: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    hardware: str,
    claimed: Cell,
) -> str:
    """The page as Markdown.

    Parameters
    ----------
    config : Config
    tables : mapping
        Title to rows of PAPER_TABLE.
    frames : sequence of mapping
        Rows of PAPER_FRAMES; empty where the authors' files were not there.
    painter : tuple, optional
        Of `tables.beaten_by_painter`.
    checks : sequence of mapping
        Rows of PAPER_CHECKS.
    trained : sequence of mapping
        recipe, dataset, model, regime, protocol, width, image_size, epochs, device, minutes of each network.
    figures : mapping
        Paper to the figures that were drawn and those that were not.
    hardware : str
    claimed : Cell
        The published infected IoU of the network whose weights were released.
    """
    parts = [
        "# What of the two papers was reproduced\n\n"
        "Written by `snakemake paper`; every number is measured or printed in a paper, none is typed in. "
        f"Label of this run: **{config.paper.label}**, {LABELS[config.paper.label]}.",
        _conclusions(frames, painter, checks, trained, claimed, tables),
        _ran(config, trained, hardware),
        _covered(tables, figures),
        _compared(tables),
        _border(frames),
        _checked(checks),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _conclusions(
    frames: Sequence[Mapping[str, Any]],
    painter: tuple[float, list[Cell], int] | None,
    checks: Sequence[Mapping[str, Any]],
    trained: Sequence[Mapping[str, Any]],
    claimed: Cell,
    tables: Mapping[str, Sequence[Row]],
) -> str:
    failing = sum(check["verdict"] == "fails" for check in checks)
    lines = [
        f"- Of {len(checks)} checks of printed numbers against other printed numbers, {failing} fail (below). They "
        "need no image and no network."
    ]
    by_key = {(f["answer"], f["scoring"], f["subject"], f["measure"]): f for f in frames}
    if by_key:
        exact, inside = (
            by_key["released weights", scoring, "infected", "iou"] for scoring in ("full_frame_exact", "inside_ct")
        )
        dice, each = (
            by_key["released weights", "inside_ct", "infected", measure] for measure in ("dice", "mean_dice_of_frames")
        )
        lines.append(
            f"- The authors' released weights give an infected IoU of {100 * exact['value']:.2f} % on their "
            f"{exact['n']} test frames when the white margin of the exported figures counts as infected lung "
            f"({claimed.printed} % is published), and {100 * inside['value']:.2f} % in the CT alone: a Dice of "
            f"{dice['value']:.3f} pooled (95 % interval {dice['low']:.3f} to {dice['high']:.3f}), "
            f"{each['value']:.3f} a frame ({each['low']:.3f} to {each['high']:.3f}). The split is still by slice, so "
            "neighbors of test slices were trained on."
        )
    if painter is not None:
        value, beaten, count = painter
        lines.append(
            f"- A painter that marks only that margin and finds no lesion has {value:.2f} % under the paper's "
            f"scoring, more than {len(beaten)} of the {count} published networks."
        )
    if trained:
        lines.append(
            f"- {len(trained)} networks were trained here; the table below has them beside the published numbers. "
            "Under the protocol `published` single images are drawn at random, so slices of a patient stand on both "
            "sides; only `grouped` says what a network does with a new patient."
        )
    else:
        lines.append(
            "- No network was trained in this run: whether the published architectures reach the published scores "
            "under the published split, and what is left of them under a grouped one, is not told here."
        )
    lines.append(_percentages(tables))
    return "## What a reader may conclude\n" + "\n".join(lines)


def _percentages(tables: Mapping[str, Sequence[Row]]) -> str:
    """What may be said of the percentages of Alom et al."""
    said = (
        "- No percentage that Alom et al. print can be checked: the images were not published, and no mask of "
        "infection exists for X-rays."
    )
    wanted = {"measure": "mean_absolute_error", "row": "CT with lesions"}
    for row in (row for rows in tables.values() for row in rows):
        if wanted.items() <= row.items() and row.get("grouped_protocol") is not None:
            said += (
                " On CT slices in which radiologists drew the lesions, their method with a network for lungs trained "
                f"here is off by {_with_interval(row, 'grouped')} points of the lung on unseen patients."
            )
    return said


def _ran(config: Config, trained: Sequence[Mapping[str, Any]], hardware: str) -> str:
    sets = list(dict.fromkeys(recipe.dataset for recipe in config.training.values()))
    rows = [
        [name, DATASETS[name].text, DATASETS[name].licence, "yes" if config.source_root(name).exists() else "no"]
        for name in sets
    ]
    said = ["## Data, hardware, schedule\n" + markdown_table(["dataset", "what it is", "licence", "there"], rows)]
    said.append(f"Hardware: {hardware}.")
    if trained:
        columns = (
            "recipe",
            "dataset",
            "model",
            "regime",
            "protocol",
            "width",
            "image_size",
            "epochs",
            "minutes",
            "device",
        )
        said.append(markdown_table(columns, [[fact[name] for name in columns] for fact in trained]))
    missing = sorted(set(config.training) - {fact["recipe"] for fact in trained})
    if missing:
        said.append(
            f"Not run, {len(missing)} of {len(config.training)} networks of `{config.study}`: {', '.join(missing)}."
        )
    return "\n\n".join(part.rstrip() for part in said)


def _covered(tables: Mapping[str, Sequence[Row]], figures: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> str:
    rows = []
    for title, found in tables.items():
        printed = [row for row in found if row.get("published") is not None and row["role"] == "network"]
        rows.append(
            [
                title,
                len(printed),
                *(
                    sum(row.get(f"{p}_protocol") is not None for row in printed) or "not run"
                    for p in ("published", "grouped")
                ),
                sum(row["role"] == "released" for row in found) or "-",
                len({(row["row"], row["scoring"]) for row in found if row["role"] == "control"}) or "-",
            ]
        )
    said = "## Tables and figures\n" + markdown_table(
        [
            "table",
            "printed numbers",
            "under the published protocol",
            "under the grouped protocol",
            "from released weights",
            "controls",
        ],
        rows,
    )
    for paper, (drawn, missing) in figures.items():
        said += f"\nFigures of {paper}: {', '.join(drawn) or 'none'}; not run: {', '.join(missing) or 'none'}."
    return said


def _compared(tables: Mapping[str, Sequence[Row]]) -> str:
    """One measure a network, of those that were trained."""
    lines = []
    for title, found in tables.items():
        for row in found:
            if row["role"] != "network" or (row["subject"], row["measure"]) not in (
                ("", "accuracy"), ("", "roc_auc"), ("", "auc"), ("infected", "iou"), ("infected", "dice"), ("", "dice"),
            ):  # fmt: skip
                continue
            if all(row.get(f"{protocol}_protocol") is None for protocol in PROTOCOLS):
                continue
            lines.append(
                [
                    f"{title}: {row['row']}", row["regime"], f"{row['subject']} {row['measure']}".strip(), 
                    row.get("printed") or "-",
                    *(_with_interval(row, protocol) for protocol in ("published", "grouped")),
                ]
            )  # fmt: skip
    if not lines:
        return ""
    columns = ["row", "regime", "measure", "published", "published protocol", "grouped protocol"]
    return "## Published beside recomputed\n" + markdown_table(columns, lines)


def _with_interval(row: Row, protocol: str) -> str:
    value, digits = row.get(f"{protocol}_protocol"), 2 if row["unit"] == "%" else 3
    if value is None:
        return "not run"
    low, high = row.get(f"{protocol}_protocol_low"), row.get(f"{protocol}_protocol_high")
    return f"{value:.{digits}f}" + ("" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})")


def _border(frames: Sequence[Mapping[str, Any]]) -> str:
    if not frames:
        return "## The margin counted as infected lung\nNot run: the authors' files were not there."
    by_key = {(f["answer"], f["scoring"], f["subject"], f["measure"]): f for f in frames}
    columns = [
        ("infected", "accuracy"),
        ("infected", "iou"),
        ("infected", "dice"),
        ("background", "iou"),
        ("all", "global_accuracy"),
        ("all", "mean_iou"),
    ]
    rows = [
        [
            answer,
            scoring.replace("_", " "),
            *(f"{100 * by_key[answer, scoring, *column]['value']:.2f}" for column in columns),
        ]
        for answer, scoring in dict.fromkeys(key[:2] for key in by_key)
    ]
    return "## The margin counted as infected lung\nAll in %.\n\n" + markdown_table(
        ["answer", "scoring", *(f"{subject} {measure}".replace("_", " ") for subject, measure in columns)], rows
    )


def _checked(checks: Sequence[Mapping[str, Any]]) -> str:
    kinds = Counter((check["paper"], check["check"]) for check in checks)
    said = ["## The papers' numbers against themselves"]
    for paper, kind in kinds:
        mine = [check for check in checks if (check["paper"], check["check"]) == (paper, kind)]
        wrong = [check for check in mine if check["verdict"] == "fails"]
        said.append(f"### {paper}: {kind.replace('_', ' ')}, {len(wrong)} of {len(mine)} fail")
        if wrong:
            said.append("\n".join(f"- {_where(check)}: {check['sentence']}" for check in wrong[:SAID]))
        if len(wrong) > SAID:
            said.append(f"and {len(wrong) - SAID} more, in checks.csv.")
    return "\n\n".join(said)


def _where(check: Mapping[str, Any]) -> str:
    return ", ".join(word for word in (check["source"], check["row"], check["regime"], check["subject"]) if word)
