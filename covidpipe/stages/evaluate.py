"""Judge one trained network on the patients it never saw: one row an image, and a summary with intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidpipe.config import Config
from covidpipe.inference.engine import LoadedModel, load_model_folder
from covidpipe.io.files import read_frame, replacing, write_json, write_table
from covidpipe.io.store import Store, open_store
from covidpipe.metrics import classification, segmentation
from covidpipe.metrics.intervals import Interval, bootstrap_by_group, wilson
from covidpipe.provenance import prepare_backend, run_record
from covidpipe.quantify import infection_percent
from covidpipe.registry import TRUTH_OF_TASK
from covidpipe.schemas import IMAGES, METRICS_IMAGES, METRICS_SUMMARY, SPLIT
from covidpipe.training.labelled import labelled_parts

BATCH = 32


def run(config: Config, recipe_name: str, model: Path, store: Path, split: Path, images: Path, out: Path) -> None:
    """Evaluate the model folder of ``config.training[recipe_name]`` on its test part.

    Beside the network stand the answers that need none, ``majority_class`` for labels and ``all_background`` for
    masks: a network that does not beat them has learned nothing.

    Parameters
    ----------
    config : Config
    recipe_name : str
    model, store : Path
        Folders.
    split, images : Path
        Tables.
    out : Path
        Folder of images.parquet, summary.parquet and run.json.
    """
    started = time.time()
    prepare_backend(config.seed)
    recipe = config.training[recipe_name]
    opened = open_store(store)
    rows = labelled_parts(opened.index, read_frame(split, SPLIT), recipe, config.folds)
    test = rows["test"].reset_index(drop=True)
    patients = read_frame(images, IMAGES)[["image_id", "patient_id"]]
    test = test.merge(patients, on="image_id", validate="one_to_one")
    loaded = load_model_folder(model)
    if recipe.task == "classify":
        majority = bool(rows["train"]["label"].to_numpy(bool).mean() >= 0.5)
        per_image, summary = judge_labels(loaded, opened, test, majority, config.seed)
    else:
        per_image, summary = judge_masks(loaded, opened, test, TRUTH_OF_TASK[recipe.task], config.seed)
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        write_table(folder / "images.parquet", per_image, METRICS_IMAGES)
        write_table(folder / "summary.parquet", summary, METRICS_SUMMARY)
        write_json(
            folder / "run.json",
            run_record(
                "evaluate",
                seed=config.seed,
                started=started,
                model_id=loaded.model_id,
                recipe=recipe.model_dump(),
                part="test",
                patients=int(test["group"].nunique()),
                images=len(test),
            ),
        )


def _rows(test: pd.DataFrame, measure: str, values: Any) -> list[dict[str, Any]]:
    patient = [None if pd.isna(p) else p for p in test["patient_id"]]
    return [
        {"image_id": i, "patient_id": p, "measure": measure, "value": None if v is None else float(v)}
        for i, p, v in zip(test["image_id"], patient, values, strict=True)
    ]


def judge_labels(
    loaded: LoadedModel, store: Store, test: pd.DataFrame, majority: bool, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Accuracy, sensitivity and specificity with k/n, and ROC AUC, of a classifier and of the majority class."""
    positions = test["n"].to_numpy(int)
    probability = np.concatenate(
        [loaded.predict(store.read("image", positions[i : i + BATCH])) for i in range(0, len(positions), BATCH)]
        or [np.zeros(0, np.float32)]
    )
    truth = test["label"].to_numpy(bool)
    groups = test["group"].to_numpy(str)
    summary = []
    for subject, found in (
        (loaded.model_id, probability >= loaded.recipe["threshold"]),
        ("majority_class", np.full(len(truth), majority)),
    ):
        tp, fp, tn, fn = classification.confusion(found, truth)
        for measure, k, n in (
            ("accuracy", tp + tn, len(truth)),
            ("sensitivity", tp, tp + fn),
            ("specificity", tn, tn + fp),
            ("precision", tp, tp + fp),
        ):
            summary.append(summary_row(subject, measure, k / n if n else None, wilson(k, n), n, test, k=k))

    def area(rows: np.ndarray) -> float | None:
        return classification.roc_auc(rows[:, 0], rows[:, 1])

    both = np.column_stack([probability, truth])
    interval = bootstrap_by_group(both, groups, area, seed=seed)
    summary.append(summary_row(loaded.model_id, "roc_auc", area(both), interval, len(truth), test))
    return _rows(test, "covid_probability", probability) + _rows(test, "label", truth), summary


