"""The leaderboard: every network of a task under one protocol, what it costs beside how good it is, controls as rows.

What others published stands below and as lines in the figure. It was measured on other images, by other rules: it says
where a good answer lies, and ranks nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidpipe.config import Config, Recipe
from covidpipe.errors import BadConfig, BadTable
from covidpipe.io.readable import markdown_table
from covidpipe.paper.figures import CAPTIONS
from covidpipe.paper.published import printed_lines
from covidpipe.paper.tables import NOT_RUN, Row, Scores
from covidpipe.registry import DATASETS, MODELS, REGIMES, TASKS
from covidpipe.training.card import PRECISIONS
from covidpipe.words import duration

# What is told of each task, and how it is called; the first is what is ranked by, the most is the best.
MEASURES: dict[str, dict[str, str]] = {
    "classify": {
        "roc_auc": "area under the ROC curve",
        "balanced_accuracy": "balanced accuracy",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "brier": "Brier score (0 is best)",
    },
    "segment_lungs": {
        "pooled_dice": "Dice of all pixels",
        "mean_dice_where_present": "mean Dice of an image",
        "mean_hausdorff95_px_where_present": "Hausdorff 95, px",
    },
    "segment_infection": {
        "pooled_dice": "Dice of all pixels",
        "mean_dice_where_present": "mean Dice of an image",
        "infection_percent_mean_absolute_error": "error of infection_percent, points",
        "infection_percent_concordance": "its concordance (CCC)",
    },
}
TITLES = {"classify": "Slices with infection", "segment_lungs": "Lungs", "segment_infection": "Infected lung"}
CONTROLS = {
    "always_positive": "calls every image positive",
    "majority_class": "says how frequent the disease is in the training images",
    "intensity_histogram": "sees how many pixels have each of 32 grey levels",
    "lungs_blacked_out": "sees everything but the lungs",
    "lungs_only": "sees the lungs alone, at 32 px, with a linear model",
    "corners_only": "sees the four corners",
    "thumbnail_8x8": "sees 8 x 8 pixels",
    "all_background": "marks nothing",
    "all_lung": "marks all of the true lungs",
    "border_painter": "paints the frame of the image",
    "mean_mask": "marks what is usually marked in the training images",
    "threshold": "the threshold of `alom2020`, inside the true lungs",
}
REFERENCE_COLUMNS = ("task", "row", "measure", "value", "spread", "patients", "data", "source")
FIGURE = "cost_against_quality"


@dataclass(frozen=True)
class Cost:
    """What a network costs: trainable parameters, GFLOP and CPU time of one image, by which engine on what."""

    parameters: int
    gflop: float | None
    cpu_ms: float
    engine: str
    train_minutes: float


@dataclass(frozen=True)
class Standing:
    """One network: its recipes (which differ in their fold), what they scored together, and what it costs."""

    recipe: Recipe
    folds: int
    scores: Scores
    cost: Cost


@dataclass(frozen=True)
class Reference:
    """What others published: a figure with its place; ``spread`` in words, since it is rarely an interval."""

    task: str
    row: str
    measure: str
    value: float
    spread: str
    patients: int | None
    data: str
    source: str


Key = tuple[str, str]  # task and dataset


def families(config: Config) -> dict[Key, dict[tuple[str, str], dict[str, Recipe]]]:
    """The grouped recipes by task and dataset, then by network and regime, then by name: folds of one network together.

    Raises
    ------
    BadConfig
        There is none, or those of a task differ in more than network, width, regime and fold: they were no comparison.
    """
    found: dict[Key, dict[tuple[str, str], dict[str, Recipe]]] = {}
    for name, recipe in config.training.items():
        if recipe.protocol == "grouped":
            networks = found.setdefault((recipe.task, recipe.dataset), {})
            networks.setdefault((recipe.model, recipe.regime), {})[name] = recipe
    if not found:
        raise BadConfig(
            f"Study `{config.study}`: wanted recipes with `protocol: grouped` under `training`, found none. "
            "config/leaderboard.yaml has one for every network."
        )
    for (task, dataset), networks in found.items():
        alike: dict[str, str] = {}
        for recipes in networks.values():
            for name, recipe in recipes.items():
                view = "lung_view" if sees_lungs_alone(recipe) else ""
                same = recipe.model_copy(update={"model": "", "width": 1.0, "regime": view, "reading": "", "fold": 0})
                alike.setdefault(same.model_dump_json(), name)
            if len({recipe.width for recipe in recipes.values()}) > 1:
                raise BadConfig(f"training: {', '.join(recipes)} are folds of one network: give them one `width`.")
        folds = {frozenset(recipe.fold for recipe in recipes.values()) for recipes in networks.values()}
        if len(alike) > 1 or len(folds) > 1:
            named = f", as `{'` and `'.join(list(alike.values())[:2])}` do" if len(alike) > 1 else " in their folds"
            raise BadConfig(
                f"{task} on {dataset}: a leaderboard compares networks alone, and recipes differ in more{named}. "
                "Give all the same image_size, channels, validation, schedule and folds, `lung_view` to all or none."
            )
    return found


def sees_lungs_alone(recipe: Recipe) -> bool:
    """Whether a network is shown the lung view, or else the whole frame."""
    return REGIMES[recipe.task][recipe.regime].input == "lung_view"


def network_rows(standing: Standing, label: str) -> list[Row]:
    """Rows of LEADERBOARD of a network that was run."""
    recipe, cost = standing.recipe, standing.cost
    common = {
        **_unmeasured("network", recipe.task, recipe.dataset, recipe.model, recipe.regime, label),
        "folds": standing.folds,
        "image_size": recipe.image_size,
        "width": recipe.width,
        "parameters": cost.parameters,
        "gflop": cost.gflop,
        "cpu_ms": cost.cpu_ms,
        "engine": cost.engine,
        "train_minutes": cost.train_minutes,
    }
    return [common | _measured(name, standing.scores) for name in MEASURES[recipe.task]]


def control_rows(task: str, dataset: str, controls: Mapping[str, Scores], folds: int, label: str) -> list[Row]:
    """Rows of LEADERBOARD of the controls of a task: rows of METRICS_SUMMARY by control and measure."""
    return [
        {**_unmeasured("control", task, dataset, name, "", label), "folds": folds, **_measured(measure, scores)}
        for name, scores in controls.items()
        for measure in MEASURES[task]
    ]


def missing_rows(task: str, dataset: str, run: Iterable[str], label: str) -> list[Row]:
    """Rows of LEADERBOARD of the registered networks of a task that were not run, each with its leading measure."""
    lead = next(iter(MEASURES[task]))
    missing = [name for name, spec in MODELS.items() if task in spec.tasks and name not in set(run)]
    return [
        {**_unmeasured("network", task, dataset, name, "", label), "measure": lead, "status": NOT_RUN}
        for name in missing
    ]


def reference_rows(references: Iterable[Reference], tasks: Iterable[str], label: str) -> list[Row]:
    """Rows of LEADERBOARD of what others published of these tasks."""
    told = set(tasks)
    return [
        {
            **_unmeasured("reference", one.task, one.data, one.row, "", label),
            "measure": one.measure,
            "status": "published",
            "value": one.value,
            "patients": one.patients,
            "source": f"{one.source}; spread {one.spread}" if one.spread else one.source,
        }
        for one in references
        if one.task in told
    ]


def _unmeasured(role: str, task: str, data: str, row: str, regime: str, label: str) -> Row:
    return {"task": task, "data": data, "role": role, "row": row, "regime": regime, "label": label}


def _measured(measure: str, scores: Scores) -> Row:
    score = scores.get(measure, {})
    told = {name: score.get(name) for name in ("value", "low", "high", "interval", "patients")}
    # of a share n are trials: images for labels, and pixels are told by no measure of the board
    return {"measure": measure, "status": "measured", "n": score.get("n"), **told}


def read_references(path: str | Path) -> list[Reference]:
    """Read ``config/published/leaderboard.csv``.

    Raises
    ------
    BadTable
        The file is missing, has other columns, a task that is none, or a value that is no number.
    """
    path = Path(path)
    return [_reference(path, *line) for line in printed_lines(path, REFERENCE_COLUMNS)]


def _reference(path: Path, number: int, row: dict[str, str]) -> Reference:
    try:
        value, patients = float(row["value"]), int(row["patients"]) if row["patients"] else None
        if not math.isfinite(value) or row["task"] not in TASKS or not row["source"]:
            raise ValueError
    except (TypeError, ValueError):
        raise BadTable(
            f"{path}, line {number}: wanted a task ({', '.join(TASKS)}), a number in `value`, a number or "
            f"nothing in `patients`, and a `source`; found {row}."
        ) from None
    told = {name: row[name] for name in ("task", "row", "measure", "spread", "data", "source")}
    return Reference(value=value, patients=patients, **told)


# --- For readers ----------------------------------------------------------------------------------------------------


def ranked(rows: Sequence[Row], task: str, data: str, role: str) -> list[list[Row]]:
    """The rows of each network or control of a task, the best first by its leading measure, those without one last."""
    lead = next(iter(MEASURES[task]))
    mine = [row for row in rows if (row["task"], row["data"], row["role"]) == (task, data, role)]
    subjects: dict[tuple[str, str], list[Row]] = {}
    for row in mine:
        subjects.setdefault((row["row"], row["regime"]), []).append(row)

    def place(of_one: list[Row]) -> tuple[float, str]:
        value = next((row.get("value") for row in of_one if row["measure"] == lead), None)
        return (math.inf if value is None else -value, of_one[0]["row"])

    return sorted(subjects.values(), key=place)


def board(rows: Sequence[Row], task: str, data: str) -> str:
    """The table of one task in Markdown: networks and controls, the best first."""
    measures = MEASURES[task]
    several = len({row["regime"] for row in rows if (row["task"], row["role"]) == (task, "network") and row["regime"]})
    lines = []
    for role in ("network", "control"):
        for of_one in ranked(rows, task, data, role):
            first = of_one[0]
            values = {row["measure"]: row for row in of_one}
            name = f"`{first['row']}`" if role == "network" else f"{first['row'].replace('_', ' ')} (control)"
            if several > 1 and first["regime"]:
                name += f", {first['regime'].replace('_', ' ')}"
            cost = [
                None if first.get("width") is None else f"{first['width']:g}",
                _short(first.get("parameters"), 1e6),
                _short(first.get("gflop")),
                _short(first.get("cpu_ms")),
            ]
            lines.append([name, *(_told(values[m]) if m in values else None for m in measures), *cost])
    columns = ("", *measures.values(), "width", "million parameters", "GFLOP an image", "ms an image")
    return markdown_table(columns, lines)


def _short(value: float | None, unit: float = 1) -> str | None:
    """A cost with two digits that count, thousands in full."""
    return None if value is None else f"{value / unit:.2g}" if value < 100 * unit else f"{value / unit:.0f}"


def _told(row: Row) -> str:
    if row["status"] == NOT_RUN:
        return NOT_RUN
    if row.get("value") is None:
        return "undefined"
    ends = "" if row.get("low") is None else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{ends}"


def page(config: Config, rows: Sequence[Row], picture: str | None) -> str:
    """The leaderboard in words and tables.

    Parameters
    ----------
    config : Config
    rows : sequence of dict
        Of LEADERBOARD.
    picture : str, optional
        Where the figure lies, seen from the page; None: there is none.
    """
    label = config.paper.label
    said = {
        "full": "",
        "short": "\n\nLabel `short`: networks of a fraction of their channels, small images and few epochs, so that\n"
        "all of it runs on two cores. It compares what networks learn from the same little; none is at its best.",
        "phantoms": "\n\nLabel `phantoms`: synthetic patients, tiny networks. It shows that the board is made.",
    }[label]
    keys = _keys(row for row in rows if row["role"] != "reference")
    shown = (
        ""
        if picture is None
        else f"\n![What networks cost, and how good they are]({picture})\n\n*{CAPTIONS[FIGURE]}*\n"
    )
    sections = "\n".join(_section(config, rows, *key) for key in keys)
    references = [row for row in rows if row["role"] == "reference"]
    published = markdown_table(
        ("task", "who", "measure", "value", "data", "source"),
        [
            [TITLES[r["task"]], r["row"], r["measure"], f"{r['value']:.3g}", r["data"], r["source"]]
            for r in sorted(references, key=lambda r: (TASKS.index(r["task"]), -r["value"]))
        ],
    )
    told = {row["row"] for row in rows if row["role"] == "control"}
    controls = "".join(f"- {name.replace('_', ' ')}: {text}\n" for name, text in CONTROLS.items() if name in told)
    return f"""# Leaderboard

