"""Losses on probabilities, in ``keras.ops`` so that they run on every backend.

A segmenter's output is (n, rows, columns, 1), a sigmoid, or (n, rows, columns, 2), a softmax; in both the last
channel is the probability of the foreground, and that is what the losses look at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

EPSILON = 1e-6


def class_weights(foreground_share: float) -> tuple[float, float]:
    """Median-frequency weights of (background, foreground): Khan et al.'s static pixel attention.

    With two classes the median of the two shares is 0.5, so each weight is 0.5 / share; the released network carries
    1.3201 and 0.8048 for shares of .3788 and .6212.

    >>> class_weights(0.25)
    (0.6666666666666666, 2.0)
    """
    share = float(np.clip(foreground_share, 1e-4, 1 - 1e-4))
    return 0.5 / (1 - share), 0.5 / share


def pixel_cross_entropy(weights: tuple[float, float] = (1.0, 1.0)) -> Callable[[Any, Any], Any]:
    """Cross-entropy over pixels with a weight for (background, foreground), divided by the mean weight."""
    background, foreground = weights

    def loss(truth, output):
        probability = ops.clip(ops.cast(output[..., -1], "float32"), EPSILON, 1 - EPSILON)
        wanted = ops.cast(truth, "float32")
        terms = -(foreground * wanted * ops.log(probability) + background * (1 - wanted) * ops.log(1 - probability))
        return ops.mean(terms) / (0.5 * (background + foreground))

    return loss


def dice_loss(truth, output):
    """1 - Dice over all pixels of the batch together, each sum one pixel larger.

    The extra pixel is the written rule for empty masks (`covidpipe.metrics.counts`): nothing to find and nothing found
    is a loss of 0, and every falsely marked pixel then raises it. (Keras' own Dice calls a correct empty answer a loss
    of 1.)
    """
    probability = ops.cast(output[..., -1], "float32")
    wanted = ops.cast(truth, "float32")
    both = ops.sum(probability * wanted)
    return 1 - (2 * both + 1) / (ops.sum(probability) + ops.sum(wanted) + 1)


def segmentation_loss(name: str, weights: tuple[float, float] = (1.0, 1.0)) -> Callable[[Any, Any], Any]:
    """The loss called `name` in a schedule: ``cross_entropy``, ``dice`` or ``cross_entropy_dice`` (their sum).

    Its shape is (1,): Keras takes a scalar as it is, and divides only what it has to average by the number of GPUs
    that share a batch, whose gradients it then adds up.
    """
    cross_entropy = pixel_cross_entropy(weights)
    terms = {"cross_entropy": [cross_entropy], "dice": [dice_loss], "cross_entropy_dice": [cross_entropy, dice_loss]}

    def loss(truth, output):
        return ops.reshape(sum(term(truth, output) for term in terms[name]), (1,))

    return loss
