"""Which images of a store have the truth that a task needs, whose they are, and in which part of the split."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from covidpipe.config import Recipe
from covidpipe.errors import BadConfig
from covidpipe.registry import PARTS, TRUTH_OF_TASK
from covidpipe.splits import check_no_leak, parts


class Readable(Protocol):
    """What is asked of a store: ``covidpipe.io.store.Store``."""

    def read(self, name: str, positions: np.ndarray) -> np.ndarray: ...


def labelled_parts(index: pd.DataFrame, split: pd.DataFrame, recipe: Recipe, folds: int) -> dict[str, pd.DataFrame]:
    """The images that carry the truth which `recipe` needs, by part.

    Parameters
    ----------
    index : pandas.DataFrame
        Index of a store (STORE_INDEX).
    split : pandas.DataFrame
        Folds and groups (SPLIT).
    recipe : Recipe
    folds : int

    Returns
    -------
    dict of str to pandas.DataFrame
        ``train``, ``validation`` and ``test``: the rows of `index` with their group, ordered by n.

    Raises
    ------
    PatientLeak
        A group stands in two parts of a grouped split.
    BadConfig
        The training or validation part is empty.
    """
    truth = TRUTH_OF_TASK[recipe.task]
    known = index["label"].notna() if truth == "label" else index[f"has_{truth}"]
    rows = index[known.to_numpy(bool)].merge(split, on="image_id", validate="one_to_one")
    rows["part"] = parts(rows["fold"].to_numpy(int), recipe.fold, folds)
    if recipe.protocol == "grouped":
        check_no_leak(rows["group"].to_numpy(str), rows["part"].to_numpy(str))
    found = {name: rows[rows["part"] == name].sort_values("n") for name in PARTS}
    for name in ("train", "validation"):
        if found[name].empty:
            raise BadConfig(
                f"Training {recipe.model} on {recipe.dataset}: the {name} part of fold {recipe.fold} has no image with "
                f"a truth for {recipe.task}. Choose another fold, fewer folds, or a dataset with such masks or labels."
            )
    return found


def read_labelled(store: Readable, rows: pd.DataFrame, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, rows, columns) and their truth, uint8 labels (n,) or masks (n, rows, columns)."""
    positions = rows["n"].to_numpy(int)
    images, truth = store.read("image", positions), TRUTH_OF_TASK[task]
    if truth == "label":
        return images, rows["label"].to_numpy(bool).astype(np.uint8)
    return images, (store.read(truth, positions) > 0).astype(np.uint8)
