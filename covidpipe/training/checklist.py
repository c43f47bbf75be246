"""Reporting checklists, answered by the records of a run.

CLAIM: Mongan, Moy & Kahn 2020, 42 items. TRIPOD: Collins, Reitsma, Altman & Moons 2015, the item that asks nearly the
same. What a run cannot know is said to be unknown, and why; nothing here is filled by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covidpipe.registry import DATASETS, MODELS, PARTS, TRUTH_OF_TASK
from covidpipe.training.card import PRECISIONS, TASK_TEXT, code_in_words
from covidpipe.words import duration

# The measures that stand for a task in one line.
HEADLINES = {
    "classify": ("accuracy", "sensitivity", "specificity", "roc_auc"),
    "segment_lungs": ("pooled_dice", "mean_dice_where_present", "mean_hausdorff95_px_where_present"),
    "segment_infection": ("pooled_dice", "mean_dice_where_present", "infection_percent_mean_absolute_error"),
}
# How a false answer of one image is counted.
FAULTS = {
    "classify": ("false_positives", "false_negatives"),
    "segment_lungs": ("missed_where_present", "marked_where_absent"),
    "segment_infection": ("missed_where_present", "marked_where_absent"),
}


@dataclass(frozen=True)
class Item:
    """One item: its number in CLAIM and in TRIPOD ("-": none), what it asks for, and the answer."""

    claim: str
    tripod: str
    asks: str
    answer: str


def unknown(why: str) -> str:
    return f"Not known: {why}."


def items(record: Mapping[str, Any], evaluation: Mapping[str, Any], summary: Sequence[Mapping[str, Any]]) -> list[Item]:
    """All items of CLAIM with their answers.

    Parameters
    ----------
    record, evaluation : mapping
        The content of ``run.json`` of the training and of the evaluation.
    summary : sequence of mapping
        Rows of METRICS_SUMMARY.

    Returns
    -------
    list of Item
    """
    recipe, schedule, counts = record["recipe"], record["schedule"], record["counts"]
    task, dataset, model = recipe["task"], DATASETS[recipe["dataset"]], MODELS[recipe["model"]]
    own = {row["measure"]: row for row in summary if row["role"] == "model"}
    controls = sorted({row["subject"] for row in summary if row["role"] == "control"})
    absent = sorted({row["subject"] for row in summary if (row["remark"] or "").startswith("Absent")})
    how = sorted({_kind(row["interval"]) for row in own.values() if row["interval"]})
    parts = "; ".join(
        f"{name} {counts[name]['images']} images of {counts[name]['patients']} patients" for name in PARTS
    )
    not_beaten = [
        f"{row['measure']}: {row['remark']}" for row in own.values() if (row["remark"] or "").startswith("Not clearly")
    ]
    patients = evaluation["patients"]
    answers = (
        ("1", "1", "Named as a study of AI", f"A deep network, `{model.name}`, that {TASK_TEXT[task]}."),
        ("2", "2", "Structured summary", "This card."),
        ("3", "3a", "Background, intended use and clinical role", "No clinical role: research use only."),
        ("4", "3b", "Objectives and hypotheses", f"To measure a network of {model.reference}, beside controls."),
        ("5", "4a", "Prospective or retrospective", f"Retrospective: images collected as `{dataset.name}`."),
        ("6", "4a", "Goal of the study", "To make a network and to test it on patients it has not seen."),
        ("7", "4a", "Source of the data", f"{dataset.text}. License: {dataset.licence}."),
        (
            "8",
            "4b, 5a, 5b",
            "Who was eligible; where and when",
            unknown("an image table says neither how patients were chosen, nor where, nor when"),
        ),
        ("9", "7a", "Preprocessing", _preprocessing(recipe)),
        ("10", "-", "Subsets of the data", f"Whole images, one at a time, at {recipe['image_size']} px."),
        ("11", "6a, 7a", "Definitions of data elements", "`covidpipe codebook` defines every column."),
        (
            "12",
            "-",
            "De-identification",
            "Identifiers of patients, studies and series are keyed hashes; how the collection was de-identified is not "
            "known to a run.",
        ),
        ("13", "9", "Missing data", f"Images without {TRUTH_OF_TASK[task]} take no part; undefined scores are null."),
        ("14", "6a", "Ground truth", _ground_truth(task, dataset.positive)),
        ("15", "6a", "Why this reference standard", unknown("the makers of the data chose it")),
        ("16", "6b", "Annotators and their qualification", unknown("the data do not tell who drew or labelled what")),
        ("17", "-", "Annotation tools", unknown("the data do not tell")),
        ("18", "-", "Variability of annotators", unknown("the data hold one answer an image")),
        ("19", "8", "Sample size and how it was chosen", f"All there are, not planned: {parts}."),
        ("20", "10", "How data were assigned to partitions", _partitions(recipe, parts)),
        ("21", "10", "Level at which partitions are disjoint", _disjoint(recipe)),
        (
            "22",
            "15a",
            "The model",
            f"`{model.name}`, width {recipe['width']:g}, {record['parameters']:,} trainable parameters "
            f"({model.reference}); the weights are in model.keras.",
        ),
        ("23", "-", "Software", _software(record)),
        ("24", "10b", "How parameters were initialized", _start(record)),
        ("25", "10b", "Training", _training(record, schedule)),
        (
            "26",
            "10b, 11",
            "How the final model was selected",
            _selection(record),
        ),
        ("27", "-", "Ensembling", "None: one network."),
        ("28", "10d", "Metrics", f"{len(own)} measures, in summary.parquet; here: {', '.join(HEADLINES[task])}."),
        (
            "29",
            "10d",
            "Uncertainty",
            f"95 % intervals with patients as units: {', '.join(how) or 'none could be made'}.",
        ),
        ("30", "-", "Robustness, sensitivity", f"Controls: {', '.join(controls)}{_without(absent)}."),
        ("31", "-", "Explainability", "Not applicable: no map of what the network looks at was made."),
        ("32", "12", "Test on external data", f"None in this run: the test part is of `{dataset.name}` too."),
        ("33", "13a", "Flow of cases", f"{parts}. Refused images and why: the image table."),
        ("34", "13b", "Demographic and clinical characteristics", unknown("image tables hold no age, sex or finding")),
        (
            "35",
            "16",
            "Performance in every partition",
            f"{_validation(record)}; test: {_headlines(task, own)}.",
        ),
        ("36", "16", "Accuracy and its precision", f"{_headlines(task, own)}."),
        ("37", "-", "Failure analysis", f"{_faults(task, own)}; each image is in images.parquet."),
        (
            "38",
            "18",
            "Limitations",
            f"Tested on {patients} patients of one collection. "
            + (" ".join(not_beaten) or "Every control was beaten."),
        ),
        ("39", "19b, 20", "Implications for practice", "None: research use only."),
        ("40", "-", "Registration", unknown("a run is not told of any")),
        (
            "41",
            "21",
            "Where the protocol is",
            f"`{record['command']}`, covidpipe {record['covidpipe']}, {code_in_words(record)}, weights "
            f"`{record['weights_sha256'][:12]}`.",
        ),
        ("42", "22", "Funding", unknown("a run is not told")),
    )
    return [Item(*answer) for answer in answers]


def _kind(interval: str) -> str:
    """The method without the number of patients.

    >>> _kind("bootstrap of 9 patients"), _kind("Wilson, 2 patients")
    ('bootstrap', 'Wilson')
    """
    return interval.split(" of ")[0].split(",")[0]


def _preprocessing(recipe: Mapping[str, Any]) -> str:
    low, high = recipe["window_hu"]
    wavelet = f", then enhanced by wavelets ({recipe['reading']})" if recipe["input"] == "wavelet" else ""
    return (
        f"Hounsfield units windowed from {low:g} to {high:g}, other images stretched; letterboxed to "
        f"{recipe['image_size']} px{wavelet}, scaled to 0 to 1."
    )


def _ground_truth(task: str, positive: str) -> str:
    if task == "classify":
        return f"The collection's label of the image; positive stands for {positive}."
    return f"The collection's {TRUTH_OF_TASK[task]} of the image."


def _partitions(recipe: Mapping[str, Any], parts: str) -> str:
    return (
        f"Protocol `{recipe['protocol']}`, seed {recipe['seed']}: fold {recipe['fold']} of {recipe['folds']} tests, "
        f"the next validates, the others train: {parts}."
    )


def _disjoint(recipe: Mapping[str, Any]) -> str:
    if recipe["protocol"] == "grouped":
        return "The patient, and copies of an image: no group stands in two parts, or the run would have stopped."
    return "The image only: a patient may stand on both sides. For comparison with the paper, not a measure of skill."


def _software(record: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(record["packages"].items()))
    return f"covidpipe {record['covidpipe']}, Python {record['python']}, {packages}; on {record['device']}."


def _start(record: Mapping[str, Any]) -> str:
    if record.get("parent"):
        return f"From the network `{record['parent']['name']}`, weights `{record['parent']['weights_sha256'][:12]}`."
    if record.get("imagenet"):
        used = record["imagenet"]
        return f"From ImageNet weights of `{used['network']}`, sha256 `{used['sha256'][:12]}`; the rest at random."
    return f"At random, seed {record['seed']}."


def _training(record: Mapping[str, Any], schedule: Mapping[str, Any]) -> str:
    precision = PRECISIONS[schedule.get("precision", "float32")]
    return (
        f"{schedule['epochs']} epochs, batch {schedule['batch_size']}, {schedule['optimizer']} at "
        f"{schedule['learning_rate']:g} ({schedule['decay']}), loss {schedule['loss']}, augmentation "
        f"{schedule['augment']}, {duration(record['wall_seconds'])}{precision}; "
        "all of it in run.json and history.parquet."
    )


def _selection(record: Mapping[str, Any]) -> str:
    recipe, schedule = record["recipe"], record["schedule"]
    kept = f"Epoch {record['best_epoch'] + 1} of {schedule['epochs']}"
    if record["validation_score"] is None:
        return f"{kept}, the last; threshold {recipe['threshold']:.3g}. There were no validation patients to choose by."
    by = "the last" if schedule.get("keep") == "last" else f"by validation {record['validation_measure']}"
    return (
        f"{kept}, {by} ({record['validation_score']:.3f}); threshold {recipe['threshold']:.3g}{_temperature(recipe)}, "
        "on validation patients."
    )


def _validation(record: Mapping[str, Any]) -> str:
    if record["validation_score"] is None:
        return "No validation patients"
    return f"Validation {record['validation_measure']} {record['validation_score']:.3f}"


def _temperature(recipe: Mapping[str, Any]) -> str:
    return f" and temperature {recipe['temperature']:.3g}" if "temperature" in recipe else ""


def _without(absent: Sequence[str]) -> str:
    return f" (could not be made: {', '.join(absent)})" if absent else ""


def _headlines(task: str, own: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(_told(own[name]) for name in HEADLINES[task] if name in own)


def _told(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return f"{row['measure']} undefined"
    ends = "no interval" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    return f"{row['measure']} {row['value']:.3f} ({ends})"


def _faults(task: str, own: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{name} {own[name]['k']} of {own[name]['n']} images" for name in FAULTS[task] if name in own)
