"""Training a small U-Net against plain Keras: ``python -m tests.benchmarks.training``.

Plain is ``model.fit`` on arrays in memory, images as they are; ours reads each image from a file, changes it (`strong`:
geometry, grey levels, CLAHE, noise, JPEG) and trains on it. The ceiling is a product of two matrices with three times
the operations of an answer: forward, and the gradients of what comes in and of the weights.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from covidpipe import models
from covidpipe.config import Schedule
from covidpipe.io.flat import FlatImages
from covidpipe.models.cost import gflop
from covidpipe.provenance import prepare_backend
from covidpipe.training.batches import Batches
from covidpipe.training.devices import for_training, precision
from covidpipe.training.fit import _Feed, _Step, make_optimizer
from covidpipe.training.labelled import Labelled
from covidpipe.training.losses import segmentation_loss
from covidpipe.training.sums import gradients_summed_in_pairs
from tests.benchmarks.store import pictures
from tests.benchmarks.timing import Ratio, paired, share, told

SIDE, BATCH, STEPS, FOREVER = 160, 16, 2, 10_000
against = functools.partial(paired, n=3)
SCHEDULE = Schedule(epochs=1, batch_size=BATCH, learning_rate=0.001, loss="cross_entropy_dice")


def network(dtype: str) -> keras.Model:
    with precision(dtype):
        return models.build("compact_unet", (SIDE, SIDE, 1))


def compiled(model: keras.Model) -> keras.Model:
    model.compile(make_optimizer(SCHEDULE, STEPS), segmentation_loss(SCHEDULE.loss), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


class Training:
    """A training that is under way, some steps at a time."""

    def __init__(self, labelled: Labelled, dtype: str):
        self.model = compiled(for_training(network(dtype)))
        batches = Batches(
            labelled, batch_size=BATCH, channels=1, seed=0, images_per_epoch=STEPS * BATCH, preset="strong"
        )
        self.feed, self.step = _Feed(self.model, batches, 0, FOREVER), _Step(self.model)

    def go_on(self) -> None:
        with gradients_summed_in_pairs():
            for _ in range(STEPS):
                self.step.train(self.feed.next())


def product(operations: float) -> Callable[[], np.ndarray]:
    """A product of two square float32 matrices with as many operations."""
    side = round((operations / 2) ** (1 / 3))
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    return lambda: matrix @ matrix


def main() -> list[Ratio]:
    prepare_backend(0)
    images = pictures()[:, :SIDE, :SIDE]
    masks = (images > images.mean()).astype(np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        planes = []
        for array in (images, masks):
            planes.append(FlatImages(Path(scratch), array.shape))
            planes[-1].append(array)
        names = np.arange(len(images)).astype(str)
        labelled = Labelled(*planes, names, np.ones(len(images), bool), float(masks.mean()), "")
        plain = compiled(network("float32"))
        inputs, truth = images[: STEPS * BATCH, ..., None] / np.float32(255), masks[: STEPS * BATCH]
        whole, half = Training(labelled, "float32"), Training(labelled, "mixed_bfloat16")

        def fit_plainly() -> None:
            plain.fit(inputs, truth, batch_size=BATCH, shuffle=False, verbose=0)

        operations = 3e9 * (gflop(plain) or 0) * STEPS * BATCH
        return told(
            [
                against("compact_unet trained, images changed / model.fit, not", whole.go_on, fit_plainly),
                against("compact_unet trained in bfloat16 / in float32", half.go_on, whole.go_on),
                against("compact_unet trained / matrix product as large", whole.go_on, product(operations)),
                share("time waiting for images / all of its time", whole.go_on, lambda: whole.feed.waited, n=3),
            ]
        )


if __name__ == "__main__":
    main()
