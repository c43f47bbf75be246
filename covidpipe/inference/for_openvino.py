"""A network in other operations that give the same answers, those that OpenVINO is quick at.

`covidpipe.models.layers` takes the windows of pooling apart with reshapes to six axes: right for training, as gradients
are then the same on every device. In OpenVINO each costs transpositions between channels last and channels first: as
much time as all convolutions in bfloat16. Here every step is a pooling, an enlargement, a comparison or a product of
pictures, and none a selection, past which OpenVINO does not carry a transposition either. Its softmax, made for many
classes, takes a tenth of the time of CoV-RASeg in bfloat16 for two.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from covidpipe.models.layers import MaxPoolWithIndices, MaxUnpool


class Pool(MaxPoolWithIndices):
    """The same answer to the bit; indices are float32."""

    def call(self, x: Any) -> tuple[Any, Any]:
        k = self.pool_size
        rows, columns = x.shape[1] // k, x.shape[2] // k
        x = x[:, : rows * k, : columns * k, :]
        pooled = ops.max_pool(x, k, k, "valid")
        # Of equals the first counts most.
        counted = _where(ops.equal(_enlarged(pooled, k), x)) * (k * k - _positions(rows, columns, k))
        return pooled, k * k - ops.max_pool(counted, k, k, "valid")


class Unpool(MaxUnpool):
    """The same answer to the bit, with the indices of `Pool`."""

    def call(self, x: Any, indices: Any, like: Any) -> Any:
        k = self.pool_size
        rows, columns = x.shape[1:3]
        here = _where(ops.equal(_enlarged(indices, k), _positions(rows, columns, k)))
        beyond = ((0, 0), (0, like.shape[1] - rows * k), (0, like.shape[2] - columns * k), (0, 0))
        x = _enlarged(x, k) * here
        return ops.pad(x, beyond) if np.any(beyond) else x


class SoftmaxOfTwo(layers.Layer):
    """Softmax of two channels, as a sigmoid of their difference."""

    def call(self, x: Any) -> Any:
        second = ops.sigmoid(x[..., 1:] - x[..., :1])
        return ops.concatenate([1 - second, second], axis=-1)


def _where(condition: Any) -> Any:
    return ops.cast(condition, "float32")


def _enlarged(x: Any, factor: int) -> Any:
    """Every pixel `factor` by `factor` times."""
    size = x.shape[1] * factor, x.shape[2] * factor
    return ops.image.resize(x, size, interpolation="nearest", data_format="channels_last")


def _positions(rows: int, columns: int, k: int) -> np.ndarray:
    """Each pixel's position in its window, row by row: (1, rows * k, columns * k, 1)."""
    window = np.arange(k * k, dtype=np.float32).reshape(k, k)
    return np.tile(window, (rows, columns))[np.newaxis, ..., np.newaxis]


def _instead(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, MaxPoolWithIndices):
        return Pool.from_config(layer.get_config())
    if isinstance(layer, MaxUnpool):
        return Unpool.from_config(layer.get_config())
    softmax = isinstance(layer, layers.Activation) and layer.activation is keras.activations.softmax
    if softmax and layer.output.shape[-1] == 2:
        return SoftmaxOfTwo(name=layer.name)
    return type(layer).from_config(layer.get_config())


def rewritten(network: keras.Model) -> keras.Model:
    """The same network with the same weights, for OpenVINO.

    Parameters
    ----------
    network : keras.Model
        Of the functional kind; computes in float32.
    """
    other = keras.models.clone_model(network, clone_function=_instead)
    other.set_weights(network.get_weights())
    return other
