"""Training images in batches: the same ones in the same order for the same seed, on every backend."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from covidpipe.training.augmentation import augment


def to_input(images: np.ndarray, channels: int) -> np.ndarray:
    """Scale uint8 images (n, rows, columns) to float32 (n, rows, columns, channels) in 0..1."""
    scaled = images.astype(np.float32)[..., np.newaxis] / 255
    return np.repeat(scaled, channels, axis=-1) if channels > 1 else scaled


def draw_weights(groups: np.ndarray) -> np.ndarray:
    """Chance of each image to be drawn: a patient with four times the slices is seen twice as often, not four times.

    Parameters
    ----------
    groups : ndarray, (n,)
        The patient (or set of copies) of each image.

    Returns
    -------
    ndarray of float, (n,)
        Sums to 1.
    """
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[inverse])
    return weights / weights.sum()


class Batches:
    """Augmented batches of one epoch or another; every batch is full.

    Parameters
    ----------
    images : ndarray of uint8, (n, rows, columns)
    truth : ndarray of uint8, (n,) for labels or (n, rows, columns) for masks
    groups : ndarray, (n,)
        Whose image it is: long series are drawn less often.
    batch_size, channels : int
    seed : int
    images_per_epoch : int, optional
        Images drawn for an epoch; all of them, once each, if None. The last batch is filled up with the epoch's first
        images: a graph is traced for each shape of a batch.
    augmented : bool
    """

    def __init__(self, images, truth, groups, *, batch_size, channels, seed, images_per_epoch=None, augmented=True):
        self.images, self.truth = images, truth
        self.weights = draw_weights(groups)
        self.batch_size, self.channels, self.seed = batch_size, channels, seed
        self.images_per_epoch = images_per_epoch
        self.augmented = augmented

    def __len__(self) -> int:
        return -(-(self.images_per_epoch or len(self.images)) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of one epoch: inputs float32 (batch_size, rows, columns, channels), and their truth.

        What is drawn and how it is changed depends on seed and epoch alone, so that any epoch can be made again.
        """
        rng = np.random.default_rng([self.seed, epoch])
        if self.images_per_epoch is None:
            order = rng.permutation(len(self.images))
        else:
            order = rng.choice(len(self.images), self.images_per_epoch, p=self.weights)
        order = np.resize(order, len(self) * self.batch_size)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            images, truth = self.images[chosen], self.truth[chosen]
            for i in range(self.batch_size if self.augmented else 0):
                if truth.ndim == 1:
                    images[i], _ = augment(images[i], None, rng)
                else:
                    images[i], truth[i] = augment(images[i], truth[i], rng)
            yield to_input(images, self.channels), truth
