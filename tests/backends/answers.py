"""Answer four images with networks of the registry, on the backend that KERAS_BACKEND names.

``python tests/backends/answers.py FOLDER {small,full} MODEL...`` writes FOLDER/{model}.{backend}.npy, probabilities. On
TensorFlow it also draws the weights, FOLDER/{model}.npz, which the other backends read.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import keras
import numpy as np

from covidpipe import models
from covidpipe.registry import MODELS

# Rows and columns; the kernels are those of 304 x 304. Where two values of a pooling window differ in the last bits, a
# rounding turns the index that unpooling goes by, and no backend is wrong: VGG-16's SegNet at 160 x 160 meets one such
# window among 775,000 (measured, JAX), VGG-19's at 64 x 64 one in four images, and at 32 none. Classifiers unpool none
# and end in one pixel at 32: four images alike there divide a rounding by almost no spread (ResNet-50: 1.1e-4).
LARGEST = {"classify": 64, "segment": 32}


def build(name: str, size: str) -> keras.Model:
    spec = MODELS[name]
    if size == "full":
        largest = LARGEST["classify" if "classify" in spec.tasks else "segment"]
        side = max(spec.smallest, min(spec.image_shape[0], largest))
        return models.build(name, (side, side, spec.image_shape[2]), spec.classes)
    side = max(32, spec.smallest)
    return models.build(name, (side, side, 1), spec.classes, width=0.125 if spec.scalable else 1.0)


def draw_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Four images from dark to bright: what is pooled over a whole image must differ between them, for batch
    normalization divides by its spread."""
    brightness = np.linspace(0.25, 1, 4, dtype=np.float32).reshape(4, 1, 1, 1)
    return brightness * np.random.default_rng(1).random((4, *shape), np.float32)


def draw_weights(model: keras.Model, images: np.ndarray) -> None:
    """Kernels as He et al. draw them, statistics of batch normalization and a scale of the logits that fit `images`.

    Otherwise a hundred layers would multiply the values to a softmax of plain zeros and ones, on which backends agree
    for nothing. Normalized values are shifted to where most of them pass a ReLU: around zero, random layers in a row
    are chaotic, and a rounding in the first grew a thousandfold in VGG-19's SegNet.
    """
    rng = np.random.default_rng(0)
    drawn = []
    for weight in model.weights:
        noise = rng.normal(size=weight.shape)
        if weight.name in ("gamma", "beta", "moving_variance"):
            drawn.append(1 + 0.1 * np.abs(noise))
        elif len(weight.shape) > 1:
            drawn.append(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
        else:
            drawn.append(0.1 * noise)
    model.set_weights(drawn)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    head = [layer for layer in model.layers if layer.output is model.layers[-1].input]
    if hasattr(head[0], "kernel"):  # after a batch normalization the logits have their scale already
        logits = keras.Model(model.input, head[0].output)(images)
        spread = float(np.std(keras.ops.convert_to_numpy(logits)))
        head[0].set_weights([weight / spread for weight in head[0].get_weights()])


def main(folder: str, size: str, *names: str) -> None:
    backend = keras.backend.backend()
    for name in names:
        model = build(name, size)
        images = draw_images(model.input_shape[1:])
        weights = Path(folder) / f"{name}.npz"
        if backend == "tensorflow":
            draw_weights(model, images)
            np.savez(weights, *[keras.ops.convert_to_numpy(weight) for weight in model.weights])
        else:
            with np.load(weights) as arrays:
                model.set_weights([arrays[key] for key in arrays.files])
        np.save(Path(folder) / f"{name}.{backend}.npy", keras.ops.convert_to_numpy(model(images)))
        print(f"{backend}: {name}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main(*sys.argv[1:])
