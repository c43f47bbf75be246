"""Controls on a store: simple models trained on what is left of its images, and masks that are usual in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from covidpipe.io.store import Store
from covidpipe.metrics import controls

BATCH = 32  # images in memory


def simple_answers(
    store: Store, parts: dict[str, pd.DataFrame], seed: int
) -> Iterator[tuple[str, tuple[np.ndarray, float] | str]]:
    """Name of each control that is trained on the training part, and its answers for the test part or why it has none.

    Parameters
    ----------
    store : Store
    parts : dict of str to pandas.DataFrame
    seed : int
        Which training images are taken, where there are more than `controls.TRAIN_IMAGES`.

    Yields
    ------
    str
    tuple of (ndarray, float), or str
        Probabilities with the threshold, or a reason in words.
    """
    test = parts["test"]
    share = float(parts["train"]["label"].to_numpy(bool).mean())
    yield "majority_class", (np.full(len(test), share), 0.5)
    used = {name: _some(parts[name], seed) for name in ("train", "validation")}
    labels = {name: rows["label"].to_numpy(bool) for name, rows in used.items()}
    all_rows = (*used.values(), test)
    without = sum(int((~rows["has_lung_mask"].to_numpy(bool)).sum()) for rows in all_rows)
    reasons = {}
    for name in controls.LEFT:
        if without and name in controls.NEED_LUNGS:
            reasons[name] = f"{without} of {sum(map(len, all_rows))} images have no lung mask."
        elif labels["train"].all() or not labels["train"].any():
            reasons[name] = "the training part has one class only."
    names = [name for name in controls.LEFT if name not in reasons]
    left = {part: _left(store, rows, names) for part, rows in used.items()}
    models = {
        name: controls.simple_model(
            left["train"][name], labels["train"], left["validation"][name], labels["validation"]
        )
        for name in names
    }
    said = {name: np.zeros(len(test)) for name in names}
    for batch, positions in zip(batches(np.arange(len(test))), batches(test["n"].to_numpy(int)), strict=True):
        for name, numbers in _left_of(store, positions, names).items():
            said[name][batch] = models[name].predict_proba(numbers)[:, 1]
    for name in controls.LEFT:
        yield name, reasons[name] if name in reasons else (said[name], 0.5)


def _some(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows, or as many as a simple model learns from."""
    if len(rows) <= controls.TRAIN_IMAGES:
        return rows
    # Ids first: the order of a store depends on the key of whoever runs it.
    return rows.sort_values("image_id").sample(controls.TRAIN_IMAGES, random_state=seed).sort_values("n")


def _left(store: Store, rows: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    """What is left of the images for each control; one batch of images is in memory."""
    blocks = [_left_of(store, positions, names) for positions in batches(rows["n"].to_numpy(int))]
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def _left_of(store: Store, positions: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    images, lungs = store.read("image", positions), store.read("lung_mask", positions) > 0
    return {name: controls.LEFT[name](images, lungs) for name in names}


def blind_masks(store: Store, rows: pd.DataFrame, mask: str) -> dict[str, np.ndarray]:
    """Name of each mask that is painted without a look at the image, and the mask, bool (rows, columns).

    Parameters
    ----------
    store : Store
    rows : pandas.DataFrame
        The training part: what is usual is usual there.
    mask : {"lung_mask", "infection_mask"}
    """
    usual = _mean_mask(store, rows, mask)
    return {
        "all_background": np.zeros(usual.shape, bool),
        "border_painter": controls.border_painter(usual),
        "mean_mask": controls.usual_mask(usual),
    }


def _mean_mask(store: Store, rows: pd.DataFrame, mask: str) -> np.ndarray:
    """Share of the images in `rows` whose mask holds each pixel, float64 (rows, columns)."""
    total = np.zeros((store.size, store.size), np.int64)
    for positions in batches(rows["n"].to_numpy(int)):
        total += (store.read(mask, positions) > 0).sum(axis=0)
    return total / max(1, len(rows))


def batches(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values, some at a time."""
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))
