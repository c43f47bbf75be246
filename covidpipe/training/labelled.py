"""Which images of a store have the truth that a task needs, whose they are, and in which part of the split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from covidpipe.config import Recipe
from covidpipe.errors import BadConfig
from covidpipe.io.flat import FlatImages
from covidpipe.registry import PARTS, REGIMES, TRUTH_OF_TASK
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
    if REGIMES[recipe.task][recipe.regime].input == "lung_view":
        known &= index["has_lung_mask"]  # the view of no lung is blank, whatever its label
    rows = index[known.to_numpy(bool)].merge(split, on="image_id", validate="one_to_one")
    rows["part"] = parts(rows["fold"].to_numpy(int), recipe.fold, folds, recipe.validation)
    if recipe.protocol == "grouped":
        check_no_leak(rows["group"].to_numpy(str), rows["part"].to_numpy(str))
    found = {name: rows[rows["part"] == name].sort_values("n") for name in PARTS}
    for name in ("train", "validation") if recipe.validation == "fold" else ("train",):
        if found[name].empty:
            raise BadConfig(
                f"Training {recipe.model} on {recipe.dataset}: the {name} part of fold {recipe.fold} has no image with "
                f"a truth for {recipe.task}. Choose another fold, fewer folds, or a dataset with such masks or labels."
            )
    return found


@dataclass(frozen=True)
class Labelled:
    """Images with their truth.

    Parameters
    ----------
    images : ndarray of uint8, (n, rows, columns), or `FlatImages`
    truth : ndarray of uint8, (n,) for labels, or masks like `images`, 0 and 1
    groups : ndarray, (n,)
        Whose image it is.
    positive : ndarray of bool, (n,)
        Whether the image shows what is looked for: its label, or a mask that is not empty.
    foreground : float
        Share of the truth that is 1.
    sha256 : str
        Of all images, their truth, and who belongs together.
    lungs : like masks, optional
        The lungs of each image, 0 and 1, where a training asks for them.
    """

    images: Any
    truth: Any
    groups: np.ndarray
    positive: np.ndarray
    foreground: float
    sha256: str
    lungs: Any = None

    def __len__(self) -> int:
        return len(self.images)


def read_labelled(
    store: Readable,
    rows: pd.DataFrame,
    task: str,
    folder: str | Path,
    *,
    piece: int = 64,
    with_lungs: bool = False,
    between: Callable[[], None] = lambda: None,
) -> Labelled:
    """Copy images and their truth out of a store, to read them at random; memory stays flat.

    They stand in the order of their ids, which their bytes decide about. A store has the order of the image table, and
    so of the hashes of patients: a training would depend on the key of whoever runs it.

    Parameters
    ----------
    store : Readable
    rows : pandas.DataFrame
        A part of `labelled_parts`.
    task : str
    folder : Path
        Where the copies lie, in files without a name.
    piece : int
        Images in memory at a time.
    with_lungs : bool
        Copy the lung masks too.
    between : function
        Called between the pieces; may raise.

    Raises
    ------
    BadConfig
        Lungs are wanted, and an image has no lung mask.
    """
    n, name = len(rows), TRUTH_OF_TASK[task]
    if with_lungs and not rows["has_lung_mask"].all():
        without = int((~rows["has_lung_mask"].to_numpy(bool)).sum())
        raise BadConfig(
            f"The augmentation needs the lungs, and {without} of {n} images have no lung mask. Choose `augment: "
            "geometric` in the schedule, or a dataset with lung masks."
        )
    images = masks = lungs = None
    labels: list[np.ndarray] = []
    positive: list[np.ndarray] = []
    shares: list[np.ndarray] = []
    digests: list[bytes] = []
    for start in range(0, n, piece):
        between()
        some = rows.iloc[start : start + piece]
        block = store.read("image", some["n"].to_numpy(int))
        images = images or FlatImages(folder, (n, *block.shape[1:]))
        images.append(block)
        if name == "label":
            truth = some["label"].to_numpy(bool).astype(np.uint8)
            labels.append(truth)
        else:
            truth = (store.read(name, some["n"].to_numpy(int)) > 0).astype(np.uint8)
            masks = masks or FlatImages(folder, (n, *truth.shape[1:]))
            masks.append(truth)
        if with_lungs:
            lungs = lungs or FlatImages(folder, (n, *block.shape[1:]))
            lungs.append((store.read("lung_mask", some["n"].to_numpy(int)) > 0).astype(np.uint8))
        positive.append(truth.reshape(len(some), -1).any(axis=1))
        shares.append(truth.reshape(len(some), -1).mean(axis=1))
        digests += [
            hashlib.sha256(image.tobytes() + answer.tobytes()).digest()
            for image, answer in zip(block, truth, strict=True)
        ]
    order = np.argsort(rows["image_id"].to_numpy(str), kind="stable")
    for planes in (images, masks, lungs):
        if planes is not None:
            planes.arrange(order)
    groups = rows["group"].to_numpy(str)[order]
    numbered, _ = pd.factorize(groups)  # in the order they first appear: names of patients are hashes
    content = b"".join(digests[place] for place in order) + numbered.astype("<i8").tobytes()
    return Labelled(
        images,
        masks if masks is not None else np.concatenate(labels)[order],
        groups,
        np.concatenate(positive)[order],
        float(np.concatenate(shares)[order].mean()),
        hashlib.sha256(content).hexdigest(),
        lungs,
    )
