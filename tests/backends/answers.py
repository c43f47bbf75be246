"""Answer one image with networks of the registry, on the backend that KERAS_BACKEND names.

``python tests/backends/answers.py OUT.npz {small,full} MODEL...`` writes one array of probabilities for each model.
Weights and image are drawn by NumPy, so that every backend computes with the same numbers.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from covidpipe import models
from covidpipe.registry import MODELS


def build(name: str, size: str) -> keras.Model:
    spec = MODELS[name]
    if size == "full":
        return models.build(name, spec.image_shape, spec.classes)
    side = max(32, spec.smallest)
    return models.build(name, (side, side, 1), spec.classes, width=0.125 if spec.scalable else 1.0)


def draw_weights(model: keras.Model) -> None:
    """Kernels as He et al. draw them, statistics of batch normalization near, not at, their start."""
    rng = np.random.default_rng(0)
    drawn = []
    for weight in model.weights:
        noise = rng.normal(size=weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            drawn.append(1 + 0.1 * np.abs(noise))
        elif len(weight.shape) > 1:
            drawn.append(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
        else:
            drawn.append(0.1 * noise)
    model.set_weights(drawn)


def main(out: str, size: str, *names: str) -> None:
    answers = {}
    for name in names:
        model = build(name, size)
        draw_weights(model)
        image = np.random.default_rng(1).random((1, *model.input_shape[1:]), np.float32)
        answers[name] = keras.ops.convert_to_numpy(model(image))
        print(f"{keras.backend.backend()}: {name} {answers[name].shape}", flush=True)
        keras.backend.clear_session()
    np.savez(out, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
