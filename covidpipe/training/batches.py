"""Training images in batches: the same ones in the same order for the same seed, on every backend."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np

from covidpipe.inference.batched import to_input
from covidpipe.training.augmentation import PRESETS, Sick, augment
from covidpipe.training.labelled import Labelled

Batch = tuple[np.ndarray, np.ndarray]
Item = TypeVar("Item")
Made = TypeVar("Made")


def draw_weights(groups: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Chance of each image to be drawn: a patient with four times the slices is seen twice as often, not four times.

    Parameters
    ----------
    groups : ndarray, (n,)
        The patient (or set of copies) of each image.
    classes : ndarray, (n,), optional
        Where given, the images of each class are drawn equally often in all.

    Returns
    -------
    ndarray of float, (n,)
        Sums to 1.
    """
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[inverse])
    if classes is not None:
        _, of_class = np.unique(classes, return_inverse=True)
        weights /= np.bincount(of_class, weights)[of_class]
    return weights / weights.sum()


class Batches:
    """Augmented batches of one epoch or another; every batch is full.

    What is drawn for an epoch and how each image is changed depend on the seed, the epoch and the place in it alone:
    any batch can be made again, by any thread.

    Parameters
    ----------
    labelled : Labelled
    batch_size, channels : int
    seed : int
    images_per_epoch : int, optional
        Images drawn for an epoch, patients with long series less often an image. If None, all of them, once each.
        The last batch is filled up with the epoch's first images: a graph is traced for each shape of a batch.
    balance : bool
        Images with and without the disease equally often: the rarer are repeated, changed in another way each time.
    preset : str
        A name of `covidpipe.training.augmentation.PRESETS`.
    flip : bool
    """

    def __init__(
        self,
        labelled: Labelled,
        *,
        batch_size: int,
        channels: int,
        seed: int,
        images_per_epoch: int | None = None,
        balance: bool = False,
        preset: str = "standard",
        flip: bool = False,
    ):
        self.images, self.truth, self.lungs = labelled.images, labelled.truth, labelled.lungs
        self.batch_size, self.channels, self.seed = batch_size, channels, seed
        self.images_per_epoch = images_per_epoch
        classes = labelled.positive if balance else np.zeros(len(labelled.positive), bool)
        self.weights = draw_weights(labelled.groups, classes)
        self.classes = [np.flatnonzero(classes == value) for value in np.unique(classes)]
        self.preset, self.flip = PRESETS[preset], flip
        self.changes = preset != "none" or flip
        self.donors = np.flatnonzero(labelled.positive)

    def __len__(self) -> int:
        """Batches of an epoch."""
        drawn = self.images_per_epoch or len(self.classes) * max(map(len, self.classes))
        return -(-drawn // self.batch_size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of a batch: float32 inputs, uint8 truth."""
        n = self.batch_size
        return (n, *self.images.shape[1:], self.channels), (n, *self.truth.shape[1:])

    def order(self, epoch: int) -> np.ndarray:
        """Positions of the images of an epoch, whole batches of them."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.images_per_epoch is not None:
            order = rng.choice(len(self.images), self.images_per_epoch, p=self.weights)
        else:
            most = max(map(len, self.classes))
            order = np.concatenate([np.resize(rng.permutation(members), most) for members in self.classes])
            rng.shuffle(order)
        return np.resize(order, len(self) * self.batch_size)

    def batch(self, epoch: int, number: int, order: np.ndarray) -> Batch:
        """Inputs float32 (batch_size, rows, columns, channels) and their truth, of the epoch with this order."""
        first = number * self.batch_size
        chosen = order[first : first + self.batch_size]
        images, truth = self.images[chosen], self.truth[chosen]
        masks = truth.ndim > 1
        planes = truth if masks else None
        if self.lungs is not None:
            planes = self.lungs[chosen] << 1 | (truth if masks else np.uint8(0))
        for i in range(self.batch_size if self.changes else 0):
            # Counted from 1: NumPy's seeds [a, b] and [a, b, 0] are one, and [a, b] has drawn the order.
            rng = np.random.default_rng([self.seed, epoch, first + i + 1])
            mask = None if planes is None else planes[i]
            images[i], moved = augment(images[i], mask, rng, self.preset, flip=self.flip, donor=self._donor)
            if masks:
                truth[i] = moved
        return to_input(images, self.channels), truth

    def _donor(self, rng: np.random.Generator) -> Sick | None:
        """An image with lesions, and its masks."""
        if self.lungs is None or not len(self.donors):
            return None
        n = [int(rng.choice(self.donors))]
        return self.images[n][0], (self.truth[n] | self.lungs[n] << 1)[0]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """All batches of one epoch, in order."""
        order = self.order(epoch)
        for number in range(len(self)):
            yield self.batch(epoch, number, order)

    def stream(self, first: int, last: int, workers: int = 1) -> Iterator[Batch]:
        """The batches of the epochs ``first`` to ``last - 1``, made ahead by `workers` threads, `workers` + 1 of them.

        They are the same, in the same order, for every number of threads.
        """

        def todo() -> Iterator[tuple[int, int, np.ndarray]]:
            for epoch in range(first, last):
                order = self.order(epoch)
                for number in range(len(self)):
                    yield epoch, number, order

        return made_ahead(lambda item: self.batch(*item), todo(), workers)


def made_ahead(make: Callable[[Item], Made], items: Iterator[Item], workers: int) -> Iterator[Made]:
    """``map(make, items)`` with threads that work ahead; at most `workers` + 1 results wait.

    >>> list(made_ahead(lambda x: x * x, iter(range(4)), 2))
    [0, 1, 4, 9]
    """
    waiting: deque[Future[Made]] = deque()
    # One OpenCV thread each: its own would fight with these and with the network's for the same cores.
    pool = ThreadPoolExecutor(workers, "batches", cv2.setNumThreads, (1,))
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
