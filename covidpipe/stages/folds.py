"""Test parts of several folds of one network, gathered: every patient counts once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.errors import BadTable
from covidpipe.io.files import read_frame, read_json
from covidpipe.metrics.classification import roc_auc_within
from covidpipe.metrics.intervals import SHARE
from covidpipe.metrics.summary import MEASURES, Part, Row, label_rows, mask_rows, percent_rows, present_in
from covidpipe.schemas import METRICS_IMAGES, SPLIT
from covidpipe.splits import group_name

PERCENTS = ["infection_percent", "true_infection_percent"]


def gathered(config: Config, recipes: Iterable[Recipe]) -> Iterator[Row]:
    """Every measure over the test parts of several folds of one network, as `covidpipe evaluate` gives it for one.

    The answers of a classifier are told with the temperature and at the threshold of their own fold. `roc_auc` ranks
    probabilities of different folds against each other, as if they came from one network; `roc_auc_within_folds` ranks
    those of each fold by themselves.

    Parameters
    ----------
    config : Config
    recipes : iterable of Recipe
        Of one network and task, evaluated; they differ in their fold.

    Yields
    ------
    dict
        Columns of METRICS_SUMMARY but for `subject` and `role`.

    Raises
    ------
    BadTable
        An image stands in the test parts of two folds.
    """
    recipes = list(recipes)
    images = pd.concat([_images(config, recipe) for recipe in recipes], ignore_index=True)
    twice = images["image_id"][images["image_id"].duplicated()]
    if len(twice):
        raise BadTable(
            f"{recipes[0].model}, {recipes[0].task}: {len(twice)} images, e.g. {twice.iloc[0]}, are in the test parts "
            "of two folds: the split has changed between trainings. Train and evaluate all folds again."
        )
    part = Part(images["group"].to_numpy(str), config.seed)
    if recipes[0].task == "classify":
        probability = images["covid_probability"].to_numpy(float)
        found = probability >= images["threshold"].to_numpy(float)
        truth = images["label"].to_numpy(float) > 0.5
        yield from label_rows(part, probability, found, truth)
        within = partial(roc_auc_within, probability, truth, images["fold"].to_numpy(int))
        yield part.row("roc_auc_within_folds", within(), part.patients.of_weights(within, SHARE))
        return
    scores = images.reindex(columns=list(MEASURES))
    yield from mask_rows(part, scores)
    if set(PERCENTS) <= set(images):
        yield from percent_rows(part, images[PERCENTS].to_numpy(float), present_in(scores))


def groups_of(config: Config, dataset: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Whose each image of a data set is, by image_id, under a name that does not depend on the key of the hashes.

    Where the study has split the data set, copies of a patient under another name are found; else `patient_id` tells.
    """
    table = paths.split(config, dataset, "grouped")
    if table.exists():
        split = read_frame(table, SPLIT)
        return dict(zip(split["image_id"], split["group"], strict=True))
    first: dict[str, str] = {}
    found = {}
    for image_id, patient in sorted((row["image_id"], row["patient_id"]) for row in rows):
        found[image_id] = group_name(first.setdefault(patient or image_id, image_id), patient is not None)
    return found


def _images(config: Config, recipe: Recipe) -> pd.DataFrame:
    """A row an image of one test part: what was measured, its group, and the classifier's threshold."""
    folder = paths.metrics(config, recipe)
    rows = read_frame(folder / "images.parquet", METRICS_IMAGES)
    groups = read_frame(paths.split(config, recipe.dataset, recipe.protocol), SPLIT)[["image_id", "group", "fold"]]
    wide = rows.pivot(index="image_id", columns="measure", values="value").reset_index()
    wide = wide.merge(groups, on="image_id", validate="one_to_one")
    if recipe.task == "classify":
        threshold = read_json(paths.model(config, recipe) / "run.json")["recipe"]["threshold"]
        # float32, as the probabilities: one that is the threshold itself stays positive
        wide["threshold"] = float(np.float32(threshold))
    return wide
