"""Gather the test parts of all folds of the networks that ship, every patient tested once; write the figures' page.

Run from the project's root: ``python workflow/scripts/measure_folds.py`` (seconds), once the networks of
config/weights.yaml and config/real_cxr.yaml are trained and evaluated (``snakemake evaluate --configfile ...``). Folds
that are missing are named in the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measure_threshold import written

from covidpipe import paths
from covidpipe.config import Config, Recipe, load
from covidpipe.folds import folds_of
from covidpipe.io.readable import markdown_table
from covidpipe.metrics.summary import Row
from covidpipe.stages.folds import gathered

DOCUMENT = Path("docs/weights.md")
CONFIGS = [Path("config/weights.yaml"), Path("config/real_cxr.yaml")]
SHOWN = {
    "pooled_dice": "Dice of all pixels",
    "mean_dice_where_present": "mean Dice of an image",
    "infection_percent_mean_absolute_error": "mean absolute error, points",
    "infection_percent_bias": "bias, points",
    "infection_percent_concordance": "concordance (CCC)",
    "infection_percent_mean_where_absent": "mean percentage of lesion-free slices",
    "infection_percent_roc_auc": "area under the ROC curve, slices with lesions by their percentage",
    "roc_auc_within_folds": "area under the ROC curve, images of one fold compared",
    "roc_auc": "area under the ROC curve, all folds ranked together",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def main() -> None:
    """Write the table of the page."""
    given = argparse.ArgumentParser(description="What the networks that ship do in patients they never saw.")
    given.add_argument("--config", type=Path, nargs="+", default=CONFIGS)
    given.add_argument("--document", type=Path, default=DOCUMENT)
    options = given.parse_args()
    table, told = [], []
    for config in map(load, options.config):
        for name, recipes in families(config).items():
            there = {key: recipe for key, recipe in recipes.items() if evaluated(config, recipe)}
            lacking = sorted(set(recipes) - set(there))
            if lacking:
                told.append(f"Not there yet: {', '.join(lacking)}.")
            if there:
                rows = gathered(config, there.values())
                table += [line(name, len(there), row) for row in rows if row["measure"] in SHOWN]
    columns = ("network", "folds", "measure", "value", "95 % interval", "patients")
    text = markdown_table(columns, table) + "".join(f"\n{sentence}\n" for sentence in told)
    options.document.write_text(written(options.document.read_text(), {"folds": text}))


def evaluated(config: Config, recipe: Recipe) -> bool:
    """Whether there are figures of a network."""
    return (paths.metrics(config, recipe) / "images.parquet").exists()


def families(config: Config) -> dict[str, dict[str, Recipe]]:
    """The networks of a study, folds of one together: the first name, then that of each fold."""
    found: dict[str, dict[str, Recipe]] = {}
    for name in config.training:
        if not any(name in recipes for recipes in found.values()):
            found[name] = {other: config.training[other] for other in folds_of(config, name).values()}
    return found


def line(name: str, folds: int, row: Row) -> list[Any]:
    """A row of the page's table."""
    interval = None if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    value = None if row["value"] is None else f"{row['value']:.3f}"
    return [f"`{name}`", folds, SHOWN[row["measure"]], value, interval, row["patients"]]


if __name__ == "__main__":
    main()
