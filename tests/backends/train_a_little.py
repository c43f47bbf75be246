"""Train a few steps on the backend that KERAS_BACKEND names, and write what comes of it.

``python tests/backends/train_a_little.py OUT.npz {losses,resumed,shared}``
"""

from __future__ import annotations

import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import contextlib

import keras
import numpy as np

from covidpipe.config import Recipe, Schedule
from covidpipe.io.resume import Checkpoints
from covidpipe.provenance import prepare_backend
from covidpipe.training import fit as fit_module
from covidpipe.training.fit import fit
from covidpipe.training.labelled import Labelled
from covidpipe.training.losses import segmentation_loss

RECIPE = Recipe(task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=16)


class Killed(BaseException):
    pass


def part(n: int) -> Labelled:
    """Bright squares on noise."""
    rng = np.random.default_rng(n)
    masks = np.zeros((n, 16, 16), np.uint8)
    for mask in masks:
        row, column = rng.integers(1, 9, 2)
        mask[row : row + 6, column : column + 6] = 1
    images = rng.integers(0, 60, masks.shape, dtype=np.uint8) + masks * np.uint8(150)
    return Labelled(images, masks, np.arange(n).astype(str), np.ones(n, bool), float(masks.mean()), "")


def train(
    schedule: Schedule, checkpoints: Checkpoints | None = None, devices: list[str] | None = None
) -> list[np.ndarray]:
    """History and weights of a network of two convolutions, with dropout if it has one device."""
    prepare_backend(5)
    scope: contextlib.AbstractContextManager = contextlib.nullcontext()
    if devices:
        import tensorflow as tf

        scope = tf.distribute.MirroredStrategy(devices).scope()
    with scope:
        inputs = keras.Input((16, 16, 1))
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
        x = x if devices is not None else keras.layers.Dropout(0.3)(x)
        model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax")(x))
    rng = np.random.default_rng(0)  # every backend draws its own first weights
    model.set_weights([rng.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    fitted = fit(model, RECIPE, schedule, part(16), part(8), 5, None, checkpoints=checkpoints)
    return [np.array([row["value"] for row in fitted.history]), *model.get_weights()]


def losses() -> dict[str, np.ndarray]:
    """The values that tests/unit/test_training.py computes by hand, and an empty mask."""
    truth = np.array([[[1, 0]]], np.uint8)
    output = np.array([[[[0.75, 0.25], [0.5, 0.5]]]], np.float32)
    empty = np.zeros((1, 1, 2), np.uint8), np.zeros((1, 1, 2, 1), np.float32)
    named = {name: segmentation_loss(name, (1.0, 3.0)) for name in ("cross_entropy", "dice", "cross_entropy_dice")}
    found = {name: loss(truth, output) for name, loss in named.items()}
    found["dice of nothing"] = named["dice"](*empty)
    labels = keras.losses.SparseCategoricalCrossentropy()
    found["labels"] = labels(np.array([1, 0], np.uint8), np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    return {name: np.reshape(keras.ops.convert_to_numpy(value), -1) for name, value in found.items()}


def resumed() -> dict[str, np.ndarray]:
    """One training in one go, and one that is killed in its third epoch and goes on."""
    schedule = Schedule(epochs=4, batch_size=4, learning_rate=0.02, decay="cosine", loss="cross_entropy_dice")
    whole = train(schedule)
    step, steps = fit_module._Step.train, []

    def killed(self, batch):
        steps.append(None)
        if len(steps) == 11:
            raise Killed
        step(self, batch)

    with tempfile.TemporaryDirectory() as folder:
        fit_module._Step.train = killed
        with contextlib.suppress(Killed):
            train(schedule, Checkpoints(folder, "key"))
        fit_module._Step.train = step
        again = train(schedule, Checkpoints(folder, "key"))
    return {f"whole {i}": a for i, a in enumerate(whole)} | {f"again {i}": a for i, a in enumerate(again)}


def shared() -> dict[str, np.ndarray]:
    """The same training on one device, and on two that share each batch."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    schedule = Schedule(epochs=2, batch_size=4, learning_rate=0.1, optimizer="sgd", momentum=0.9)
    one, two = train(schedule, devices=[]), train(schedule, devices=["CPU:0", "CPU:1"])
    return {f"one {i}": a for i, a in enumerate(one)} | {f"two {i}": a for i, a in enumerate(two)}


if __name__ == "__main__":
    np.savez(sys.argv[1], **{"losses": losses, "resumed": resumed, "shared": shared}[sys.argv[2]]())
