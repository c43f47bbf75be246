"""The trained networks of a study, and the images that they were tested on."""

from __future__ import annotations

import pandas as pd

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.io.files import read_frame
from covidpipe.io.store import Store, open_store
from covidpipe.registry import DATASETS
from covidpipe.schemas import SPLIT
from covidpipe.training.labelled import labelled_parts


def evaluated(
    config: Config, task: str, protocol: str = "grouped", modality: str | None = None, positive: str | None = None
) -> list[Recipe]:
    """Recipes of a task whose networks are trained and evaluated; of a modality, and of an illness, if given."""
    return [
        recipe
        for recipe in config.training.values()
        if (recipe.task, recipe.protocol) == (task, protocol)
        and modality in (None, DATASETS[recipe.dataset].modality)
        and positive in (None, DATASETS[recipe.dataset].positive)
        and is_evaluated(config, recipe)
    ]


def is_evaluated(config: Config, recipe: Recipe) -> bool:
    """True where a recipe's network is trained and evaluated."""
    return (paths.metrics(config, recipe) / "summary.parquet").exists()


def labelled(config: Config, recipe: Recipe) -> tuple[Store, dict[str, pd.DataFrame]]:
    """The store that a recipe is fed from, and the rows of its parts."""
    store = open_store(paths.store(config, recipe))
    split = read_frame(paths.split(config, recipe.dataset, recipe.protocol), SPLIT)
    return store, labelled_parts(store.index, split, recipe, config.folds)


def test_part(config: Config, recipe: Recipe) -> tuple[Store, pd.DataFrame]:
    """The store that a recipe is fed from, and the rows of its test part."""
    store, parts = labelled(config, recipe)
    return store, parts["test"]
