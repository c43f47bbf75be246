"""Training images in batches: the same ones in the same order for the same seed, on every backend."""

from __future__ import annotations

import keras
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


class Batches(keras.utils.PyDataset):
    """Augmented batches of one epoch after another.

    Parameters
    ----------
    images : ndarray of uint8, (n, rows, columns)
    truth : ndarray of uint8, (n,) for labels or (n, rows, columns) for masks
    groups : ndarray, (n,)
        Whose image it is: long series are drawn less often.
    batch_size, channels : int
    seed : int
    images_per_epoch : int, optional
        Images drawn for an epoch; all of them, once each, if None.
    augmented : bool
    """

    def __init__(self, images, truth, groups, *, batch_size, channels, seed, images_per_epoch=None, augmented=True):
        super().__init__()
        self.images, self.truth = images, truth
        self.weights = draw_weights(groups)
        self.batch_size, self.channels, self.seed = batch_size, channels, seed
        self.images_per_epoch = images_per_epoch
        self.augmented = augmented
        self.epoch = 0
        self._draw()

    def _draw(self) -> None:
        rng = np.random.default_rng([self.seed, self.epoch])
        n = len(self.images)
        if self.images_per_epoch is None:
            self.order = rng.permutation(n)
        else:
            self.order = rng.choice(n, self.images_per_epoch, p=self.weights)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index: int):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images, truth = self.images[chosen], self.truth[chosen]
        if self.augmented:
            images, truth = images.copy(), truth.copy()
            for i in range(len(chosen)):
                rng = np.random.default_rng([self.seed, self.epoch, index, i])
                if truth.ndim == 1:
                    images[i], _ = augment(images[i], None, rng)
                else:
                    images[i], truth[i] = augment(images[i], truth[i], rng)
        return to_input(images, self.channels), truth

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._draw()
