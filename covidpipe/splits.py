"""Folds that no patient and no copy of an image crosses, and the proof of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covidpipe.errors import BadTable, PatientLeak


def joined_groups(*keys: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Number the groups of images that share at least one key, directly or through other images.

    Parameters
    ----------
    *keys : sequences of length n
        One for each reason to stay together: the patient, the pixels' hash. None joins with nothing.

    Returns
    -------
    (n,) of int64
        For each image, the position of the first image of its group.

    >>> joined_groups(["a", None, "b", None], ["x", "y", "x", "z"]).tolist()
    [0, 1, 0, 3]
    """
    parent = list(range(len(keys[0])))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for values in keys:
        first: dict[Hashable, int] = {}
        for node, value in enumerate(values):
            if value is not None:
                low, high = sorted((root(node), root(first.setdefault(value, node))))
                parent[high] = low
    return np.array([root(node) for node in range(len(parent))], np.int64)


def grouped_folds(groups: ArrayLike, labels: ArrayLike, folds: int, seed: int) -> NDArray[np.int32]:
    """Give every group one fold, so that the folds are alike in size and in their share of each label.

    Largest groups first, each into the fold that it leaves least uneven: with a few very unequal patients this is as
    even as whole groups allow, and no fold stays empty. `seed` decides between groups of equal size.

    Parameters
    ----------
    groups : (n,) of hashable values
    labels : (n,) of hashable values
        What is balanced besides the number of images; any constant if nothing is.
    folds : int
    seed : int

    Returns
    -------
    (n,) of int32, from 0 to folds - 1

    Raises
    ------
    BadTable
        There are fewer groups than folds.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    kinds, label = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < folds:
        raise BadTable(
            f"{folds} folds need at least {folds} groups (patients, or sets of copies) to keep apart; there are "
            f"{len(names)}. Lower `folds`, or use the protocol `published`, which splits by image."
        )
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (group, label), 1)
    # Each label weighs the same, however rare; the last column is the size.
    share = np.column_stack([counts / counts.sum(axis=0), counts.sum(axis=1) / counts.sum()])
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    filled = np.zeros((folds, share.shape[1]))
    taken = np.zeros(folds, int)
    fold_of = np.empty(len(names), np.int32)
    for done, name in enumerate(order):
        # Once the groups left are as few as the empty folds, only those may take one.
        open_folds = np.flatnonzero(taken == 0) if len(names) - done <= (taken == 0).sum() else np.arange(folds)
        # What a group adds to the sum of squares: smallest in the folds that have least of what it brings.
        cost = (filled[open_folds] * share[name]).sum(axis=1)
        best = open_folds[np.lexsort((filled[open_folds, -1], cost.round(12)))[0]]
        fold_of[name] = best
        filled[best] += share[name]
        taken[best] += 1
    return fold_of[group]


def random_folds(n: int, folds: int, seed: int) -> NDArray[np.int32]:
    """Folds of single images, drawn at random: the papers' way, which lets a patient stand on both sides.

    Raises
    ------
    BadTable
        There are fewer images than folds.
    """
    if n < folds:
        raise BadTable(f"{folds} folds need at least {folds} images; there are {n}. Lower `folds`.")
    return np.random.default_rng(seed).permutation(np.arange(n) % folds).astype(np.int32)


def parts(fold_column: ArrayLike, fold: int, folds: int) -> NDArray[np.str_]:
    """What each image is for when `fold` is tested: that fold "test", the next one "validation", the rest "train".

    >>> parts([0, 1, 2], 2, 3).tolist()
    ['validation', 'train', 'test']
    """
    column = np.asarray(fold_column)
    return np.select([column == fold, column == (fold + 1) % folds], ["test", "validation"], "train")


def check_no_leak(groups: ArrayLike, parts: ArrayLike) -> None:
    """Raise `PatientLeak`, naming the group and its parts, if a group stands in more than one part.

    Parameters
    ----------
    groups : (n,) of hashable values
    parts : (n,) of str or int
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    words, part = np.unique(np.asarray(parts), return_inverse=True)
    stands = np.zeros((len(names), len(words)), bool)
    stands[group, part] = True
    leaking = np.flatnonzero(stands.sum(axis=1) > 1)
    if len(leaking):
        where = " and ".join(str(word) for word in words[stands[leaking[0]]])
        raise PatientLeak(
            f"{len(leaking)} groups of images that belong together (a patient, or copies) stand in more than one part, "
            f"e.g. {names[leaking[0]]} in {where}. Split by group, or join the groups that share images."
        )