Every registered network of a task under one protocol: the same images, patients on one side of every split, the same
folds, input and schedule; what it costs beside what it reaches on patients it has not seen. Intervals are 95 %, by
patient ([evaluation.md](evaluation.md)). `{NOT_RUN}`: no such network was trained for this board.{said}

    snakemake leaderboard --cores all --configfile config/{config.study}.yaml

Ranked by the first measure. Where intervals overlap, the order may be another on other patients. GFLOP: thousand
million operations of an image, a multiplication and its addition being two. Milliseconds: one image of many, by the
engine that cohorts use, on the machine that is told above each table.
{shown}
{sections}
## Controls
Answers that look at no lung, or at nearly nothing. A network that does not beat them has proven nothing.

{controls or f"Here: {NOT_RUN}." + chr(10)}
## What others published
On other images, by other rules: where good answers lie, and no rank.

{published}"""


def _section(config: Config, rows: Sequence[Row], task: str, data: str) -> str:
    run = [
        row for row in rows if (row["task"], row["data"], row["role"]) == (task, data, "network") and row.get("folds")
    ]
    recipe = next(r for r in config.training.values() if (r.task, r.dataset, r.protocol) == (task, data, "grouped"))
    schedule = config.schedules[recipe.schedule]
    seen = " of the lungs alone" if sees_lungs_alone(recipe) else ""
    drawn = "" if schedule.images_per_epoch is None else f" of {schedule.images_per_epoch} images"
    folds = sorted(
        {r.fold for r in config.training.values() if (r.task, r.dataset, r.protocol) == (task, data, "grouped")}
    )
    words = [
        DATASETS[data].text[0].upper() + DATASETS[data].text[1:],
        f"Test parts of {'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))} of {config.folds}",
        f"{recipe.image_size} px{seen}, {schedule.epochs} epochs{drawn}, batch {schedule.batch_size}, "
        f"{schedule.optimizer} at {schedule.learning_rate:g}, augmentation {schedule.augment}"
        f"{PRECISIONS[schedule.precision]}",
    ]
    if run:
        patients = max(row.get("patients") or 0 for row in run)
        words[1] += f": {max(row.get('n') or 0 for row in run)} images of {patients} patients"
        words.append(f"Time: {', '.join(sorted({row['engine'] for row in run}))}")
        words.append(f"Training: {duration(60 * sum(_once(run, 'train_minutes')))} in all")
    return f"## {TITLES[task]}\n{'. '.join(words)}.\n\n{board(rows, task, data)}"


def _once(rows: Sequence[Row], column: str) -> list[float]:
    """A column that is the same in all rows of a network, once for each."""
    return list({(row["row"], row["regime"]): row[column] for row in rows}.values())


def pictured(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What `covidpipe.paper.figures.cost_against_quality` draws: an entry for each task and dataset that was run."""

    def key(row: Row) -> Key:
        return row["task"], row["data"]

    told = [row for row in rows if row.get("value") is not None]
    found = []
    for task, data in _keys(row for row in told if row.get("cpu_ms")):
        lead, title = next(iter(MEASURES[task].items()))
        mine = [row for row in told if key(row) == (task, data) and row["measure"] == lead]
        controls = [row for row in mine if row["role"] == "control"]
        best = max(controls, key=lambda row: row["value"], default=None)
        found.append(
            {
                "title": f"{TITLES[task]}, {data}",
                "measure": title,
                "networks": [row for row in mine if row["role"] == "network"],
                "control": best,
                "references": [row for row in told if (row["task"], row["role"]) == (task, "reference")],
            }
        )
    return found


def _keys(rows: Iterable[Row]) -> list[Key]:
    """Task and dataset of rows, each once, in the order of the tasks."""
    return sorted({(row["task"], row["data"]) for row in rows}, key=lambda key: (TASKS.index(key[0]), key[1]))
