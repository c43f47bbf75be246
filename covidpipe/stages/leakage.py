"""What a random split hides: the same networks under the published and the grouped split, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.errors import BadConfig
from covidpipe.io.files import read_json, read_table, write_text
from covidpipe.registry import DATASETS, PROTOCOLS
from covidpipe.schemas import METRICS_SUMMARY
from covidpipe.training.checklist import HEADLINES


def pairs(config: Config) -> list[dict[str, str]]:
    """Recipes that differ in nothing but the protocol: for each such set, protocol -> recipe.

    Raises
    ------
    BadConfig
        There is none.
    """
    sets: dict[str, dict[str, str]] = {}
    for name, recipe in config.training.items():
        key = recipe.model_copy(update={"protocol": "any"}).model_dump_json()
        sets.setdefault(key, {})[recipe.protocol] = name
    found = [by_protocol for by_protocol in sets.values() if len(by_protocol) == len(PROTOCOLS)]
    if not found:
        raise BadConfig(
            f"Study `{config.study}`: wanted recipes under `training` that differ only in `protocol` (published and "
            "grouped), found none. config/leakage.yaml shows some."
        )
    return found


def run(config: Config, out: Path) -> None:
    """Write the comparison as Markdown.

    Parameters
    ----------
    config : Config
        A study whose networks are evaluated, each under both protocols.
    out : Path
    """
    write_text(out, page(config, [_compared(config, names) for names in pairs(config)]))


def _compared(config: Config, names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What a pair of recipes scored, by protocol."""
    found = {}
    for protocol, name in names.items():
        recipe = config.training[name]
        rows = read_table(paths.metrics(config, recipe) / "summary.parquet", METRICS_SUMMARY).to_pylist()
        own = read_json(paths.apart(config, "training", name))["checked"][0]
        found[protocol] = {
            "recipe": recipe,
            "scores": {row["measure"]: row for row in rows if row["role"] == "model"},
            "images": own["judged_images"],
            "known": own["judged_images_of_known_groups"],
        }
    return found


def page(config: Config, compared: list[dict[str, dict[str, Any]]]) -> str:
    """The comparison in words and tables.

    Parameters
    ----------
    config : Config
    compared : list of dict
        For each pair: protocol -> recipe, scores (rows of METRICS_SUMMARY by measure), images, known.
    """
    sections = "\n\n".join(_section(pair) for pair in compared)
    return f"""# What a random split hides

The same network, schedule and seed, trained twice: under the split `published`, where single images are drawn at random
as in the papers, and under `grouped`, where a patient, and every copy of an image, stays on one side. Only the second
says what the network does with a patient it has not seen. `known` is the share of test images of which the training or
validation part held another image of the patient, or a copy: what the network could remember instead of read.

Intervals are 95 %, by resampling patients (proportions: as the evaluation says); where a published split puts a
patient on both sides, they are no measure of what a new patient would meet, however narrow they look.

Small networks and short schedules: this shows what the split does, not how good the networks can get.
Study `{config.study}`, {config.folds} folds, seed {config.seed}.

{sections}
"""


def _section(pair: dict[str, dict[str, Any]]) -> str:
    published, grouped = (pair[protocol] for protocol in ("published", "grouped"))
    recipe: Recipe = grouped["recipe"]
    rows = "\n".join(_rows(recipe, published, grouped))
    return f"""## {recipe.dataset}: {recipe.task}, fold {recipe.fold}

{DATASETS[recipe.dataset].text}. Network `{recipe.model}`, width {recipe.width:g}, {recipe.image_size} px.

| | published | grouped | published - grouped |
|---|---|---|---|
{rows}"""


def _rows(recipe: Recipe, published: dict[str, Any], grouped: dict[str, Any]) -> Iterator[str]:
    shares = [f"{_percent(side['known'], side['images'])} of {side['images']}" for side in (published, grouped)]
    yield f"| known | {shares[0]} | {shares[1]} | |"
    for measure in HEADLINES[recipe.task]:
        one, other = (side["scores"].get(measure) for side in (published, grouped))
        if one is not None and other is not None:
            both = None not in (one["value"], other["value"])
            gap = f"{one['value'] - other['value']:+.3f}" if both else "-"
            yield f"| {measure} | {_score(one)} | {_score(other)} | {gap} |"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _score(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    ends = "" if row["low"] is None else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{ends}"
