"""A study's networks on one page: how they learned, what they did on held-out patients, and what that is worth.

Everything is a pure function of what the stages wrote; as on the cohort's page there is no clock and no path, and
nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pandas as pd
import yaml

from covidpipe import __version__
from covidpipe.config import Config, Recipe
from covidpipe.metrics import curves as places
from covidpipe.metrics.classification import precision_recall
from covidpipe.metrics.intervals import PatientBootstrap
from covidpipe.registry import DATASETS, MODELS
from covidpipe.report import curves, dag, figures, page
from covidpipe.report.cards import card_html
from covidpipe.study.plan import Plan, plan
from covidpipe.words import duration

# By which score the networks of a task are compared: one of `metrics.nearness.COMPARED`, so that controls have it too.
MAIN = {"classify": "roc_auc", "segment_lungs": "pooled_dice", "segment_infection": "pooled_dice"}
WORDS = {
    "roc_auc": "Area under the ROC curve",
    "pr_auc": "Average precision",
    "pooled_dice": "Dice of all pixels together",
    "brier": "Brier score",
    "expected_calibration_error": "expected calibration error",
}
TASKS = {"classify": "Classifiers", "segment_lungs": "Lungs", "segment_infection": "Infection"}
KINDS = {"classify": "classifier", "segment_lungs": "lung segmenter", "segment_infection": "infection segmenter"}
# What the config says of networks; no path is among it.
TOLD = ("study", "seed", "folds", "harmonize", "training", "schedules", "models")
# What each rule does, in the words of its box.
RULES = {
    "phantoms": "make patients",
    "ingest": "read images",
    "duplicates": "find copies",
    "split": "cut into folds",
    "apart": "prove: new",
    "harmonize": "one grid",
    "wavelet": "enhance",
    "lung_view": "cut out lungs",
    "train_model": "train",
    "evaluate_model": "test",
    "reference": "lesion-free",
    "conformal": "how far off",
    "predict": "segment",
    "quantify": "percentages",
    "collect": "one table",
    "score": "against truth",
    "report": "cohort page",
    "study": "this page",
}


@dataclass(frozen=True)
class Network:
    """What is known of one network of a study.

    ``run`` and ``evaluation`` are the contents of run.json, ``summary`` rows of METRICS_SUMMARY, ``images`` of
    METRICS_IMAGES with the ``group`` of each, ``history`` of HISTORY, ``reliability`` of RELIABILITY.
    """

    name: str
    recipe: Recipe
    run: dict[str, Any]
    history: pd.DataFrame
    card: str
    evaluation: dict[str, Any] = field(default_factory=dict)
    summary: list[dict[str, Any]] = field(default_factory=list)
    images: pd.DataFrame | None = None
    reliability: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Rows of the network itself, by measure."""
        return {row["measure"]: row for row in self.summary if row["role"] == "model"}


def render(config: Config, networks: Sequence[Network], missing: Sequence[str]) -> str:
    """Write the page.

    Parameters
    ----------
    config : Config
    networks : sequence of Network
        Those that were trained.
    missing : sequence of str
        Recipes whose networks were not.

    Returns
    -------
    str
        One HTML document that loads nothing from anywhere.
    """
    style = page.source("report.css")
    planned = plan(config)
    settings = config.model_dump(mode="json")
    followed = {recipe.schedule for recipe in config.training.values()}
    settings["schedules"] = {name: item for name, item in settings["schedules"].items() if name in followed}
    return (
        page.environment()
        .get_template("study.html.j2")
        .render(
            study=config.study,
            label=None if config.paper.label == "full" else config.paper.label,
            style=style,
            style_hash=page.sha256(style),
            numbers=_numbers(networks),
            missing=missing,
            comparisons=comparisons(networks),
            networks=[_shown(network, config.seed) for network in networks],
            graph=picture(planned),
            steps=[(rule, RULES[rule], subjects) for rule, subjects in _in_order(planned)],
            sources=[(name, DATASETS[name]) for name in sorted({network.recipe.dataset for network in networks})],
            version=__version__,
            seed=config.seed,
            config_yaml=yaml.safe_dump({key: settings[key] for key in TOLD}, sort_keys=False, allow_unicode=True),
        )
    )


def _numbers(networks: Sequence[Network]) -> list[tuple[str, int]]:
    tested = [network for network in networks if network.summary]
    return [
        ("Networks trained", len(networks)),
        ("Tested", len(tested)),
        ("Architectures", len({network.recipe.model for network in networks})),
        ("Data sets", len({network.recipe.dataset for network in networks})),
    ]


