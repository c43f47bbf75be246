"""Both papers' tables and figures, published beside recomputed, and the page that says what a reader may conclude."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.cores import available_cores
from covidpipe.io.files import read_frame, read_json, read_table, replacing, write_text
from covidpipe.io.readable import write_three
from covidpipe.paper import figures
from covidpipe.paper.page import page
from covidpipe.paper.percentages import percent_table
from covidpipe.paper.published import PAPERS, read_published, released_iou
from covidpipe.paper.tables import (
    SHOWN,
    Result,
    Row,
    alom_table,
    beaten_by_painter,
    frame_table_rows,
    khan_table,
    shown,
)
from covidpipe.schemas import HISTORY, METRICS_IMAGES, METRICS_SUMMARY, PAPER_CHECKS, PAPER_FRAMES, PAPER_TABLE
from covidpipe.stages import paper_pictures as pictures
from covidpipe.stages.paper_networks import is_evaluated
from covidpipe.stages.paper_percentages import percentages

log = logging.getLogger(__name__)

KHAN = {
    "Table 2": "CoV-CTNet and its baseline",
    "Table 3": "The rival classifiers",
    "Table 4": "Pixels of CoV-RASeg, rows of the confusion matrix",
    "Table 5": "Segmenters trained from scratch",
    "Table 6": "Fine-tuned segmenters",
}
ALOM = {
    "detection": "Detection of pneumonia and COVID-19",
    "lungs": "Lung segmentation",
    "percentages": "Infected share of the lung",
}


def run(config: Config, checks: Path, frames: Path | None, out: Path) -> None:
    """Write every table and figure, and reproduction.md.

    What was not trained is `not run`: the tables have the published numbers alone, and figures that would be empty are
    not drawn.

    Parameters
    ----------
    config : Config
    checks : Path
        checks.parquet of the stage `checks`.
    frames : Path, optional
        frames.parquet of the stage `frames`; None where the authors' files are not there.
    out : Path
        Folder of khan2020/, alom2020/ and reproduction.md.
    """
    published = {paper: read_published(Path(config.paper.published) / f"{paper}.csv") for paper in PAPERS}
    results = [found for name, recipe in config.training.items() if (found := result_of(config, name, recipe))]
    framed = [] if frames is None else read_table(frames, PAPER_FRAMES).to_pylist()
    label = config.paper.label
    khan = {source: khan_table(published["khan2020"], source, results, label) for source in KHAN}
    for source in ("Table 4", "Table 5"):
        khan[source] += frame_table_rows(source, framed, published["khan2020"], label)
    alom = {name: alom_table(published["alom2020"], name, results, label) for name in ("detection", "lungs")}
    alom["percentages"] = percent_table(published["alom2020"], percentages(config), label, config.seed)
    painter = beaten_by_painter(framed, published["khan2020"])
    drawn: dict[str, list[str]] = {paper: [] for paper in PAPERS}
    with replacing(out) as folder:
        for source, title in KHAN.items():
            stem = folder / "khan2020" / source.lower().replace(" ", "")
            _write(stem, khan[source], f"# Khan et al. 2020, {source}: {title}", label)
        for name, title in ALOM.items():
            _write(folder / "alom2020" / name, alom[name], f"# Alom et al. 2020: {title}", label)
        pixels = [*khan["Table 5"], *khan["Table 6"]]
        pictured: dict[str, dict[str, Figure | None]] = {
            "khan2020": {
                "metric_ranges": figures.metric_ranges(khan, label),
                "feature_space": pictures.feature_space(config),
                "precision_recall": _curves(config, "precision_recall"),
                "convergence": _histories(config, ("segment_infection",)),
                "iou_and_bfs": figures.iou_and_bfs(pixels, painter and painter[0], label),
                "qualitative": pictures.qualitative(config, "segment_infection"),
            },
            "alom2020": {
                "training_accuracy": _histories(config, ("classify",), "irrcnn"),
                "roc": _curves(config, "roc", "irrcnn"),
                "lungs": pictures.qualitative(config, "segment_lungs"),
                "heat_maps": pictures.heat_maps(config),
            },
        }
        for paper, by_name in pictured.items():
            for name, figure in by_name.items():
                if figure is not None:
                    figures.save(figure, folder / paper / name, _caption(name, label))
                    drawn[paper].append(name)
        write_text(
            folder / "reproduction.md",
            page(
                config,
                tables={
                    **{f"Khan et al., {source}": rows for source, rows in khan.items()},
                    **{f"Alom et al., {ALOM[name].lower()}": rows for name, rows in alom.items()},
                },
                frames=framed,
                painter=painter,
                checks=read_table(checks, PAPER_CHECKS).to_pylist(),
                trained=[_facts(config, result) for result in results],
                figures={
                    paper: (names, [name for name in pictured[paper] if name not in names])
                    for paper, names in drawn.items()
                },
                claimed=released_iou(published["khan2020"]),
                hardware=f"{platform.machine()}, {available_cores()} cores for this page",
            ),
        )


def _caption(name: str, label: str) -> str:
    said = {
        "full": "",
        "short": " (short: small networks, few epochs)",
        "phantoms": " (synthetic patients, tiny networks)",
    }
    return figures.CAPTIONS[name] + said[label]


def _write(stem: Path, rows: list[Row], heading: str, label: str) -> None:
    heading = (
        f"{heading}\n\nLabel: **{label}**. `published` is what the paper prints; the others were recomputed here, with "
        "95 % intervals. `not run`: nothing was trained for it."
    )
    write_three(stem, rows, PAPER_TABLE, heading, (SHOWN, shown(rows)))


def result_of(config: Config, name: str, recipe: Recipe) -> Result | None:
    """What a recipe's network scored, or None if it was not evaluated."""
    if not is_evaluated(config, recipe):
        return None
    rows = read_table(paths.metrics(config, recipe) / "summary.parquet", METRICS_SUMMARY).to_pylist()
    controls: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["role"] == "control":
            controls.setdefault(row["subject"], {})[row["measure"]] = row
    scores = {row["measure"]: row for row in rows if row["role"] == "model"}
    return Result(name, recipe.task, recipe.dataset, recipe.model, recipe.regime, recipe.protocol, scores, controls)


