"""Networks against the plainest Keras code that computes the same: answering, and a step of training.

``python -m tests.benchmarks.models [MODEL...]``. A quarter of the channels where a network has that option, four images
of at most 96 x 96, so that a laptop ends in minutes. Plain is:

* unpooling: ``max_pool_with_argmax`` and a scatter, as most SegNets for TensorFlow are written;
* recurrent convolutions: the forward kernel applied again at each time step, as the equation reads;
* networks of Keras: ``keras.applications`` itself;
* the rest: what a textbook would write (`tests.benchmarks.textbook`).

Both have the same number of parameters. ``cov_raseg`` against itself tells how far from one a ratio can be by chance.
"""

from __future__ import annotations

import os
import sys
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from covidpipe import models
from covidpipe.models import layers as blocks
from covidpipe.provenance import prepare_backend
from covidpipe.registry import MODELS
from tests.benchmarks.textbook import TEXTBOOK
from tests.benchmarks.timing import Ratio, paired

BATCH = 4
UNPOOLING = ("cov_raseg", "segnet", "u_segnet", "vgg16_segnet", "vgg19_segnet")
RECURRENT = ("irrcnn", "nabla3")
APPLICATIONS = {
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "resnet50": "ResNet50",
    "inception_v3": "InceptionV3",
    "densenet201": "DenseNet201",
    "xception": "Xception",
}


class ArgmaxPool(layers.Layer):
    """Max-pooling with flat positions in the whole batch, by TensorFlow."""

    def __init__(self, pool_size, **kwargs):
        super().__init__(**kwargs)
        self.k = pool_size

    def call(self, x):
        return tf.nn.max_pool_with_argmax(x, self.k, self.k, "VALID", include_batch_in_index=True)

    def compute_output_spec(self, x):
        n, rows, columns, channels = x.shape
        shape = (n, rows // self.k, columns // self.k, channels)
        return keras.KerasTensor(shape, x.dtype), keras.KerasTensor(shape, "int64")


class ScatterUnpool(layers.Layer):
    """Values back to their flat positions, by a scatter."""

    def __init__(self, pool_size, **kwargs):
        super().__init__(**kwargs)

    def call(self, x, indices, like):
        shape = tf.shape(like, out_type=tf.int64)
        flat = tf.scatter_nd(tf.reshape(indices, (-1, 1)), tf.reshape(x, (-1,)), [tf.reduce_prod(shape)])
        return tf.reshape(flat, shape)

    def compute_output_spec(self, x, indices, like):
        return keras.KerasTensor(like.shape, x.dtype)


def recurrent_conv_as_written(x, filters, kernel, name, *, t, normalize_start):
    """`covidpipe.models.layers.recurrent_conv` with the forward kernel applied anew at each time step."""
    settings = {"padding": "same", "kernel_initializer": "he_normal"}
    forward = layers.Conv2D(filters, kernel, **settings, name=f"{name}_forward")
    recurrent = layers.Conv2D(filters, kernel, **settings, name=f"{name}_recurrent")
    z = forward(x)
    z = layers.ReLU()(blocks.normalize(z, f"{name}_bn0") if normalize_start else z)
    for i in range(1, t + 1):
        z = layers.ReLU()(blocks.normalize(layers.Add()([forward(x), recurrent(z)]), f"{name}_bn{i}"))
    return z


def plain(name: str, shape: tuple[int, int, int], width: float) -> keras.Model:
    if name in TEXTBOOK:
        return TEXTBOOK[name](shape, width)
    if name in APPLICATIONS:
        application = getattr(keras.applications, APPLICATIONS[name])
        return application(include_top=True, weights=None, input_shape=shape, classes=2)
    module = "covidpipe.models.cov_raseg" if name == "cov_raseg" else "covidpipe.models.segnet"
    if name in UNPOOLING:
        swap = mock.patch.multiple(module, MaxPoolWithIndices=ArgmaxPool, MaxUnpool=ScatterUnpool)
    else:
        swap = mock.patch(f"{MODELS[name].module}.recurrent_conv", recurrent_conv_as_written)
    with swap:
        return models.build(name, shape, width=width)


def compare(name: str, with_itself: bool = False) -> list[Ratio]:
    """Ratios of answering and of a step of training; `with_itself`: of the network to a copy of it."""
    spec = MODELS[name]
    width = 0.25 if spec.scalable else 1.0
    side = min(spec.image_shape[0], 96)
    shape = (side, side, spec.image_shape[2])
    ours = models.build(name, shape, width=width)
    other = keras.models.clone_model(ours) if with_itself else plain(name, shape, width)
    assert ours.count_params() == other.count_params(), name
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, *shape), np.float32)
    truth = rng.integers(0, 2, (BATCH, *ours.output_shape[1:-1]))
    for model in (ours, other):
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        model.optimizer.build(model.trainable_variables)
    what = f"{name} and itself" if with_itself else name
    return [
        paired(f"{what}: answer", lambda: ours.predict_on_batch(images), lambda: other.predict_on_batch(images)),
        paired(
            f"{what}: train", lambda: ours.train_on_batch(images, truth), lambda: other.train_on_batch(images, truth)
        ),
    ]


def main(*names: str) -> list[Ratio]:
    prepare_backend(0)
    rows = []
    for name, with_itself in [*((name, False) for name in names or MODELS), ("cov_raseg", True)]:
        for row in compare(name, with_itself):
            rows.append(row)
            print(
                f"{row.what:<29} ours {row.ours_s * 1e3:7.1f} ms, plain {row.plain_s * 1e3:7.1f} ms, "
                f"{row.speedup:.2f} times as fast ({row.low:.2f} to {row.high:.2f}), by processor time "
                f"{row.cpu_speedup:.2f} ({row.cpu_low:.2f} to {row.cpu_high:.2f}), n = {row.n}",
                flush=True,
            )
        keras.backend.clear_session()
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