def comparisons(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """For each task and data set the networks beside each other, by the score of their task, the best first."""

    def key(network: Network) -> tuple[str, str]:
        return network.recipe.task, network.recipe.dataset

    found = []
    tested = [network for network in networks if network.summary]
    for (task, dataset), group in groupby(sorted(tested, key=key), key=key):
        measure = MAIN[task]
        some = sorted(group, key=lambda network: -(_value(network, measure) or 0))
        rows = [
            (network.name, row["value"], row["low"], row["high"], False)
            for network in some
            if (row := network.scores.get(measure)) is not None and row["value"] is not None
        ]
        told = "; ".join(f"{name} {page.number(value)}" for name, value, *_ in rows)
        words = f"{TASKS[task]}, {dataset}: {WORDS[measure]}"
        found.append(
            {
                "task": task,
                "heading": f"{TASKS[task]} · {dataset}",
                "measure": WORDS[measure],
                "rows": [_line(network, measure) for network in some],
                "chart": curves.values(rows, WORDS[measure], f"{words}. {told}.") if len(rows) > 1 else None,
            }
        )
    return found


def _value(network: Network, measure: str) -> float | None:
    row = network.scores.get(measure)
    return None if row is None else row["value"]


def _line(network: Network, measure: str) -> dict[str, Any]:
    """A network in the table of those that are compared."""
    row, recipe = network.scores[measure], network.recipe
    return {
        "name": network.name,
        "words": f"{recipe.model}, {recipe.regime.replace('_', ' ')}, {recipe.protocol} split",
        "protocol": recipe.protocol,
        **{key: row[key] for key in ("value", "low", "high", "n", "patients", "remark")},
    }


def _shown(network: Network, seed: int) -> dict[str, Any]:
    """Everything the page tells of one network."""
    recipe, run = network.recipe, network.run
    return {
        "name": network.name,
        "heading": f"{network.name} · {KINDS[recipe.task]}",
        "recipe": recipe,
        "reference": MODELS[recipe.model].reference,
        "parameters": run["parameters"],
        "counts": run["counts"],
        "tested": bool(network.summary),
        "training": training(network),
        "curves": [] if network.images is None else classifier_curves(network, seed),
        "reliability": reliability(network),
        "agreement": None if network.images is None else agreement(network),
        "controls": controls(network),
        "card": card_html(network.card, network.name),
        "made": [
            ("Weights", run["weights_sha256"][:12]),
            ("Data", run["data_sha256"][:12]),
            *([("Commit", run["commit"][:12])] if run.get("commit") else []),
            ("Code", run["code"]),
            ("Seed", str(run["seed"])),
            ("Computed on", run["device"]),
            ("Training time", duration(run["wall_seconds"])),
            ("covidpipe", run["covidpipe"]),
            *((name, version) for name, version in run["packages"].items() if name.startswith(("keras", "tensorflow"))),
        ],
    }


def training(network: Network) -> list[dict[str, Any]]:
    """A chart for each measure of the history: caption, chart."""
    drawn = []
    best = network.run["best_epoch"]
    for measure, of_measure in network.history.groupby("measure", sort=True):
        words = "loss" if measure == "loss" else network.run["validation_measure"]
        lines = [
            (str(part), rows["epoch"].to_numpy(int), rows["value"].to_numpy(float))
            for part, rows in of_measure.sort_values("epoch").groupby("part", sort=True)
        ]
        told = "; ".join(f"{part} from {values[0]:.3f} to {values[-1]:.3f}" for part, _, values in lines)
        label = f"{words} of {network.name} by epoch: {told}; epoch {best + 1} was kept."
        drawn.append({"words": words, "chart": curves.training(lines, best, words, label)})
    return drawn


def classifier_curves(network: Network, seed: int) -> list[dict[str, Any]]:
    """ROC and precision-recall curve of a classifier, with pointwise intervals; none if a class is absent."""
    assert network.images is not None
    if network.recipe.task != "classify":
        return []
    wide = network.images.pivot(index="image_id", columns="measure", values="value")
    groups = network.images.drop_duplicates("image_id").set_index("image_id")["group"].loc[wide.index].to_numpy(str)
    truth, probability = wide["label"].to_numpy(float) > 0.5, wide["covid_probability"].to_numpy(float)
    if truth.all() or not truth.any():
        return []
    patients = PatientBootstrap(groups, seed=seed)
    precision, recall = precision_recall(probability, truth)
    drawn = []
    for measure, (x, y), band, chance, axes in (
        (
            "roc_auc",
            places.roc(probability, truth),
            places.roc_band(probability, truth, patients),
            (0.0, 1.0),
            ("1 − specificity", "sensitivity"),
        ),
        (
            "pr_auc",
            (recall, precision),
            places.precision_recall_band(probability, truth, patients),
            (float(truth.mean()),) * 2,
            ("sensitivity (recall)", "precision"),
        ),
    ):
        row = network.scores[measure]
        known = [place for place in band if place.low is not None]
        drawn.append(
            {
                "measure": WORDS[measure],
                "row": row,
                "banded": bool(known),
                "chart": curves.curve(
                    x, y, band, chance, axes, f"{WORDS[measure]} of {network.name}: {page.number(row['value'])}."
                ),
            }
        )
    return drawn


def reliability(network: Network) -> dict[str, Any] | None:
    """The reliability diagram of a classifier, with the scores of its probabilities."""
    temperatures = {row["temperature"] for row in network.reliability}
    used = [row for row in network.reliability if row["temperature"] != 1 or temperatures == {1.0}]
    if not used:
        return None
    told = "; ".join(f"{row['mean_probability']:.2f} said, {row['share']:.2f} so" for row in used)
    return {
        "chart": figures.reliability(used, f"Reliability diagram of {network.name}: {told}."),
        "temperature": used[0]["temperature"],
        "scores": [(WORDS[name], network.scores[name]) for name in ("brier", "expected_calibration_error")],
    }


def agreement(network: Network) -> dict[str, Any] | None:
    """Bland and Altman's plot of infection_percent, of a network that segments infection."""
    assert network.images is not None
    wide = network.images.pivot(index="image_id", columns="measure", values="value")
    columns = ["infection_percent", "true_infection_percent"]
    if not set(columns) <= set(wide.columns):
        return None
    pairs = wide[columns].dropna().to_numpy(float)
    rows = {name: network.scores[f"infection_percent_{name}"] for name in ("bias", "limit_low", "limit_high")}
    lines = [("upper limit", rows["limit_high"]), ("bias", rows["bias"]), ("lower limit", rows["limit_low"])]
    told = ", ".join(f"{words} {page.number(row['value'])} points" for words, row in lines)
    return {
        "chart": curves.bland_altman(
            pairs, lines, f"Differences of infection_percent found by {network.name} from the truth: {told}."
        ),
        "lines": lines,
        "images": len(pairs),
        "drawn": min(len(pairs), curves.SCATTER_POINTS),
        "error": network.scores["infection_percent_mean_absolute_error"],
        "concordance": network.scores["infection_percent_concordance"],
    }


def controls(network: Network) -> dict[str, Any] | None:
    """The network beside answers that look at no lung, or at nearly nothing."""
    measure = MAIN[network.recipe.task]
    own = network.scores.get(measure)
    if own is None:
        return None
    others = [row for row in network.summary if row["role"] == "control" and row["measure"] == measure]
    known = [row for row in others if row["value"] is not None]
    rows = [
        (
            "the network" if row is own else row["subject"].replace("_", " "),
            row["value"],
            row["low"],
            row["high"],
            row is not own,
        )
        for row in ([own] if own["value"] is not None else []) + sorted(known, key=lambda row: -row["value"])
    ]
    told = "; ".join(f"{name} {page.number(value)}" for name, value, *_ in rows)
    return {
        "measure": WORDS[measure],
        "verdict": own["remark"],
        "chart": curves.values(rows, WORDS[measure], f"{WORDS[measure]} of {network.name} and of its controls: {told}.")
        if rows
        else None,
        "absent": [(row["subject"], row["remark"]) for row in others if row["value"] is None],
        "near": [(row["subject"], row["remark"]) for row in known if row["remark"]],
    }


def picture(planned: Plan) -> Any:
    """The rules of a study and how often each runs, as a graph."""
    nodes = {
        rule: (RULES[rule], f"{rule.removesuffix('_model')} × {len(subjects)}" if len(subjects) > 1 else rule)
        for rule, subjects in planned.subjects.items()
    }
    edges = planned.reduced()
    told = "; ".join(f"{needing} needs {needed}" for needed, needing in sorted(edges, key=lambda pair: pair[::-1]))
    return dag.graph(nodes, edges, f"The rules of this study: {told}.")


def _in_order(planned: Plan) -> list[tuple[str, list[str]]]:
    rows = dag.layers(planned.subjects, planned.reduced())
    return [(rule, planned.subjects[rule]) for row in rows for rule in row]