def _facts(config: Config, result: Result) -> dict[str, Any]:
    """What the page says of one trained network."""
    recipe = config.training[result.recipe]
    record = read_json(paths.model(config, recipe) / "run.json")
    return {
        "recipe": result.recipe,
        "dataset": result.dataset,
        "model": result.model,
        "regime": result.regime,
        "protocol": result.protocol,
        "width": recipe.width,
        "image_size": recipe.image_size,
        "epochs": record.get("epochs", config.schedules[recipe.schedule].epochs),
        "device": record.get("device", "not recorded"),
        "minutes": record.get("wall_seconds", 0) / 60,
    }


def _evaluated(config: Config, tasks: Sequence[str], model: str | None = None) -> dict[str, Recipe]:
    return {
        name: recipe
        for name, recipe in config.training.items()
        if recipe.task in tasks
        and (recipe.model == model if model else recipe.model != "irrcnn")
        and is_evaluated(config, recipe)
    }


def _curves(config: Config, kind: str, model: str | None = None) -> Figure | None:
    """Curves of the study's classifiers with the areas of their summaries."""
    found = []
    for name, recipe in _evaluated(config, ("classify",), model).items():
        folder = paths.metrics(config, recipe)
        wide = read_frame(folder / "images.parquet", METRICS_IMAGES).pivot(
            index="image_id", columns="measure", values="value"
        )
        truth, probability = wide["label"].to_numpy(float) > 0.5, wide["covid_probability"].to_numpy(float)
        if truth.all() or not truth.any():
            continue
        if kind == "roc":
            x, y, _ = roc_curve(truth, probability)
            measure = "roc_auc"
        else:
            y, x, _ = precision_recall_curve(truth, probability)
            measure = "pr_auc"
        result = result_of(config, name, recipe)
        assert result is not None
        area = result.scores[measure]
        found.append(
            {
                "name": pictures.short_name(recipe),
                "protocol": recipe.protocol,
                "x": x,
                "y": y,
                "area": area["value"],
                "low": area["low"],
                "high": area["high"],
                "chance": float(truth.mean()),
            }
        )
    return figures.curves(found, kind, config.paper.label) if found else None


def _histories(config: Config, tasks: Sequence[str], model: str | None = None) -> Figure | None:
    found = []
    for recipe in _evaluated(config, tasks, model).values():
        history = read_frame(paths.model(config, recipe) / "history.parquet", HISTORY)
        lines = {
            f"{part}, {measure}": (rows["epoch"].to_numpy(int), rows["value"].to_numpy(float))
            for (part, measure), rows in history.groupby(["part", "measure"])
        }
        title = f"{recipe.model}, {recipe.regime.replace('_', ' ')}\n({recipe.dataset}, {recipe.protocol})"
        found.append({"name": title, "lines": lines})
    return figures.histories(found, config.paper.label) if found else None
