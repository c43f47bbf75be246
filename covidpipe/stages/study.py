"""What training and testing wrote in, one HTML page about a study's networks out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.errors import UsageError
from covidpipe.io.files import read_frame, read_json, read_table, write_text
from covidpipe.report import study
from covidpipe.report.study import Network
from covidpipe.schemas import HISTORY, METRICS_IMAGES, METRICS_SUMMARY, RELIABILITY, SPLIT

log = logging.getLogger(__name__)


def run(config: Config, out: Path | None = None) -> Path:
    """Write the page about all networks of a study that are trained, tested or not.

    Parameters
    ----------
    config : Config
    out : Path, optional
        The HTML file. Default: ``studies/{study}/report.html`` in the results.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        None of the study's networks is there.
    """
    found = {name: network(config, name, recipe) for name, recipe in config.training.items()}
    trained = [one for one in found.values() if one is not None]
    if not trained:
        named = ", ".join(config.training) or "nothing"
        raise UsageError(
            f"There is no trained network in {config.results} to report on; the config's `training` names {named}. "
            "Train and test first: `snakemake --cores all --configfile CONFIG evaluate`."
        )
    page = paths.study(config) if out is None else out
    missing = [name for name, one in found.items() if one is None]
    write_text(page, study.render(config, trained, missing))
    log.info("study %s: %d networks, %d not trained yet", config.study, len(trained), len(missing))
    return page


def network(config: Config, name: str, recipe: Recipe) -> Network | None:
    """What is known of a recipe's network, or None if it was not trained."""
    folder, tested = paths.model(config, recipe), paths.metrics(config, recipe)
    if not (folder / "run.json").exists():
        return None
    known: dict[str, Any] = {
        "name": name,
        "recipe": recipe,
        "run": read_json(folder / "run.json"),
        "history": read_frame(folder / "history.parquet", HISTORY),
    }
    if not (tested / "summary.parquet").exists():
        return Network(**known, card=(folder / "card.md").read_text(encoding="utf-8"))
    groups = read_frame(paths.split(config, recipe.dataset, recipe.protocol), SPLIT)[["image_id", "group"]]
    images = read_frame(tested / "images.parquet", METRICS_IMAGES)
    return Network(
        **known,
        card=(tested / "card.md").read_text(encoding="utf-8"),
        evaluation=read_json(tested / "run.json"),
        summary=read_table(tested / "summary.parquet", METRICS_SUMMARY).to_pylist(),
        images=images.merge(groups, on="image_id", validate="many_to_one"),
        reliability=read_table(tested / "reliability.parquet", RELIABILITY).to_pylist(),
    )
