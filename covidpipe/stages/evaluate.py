"""Judge one trained network and its controls on the patients it never saw: a row an image, a summary with intervals."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidpipe.config import Config
from covidpipe.inference.engine import LoadedModel, load_model_folder
from covidpipe.io.files import read_frame, read_json, replacing, write_json, write_table, write_text
from covidpipe.io.store import Store, open_store
from covidpipe.metrics import calibration, controls, nearness, summary
from covidpipe.metrics.summary import Part, Row
from covidpipe.metrics.temperature import temper
from covidpipe.provenance import prepare_backend, run_record
from covidpipe.quantify import infection_percent
from covidpipe.registry import TRUTH_OF_TASK
from covidpipe.schemas import IMAGES, METRICS_IMAGES, METRICS_SUMMARY, RELIABILITY, SPLIT
from covidpipe.stages.simple_answers import batches, blind_masks, simple_answers
from covidpipe.training.labelled import labelled_parts
from covidpipe.training.results_card import full_card

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What an evaluation finds: rows of METRICS_IMAGES, METRICS_SUMMARY and RELIABILITY."""

    images: list[Row]
    summary: list[Row]
    reliability: list[Row]


def run(config: Config, recipe_name: str, model: Path, store: Path, split: Path, images: Path, out: Path) -> None:
    """Evaluate the model folder of ``config.training[recipe_name]`` on its test part.

    Beside the network stand the controls of `covidpipe.metrics.controls`, answers that look at no lung or at nearly
    nothing: a network that does not beat them has learned nothing, and the summary says so.

    Parameters
    ----------
    config : Config
    recipe_name : str
    model, store : Path
        Folders.
    split, images : Path
        Tables.
    out : Path
        Folder of images.parquet, summary.parquet, reliability.parquet, run.json and card.md.
    """
    started = time.time()
    prepare_backend(config.seed)
    recipe = config.training[recipe_name]
    opened = open_store(store)
    parts = labelled_parts(opened.index, read_frame(split, SPLIT), recipe, config.folds)
    facts = read_frame(images, IMAGES)[["image_id", "patient_id", "row_spacing_mm", "column_spacing_mm"]]
    parts["test"] = parts["test"].merge(facts, on="image_id", validate="one_to_one").reset_index(drop=True)
    test = parts["test"]
    loaded = load_model_folder(model)
    if recipe.task == "classify":
        judged = judge_labels(loaded, opened, parts, config.seed)
    else:
        judged = judge_masks(loaded, opened, parts, TRUTH_OF_TASK[recipe.task], config.seed)
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        write_table(folder / "images.parquet", judged.images, METRICS_IMAGES)
        write_table(folder / "summary.parquet", judged.summary, METRICS_SUMMARY)
        write_table(folder / "reliability.parquet", judged.reliability, RELIABILITY)
        record = run_record(
            "evaluate",
            seed=config.seed,
            started=started,
            model_id=loaded.model_id,
            recipe=recipe.model_dump(),
            part="test",
            patients=int(test["group"].nunique()),
            images=len(test),
        )
        write_json(folder / "run.json", record)
        trained = read_json(model / "run.json")
        write_text(folder / "card.md", full_card(trained, record, judged.summary, judged.reliability))
    for row in judged.summary:
        if row["role"] == "model" and row["measure"] in nearness.COMPARED and row["remark"] is not None:
            log.info("%s: %s %s. %s", recipe_name, row["measure"], _shown(row["value"]), row["remark"])


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def judge_labels(loaded: LoadedModel, store: Store, parts: dict[str, pd.DataFrame], seed: int) -> Judged:
    """A classifier, and what can be told without the lungs or from nearly nothing.

    Parameters
    ----------
    loaded : LoadedModel
    store : Store
    parts : dict of str to pandas.DataFrame
        Rows of `labelled_parts`; those of the test with `patient_id`.
    seed : int

    Returns
    -------
    Judged
    """
    test = parts["test"]
    part = Part(test["group"].to_numpy(str), seed)
    truth, threshold = test["label"].to_numpy(bool), loaded.recipe["threshold"]
    raw, blacked_out = _network_answers(loaded, store, test)
    probability = temper(raw, loaded.temperature).astype(np.float32)

    rows = summary.named(
        summary.label_rows(part, probability, probability >= threshold, truth), loaded.model_id, "model"
    )
    untempered = summary.probability_rows(part, raw, truth, suffix="_before_temperature")
    rows += summary.named(untempered, loaded.model_id, "model")
    answers = dict(simple_answers(store, parts, seed))
    if blacked_out is not None:
        answers["network_on_lungs_blacked_out"] = temper(blacked_out, loaded.temperature), threshold
    for name, answer in answers.items():
        if isinstance(answer, str):
            rows += summary.named([part.row("roc_auc", None, None, n=0, remark=f"Absent: {answer}")], name, "control")
        else:
            said, least = answer
            rows += summary.named(summary.label_rows(part, said, said >= least, truth), name, "control")

    tempered = {loaded.temperature: probability, 1.0: raw}  # one entry where the temperature is 1
    reliability = [
        {**row, "subject": loaded.model_id, "temperature": temperature}
        for temperature, values in tempered.items()
        for row in calibration.reliability(values, truth, part.groups)
    ]
    per_image = _rows(test, "covid_probability", probability)
    per_image += _rows(test, "covid_probability_before_temperature", raw) + _rows(test, "label", truth)
    return Judged(per_image, nearness.with_remarks(rows), reliability)


