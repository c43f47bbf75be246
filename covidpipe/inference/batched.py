"""Networks run in batches; those that trace a graph for each number of images, in batches of one fixed number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

    from covidpipe.inference.engine import Network


def to_input(images: np.ndarray, channels: int) -> np.ndarray:
    """Scale uint8 images (n, rows, columns) to float32 (n, rows, columns, channels) in 0..1."""
    scaled = images.astype(np.float32)[..., np.newaxis] / np.float32(255)
    return np.repeat(scaled, channels, axis=-1) if channels > 1 else scaled


def batch_probabilities(
    network: keras.Model | Network, images: np.ndarray, channels: int, batch_size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Probabilities of COVID-19, or of each pixel being lung or infected, a batch at a time.

    Parameters
    ----------
    network : keras.Model or Network
        Ends in a softmax over two classes or in one sigmoid: the last channel is the wanted class in both.
    images : ndarray of uint8, (n, rows, columns), or what gives such arrays for slices
    channels : int
        Channels of the network's input; the grey image is repeated.
    batch_size : int

    Yields
    ------
    slice
        Where the images of the batch stand.
    ndarray of float32, (batch,) for labels or (batch, rows, columns) for masks
        In 0..1.
    """
    for start in range(0, len(images), batch_size):
        place = slice(start, min(start + batch_size, len(images)))
        some = to_input(images[place], channels)
        missing = 0 if getattr(network, "any_number", False) else batch_size - len(some)
        full = np.concatenate([some, np.zeros((missing, *some.shape[1:]), np.float32)]) if missing else some
        found = network.predict_on_batch(full)[: len(some), ..., -1]
        yield place, np.asarray(found, np.float32)


def probabilities(
    network: keras.Model | Network, images: np.ndarray, channels: int, batch_size: int = 16
) -> np.ndarray:
    """`batch_probabilities` of all images together: float32 (n,) for labels or (n, rows, columns) for masks."""
    size = images.shape[1:] if len(network.output_shape) > 2 else ()
    found = np.empty((len(images), *size), np.float32)
    for place, values in batch_probabilities(network, images, channels, batch_size):
        found[place] = values
    return found
