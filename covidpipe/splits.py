"""Folds that no patient and no copy of an image crosses, and the proof of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covidpipe.errors import BadTable, PatientLeak


def joined_groups(*keys: Sequence[Hashable | None], pairs: Iterable[tuple[int, int]] = ()) -> NDArray[np.int64]:
    """Number the groups of images that share a key or are a pair, directly or through other images.

    Parameters
    ----------
    *keys : sequences of length n
        One for each reason to stay together: the patient, the pixels' hash. None joins with nothing.
    pairs : iterable of (int, int)
        Positions of two images that belong together whatever their keys, such as near-duplicates.

    Returns
    -------
    (n,) of int64
        For each image, the position of the first image of its group.

    >>> joined_groups(["a", None, "b", None], ["x", "y", "x", "z"]).tolist()
    [0, 1, 0, 3]
    >>> joined_groups(["a", None, "b", None], pairs=[(2, 3)]).tolist()
    [0, 1, 2, 2]
    """
    parent = list(range(len(keys[0])))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    for values in keys:
        first: dict[Hashable, int] = {}
        for node, value in enumerate(values):
            if value is not None:
                join(node, first.setdefault(value, node))
    for one, other in pairs:
        join(one, other)
    return np.array([root(node) for node in range(len(parent))], np.int64)


def group_name(first: str, of_patient: bool) -> str:
    """How a group is called: after its first image, so that its name does not depend on the key of the hashes.

    >>> group_name("2e1fc2309a3291ee", True)
    'patient of image 2e1fc2309a3291ee'
    """
    return f"{'patient of ' * of_patient}image {first}"


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


def published_folds(listed: Sequence[str | None], folds: int, seed: int) -> NDArray[np.int32]:
    """Folds of single images as published: the authors' test images are fold 0, their training images the others.

    Images that no list of theirs names are drawn over all folds. Without any list this is `random_folds`.

    Parameters
    ----------
    listed : (n,) of "test", "train" or None
    folds : int
    seed : int

    Raises
    ------
    BadTable
        There are fewer images than folds.

    >>> published_folds(["test", "train", "test", "train"], 3, 0)[[0, 2]].tolist()
    [0, 0]
    """
    found = random_folds(len(listed), folds, seed)
    names = np.array([name or "" for name in listed])
    for name, first in (("", 0), ("test", 0), ("train", 1)):
        here = np.flatnonzero(names == name)
        among = 1 if name == "test" else folds - first
        found[here] = first + np.random.default_rng(seed).permutation(np.arange(len(here)) % among)
    return found


def parts(fold_column: ArrayLike, fold: int, folds: int, validation: str = "fold") -> NDArray[np.str_]:
    """What each image is for when `fold` is tested: that fold "test", the next one "validation", the rest "train".

    With ``validation="none"`` the next one is trained on too.

    >>> parts([0, 1, 2], 2, 3).tolist()
    ['validation', 'train', 'test']
    """
    column = np.asarray(fold_column)
    next_one = "validation" if validation == "fold" else "train"
    return np.select([column == fold, column == (fold + 1) % folds], ["test", next_one], "train")


def check_no_leak(groups: ArrayLike, parts: ArrayLike, images: Sequence[str] | None = None) -> None:
    """Raise `PatientLeak`, naming the group and its parts, if a group stands in more than one part.

    Parameters
    ----------
    groups : (n,) of hashable values
    parts : (n,) of str or int
    images : sequence of str, optional
        Identifiers: two images of the group, one on either side, are then named too.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    words, part = np.unique(np.asarray(parts), return_inverse=True)
    stands = np.zeros((len(names), len(words)), bool)
    stands[group, part] = True
    leaking = np.flatnonzero(stands.sum(axis=1) > 1)
    if len(leaking):
        here = np.flatnonzero(stands[leaking[0]])
        where = " and ".join(str(words[number]) for number in here)
        pair = ""
        if images is not None:
            some = [np.flatnonzero((group == leaking[0]) & (part == number))[0] for number in here[:2]]
            pair = f" ({' and '.join(f'image {images[n]} in {words[part[n]]}' for n in some)})"
        raise PatientLeak(
            f"{len(leaking)} groups of images that belong together (a patient, or copies) stand in more than one part, "
            f"e.g. {names[leaking[0]]} in {where}{pair}. Split by group, or join the groups that share images."
        )


class Shared(NamedTuple):
    """Two images that must not stand on two sides, and why: a row of DUPLICATES."""

    source: str
    image_id: str
    other_source: str
    other_image_id: str
    reason: str
    correlation: float | None

    def sentence(self) -> str:
        """The pair in words.

        >>> Shared("a", "1", "b", "2", "near_duplicate", 0.984).sentence()
        'image 1 of a and image 2 of b: a near-duplicate (r = 0.98)'
        """
        why = {"same_patient": "are of the same patient", "neighbour": "look like neighbouring slices"}
        one, other = f"image {self.image_id} of {self.source}", f"image {self.other_image_id} of {self.other_source}"
        alike = "" if self.correlation is None else f" (r = {self.correlation:.2f})"
        if self.reason in why:
            return f"{one} and {other} {why[self.reason]}{alike}"
        what = "the same pixels" if self.reason == "same_pixels" else "a near-duplicate"
        return f"{one} and {other}: {what}{alike}"


def check_together(shared: Iterable[Shared], part_of: Callable[[str], str | None]) -> None:
    """Raise `PatientLeak`, naming the pair, if two images that belong together stand in two parts of a split.

    Parameters
    ----------
    shared : iterable of Shared
        Pairs of one source.
    part_of : function
        The part of an image, or None if it is in none.
    """
    torn = [
        (pair, *both)
        for pair in shared
        if None not in (both := (part_of(pair.image_id), part_of(pair.other_image_id))) and both[0] != both[1]
    ]
    if torn:
        pair, one, other = max(torn, key=_certainty)
        raise PatientLeak(
            f"{len(torn)} pairs of images that belong together stand in two parts of a split, e.g. {pair.sentence()}; "
            f"one is in the {one} part, the other in the {other} part. Run split again: its protocol `grouped` keeps "
            "them in one."
        )


def check_apart(shared: Iterable[Shared], part_of: Callable[[str], str | None]) -> None:
    """Raise `PatientLeak`, naming the pair, if an image that a network is judged on shares what the network has seen.

    Parameters
    ----------
    shared : iterable of Shared
        From the images the network was trained on (`image_id`) to those it is judged on (`other_image_id`).
    part_of : function
        The part that an image had in the training, or None.
    """
    seen = [(pair, part) for pair in shared if (part := part_of(pair.image_id)) in ("train", "validation")]
    if seen:
        pair, part = max(seen, key=_certainty)
        images = len({other.other_image_id for other, _ in seen})
        raise PatientLeak(
            f"{images} images of {pair.other_source} are not new to a network trained on {pair.source}, e.g. "
            f"{pair.sentence()}; the first, or another of its group, is in its {part} part. Take them out of one of "
            "the two, or train on another dataset."
        )


def _certainty(found: tuple) -> float:
    correlation = found[0].correlation
    return 2.0 if correlation is None else correlation