def _network_answers(loaded: LoadedModel, store: Store, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
    """Probabilities without temperature, of the test images and of the same with their lungs blacked out."""
    raw, blacked_out = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    known = bool(len(test)) and bool(test["has_lung_mask"].all())
    for positions in batches(test["n"].to_numpy(int)):
        images = store.read("image", positions)
        raw.append(loaded.predict(images, calibrated=False))
        if known:
            altered = controls.without_lungs(images, store.read("lung_mask", positions) > 0)
            blacked_out.append(loaded.predict(altered, calibrated=False))
    return np.concatenate(raw), np.concatenate(blacked_out) if known else None


def judge_masks(loaded: LoadedModel, store: Store, parts: dict[str, pd.DataFrame], mask: str, seed: int) -> Judged:
    """A segmenter, and masks that are painted without a look at the image; for infection also the percentages.

    What pads an image to a square is cut off before anything is counted: it is easily left alone.

    Parameters
    ----------
    loaded : LoadedModel
    store : Store
    parts : dict of str to pandas.DataFrame
        Rows of `labelled_parts`; those of the test with `patient_id` and the native pixel spacing.
    mask : {"lung_mask", "infection_mask"}
    seed : int

    Returns
    -------
    Judged
    """
    test = parts["test"]
    part = Part(test["group"].to_numpy(str), seed)
    painted = blind_masks(store, parts["train"], mask)
    measures = list(summary.MEASURES)
    scores = {name: np.full((len(test), len(measures)), np.nan) for name in (loaded.model_id, *painted)}
    percents = {name: np.full((len(test), 2), np.nan) for name in scores}
    geometry = list(_geometry(test))
    for batch in batches(np.arange(len(test))):
        positions = test["n"].to_numpy(int)[batch]
        truth, lungs = (store.read(name, positions) > 0 for name in (mask, "lung_mask"))
        answers = loaded.predict(store.read("image", positions)) >= loaded.recipe["threshold"]
        for i, answer, wanted, lung in zip(batch, answers, truth, lungs, strict=True):
            window, spacing_mm = geometry[i]
            for name, found in ((loaded.model_id, answer), *painted.items()):
                measured = summary.score_mask(found[window], wanted[window], spacing_mm)
                scores[name][i] = [_number(measured[measure]) for measure in measures]
                percents[name][i] = [_number(infection_percent(marked, lung)) for marked in (found, wanted)]

    per_image, rows = [], []
    for name, values in scores.items():
        table, pairs = pd.DataFrame(values, columns=measures), percents[name]
        found_rows, told = summary.mask_rows(part, table), {}
        if mask == "infection_mask" and not np.isnan(pairs).any(axis=1).all():
            found_rows += summary.percent_rows(part, pairs, summary.present_in(table))
            told = {"infection_percent": pairs[:, 0], "true_infection_percent": pairs[:, 1]}
        if name == loaded.model_id:
            for measure, column in {**table, **told}.items():
                per_image += _rows(test, measure, column)
        rows += summary.named(found_rows, name, "model" if name == loaded.model_id else "control")
    return Judged(per_image, nearness.with_remarks(rows), [])


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _geometry(test: pd.DataFrame) -> Iterator[tuple[tuple[slice, slice], tuple[float, float] | None]]:
    """Where each image lies on the store's grid, and how far its pixels are apart there."""
    for row in test.itertuples():
        window = slice(row.top, row.top + row.height), slice(row.left, row.left + row.width)
        if pd.isna(row.row_spacing_mm) or pd.isna(row.column_spacing_mm):
            yield window, None
        else:
            down = row.row_spacing_mm * row.native_rows / row.height
            across = row.column_spacing_mm * row.native_columns / row.width
            yield window, (float(down), float(across))


def _rows(test: pd.DataFrame, measure: str, values: Any) -> list[Row]:
    patient = [None if pd.isna(p) else p for p in test["patient_id"]]
    return [
        {"image_id": i, "patient_id": p, "measure": measure, "value": None if pd.isna(v) else float(v)}
        for i, p, v in zip(test["image_id"], patient, values, strict=True)
    ]