def judge_masks(
    loaded: LoadedModel, store: Store, test: pd.DataFrame, mask: str, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pooled and mean Dice, IoU, and for infection the error of infection_percent inside the true lungs."""
    counts: list[tuple[int, int, int]] = []
    percents: list[tuple[float | None, float | None]] = []
    positions = test["n"].to_numpy(int)
    for i in range(0, len(positions), BATCH):
        chunk = positions[i : i + BATCH]
        truth = store.read(mask, chunk) > 0
        lungs = store.read("lung_mask", chunk) > 0
        probability = loaded.predict(store.read("image", chunk))
        for found, wanted, lung in zip(probability >= loaded.recipe["threshold"], truth, lungs, strict=True):
            counts.append(segmentation.overlap(found, wanted))
            percents.append((infection_percent(found, lung), infection_percent(wanted, lung)))
    table = np.array(counts, dtype=float).reshape(-1, 3)
    groups = test["group"].to_numpy(str)
    empty = np.column_stack([np.zeros(len(table)), np.zeros(len(table)), table[:, 2]])

    per_image = _rows(test, "dice", [segmentation.dice_of_counts(*c) for c in counts])
    summary = []
    for subject, rows in ((loaded.model_id, table), ("all_background", empty)):
        for measure, statistic in MASK_MEASURES.items():
            value = statistic(rows)
            interval = bootstrap_by_group(rows, groups, statistic, seed=seed)
            n = int(np.count_nonzero(rows[:, 2])) if measure == "mean_dice_where_present" else len(rows)
            summary.append(summary_row(subject, measure, value, interval, n, test))
    if mask == "infection_mask":
        known = np.array([found is not None for found, _ in percents])
        if known.any():
            found, wanted = np.array([p for p in percents if p[0] is not None], dtype=float).T
            per_image += _rows(test, "infection_percent", [p[0] for p in percents])
            per_image += _rows(test, "true_infection_percent", [p[1] for p in percents])
            errors = found - wanted
            for measure, statistic in PERCENT_MEASURES.items():
                interval = bootstrap_by_group(errors, groups[known], statistic, seed=seed)
                summary.append(
                    summary_row(loaded.model_id, measure, statistic(errors), interval, len(errors), test[known])
                )
    return per_image, summary


def _pooled_dice(rows: np.ndarray) -> float | None:
    return segmentation.dice_of_counts(*rows.sum(axis=0))


def _pooled_iou(rows: np.ndarray) -> float | None:
    return segmentation.iou_of_counts(*rows.sum(axis=0))


def _mean_dice(rows: np.ndarray) -> float | None:
    present = rows[rows[:, 2] > 0]
    return float(np.mean([segmentation.dice_of_counts(*row) for row in present])) if len(present) else None


MASK_MEASURES: dict[str, Callable[[np.ndarray], float | None]] = {
    "pooled_dice": _pooled_dice,
    "pooled_iou": _pooled_iou,
    "mean_dice_where_present": _mean_dice,
}
PERCENT_MEASURES: dict[str, Callable[[np.ndarray], float | None]] = {
    "infection_percent_mean_absolute_error": lambda errors: float(np.abs(errors).mean()),
    "infection_percent_bias": lambda errors: float(errors.mean()),
}


def summary_row(
    subject: str,
    measure: str,
    value: float | None,
    interval: tuple[float, float] | Interval | None,
    n: int,
    rows: pd.DataFrame,
    k: int | None = None,
) -> dict[str, Any]:
    """One row of METRICS_SUMMARY."""
    low, high = (None, None) if interval is None else interval[:2]
    return {
        "subject": subject,
        "measure": measure,
        "value": value,
        "low": low,
        "high": high,
        "n": n,
        "k": k,
        "patients": int(rows["group"].nunique()),
    }
