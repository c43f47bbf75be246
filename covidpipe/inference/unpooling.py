"""Max-pooling with indices and unpooling for OpenVINO, which turns the picture for whatever has more than four axes.

`covidpipe.models.layers` takes windows apart with reshapes to six axes: right for training, as gradients are then the
same on every device. In OpenVINO each costs transpositions between channels last and channels first: as much time as
all convolutions in bfloat16. Here every step is a pooling, an enlargement, a comparison or a product of pictures, and
none a selection, past which OpenVINO does not carry a transposition either.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from covidpipe.models.layers import MaxPoolWithIndices, MaxUnpool


class _Pool(MaxPoolWithIndices):
    """The same answer; indices are float32."""

    def call(self, x: Any) -> tuple[Any, Any]:
        k = self.pool_size
        rows, columns = x.shape[1] // k, x.shape[2] // k
        x = x[:, : rows * k, : columns * k, :]
        pooled = ops.max_pool(x, k, k, "valid")
        # Of equals the first counts most.
        counted = _where(ops.equal(_enlarged(pooled, k), x)) * (k * k - _positions(rows, columns, k))
        return pooled, k * k - ops.max_pool(counted, k, k, "valid")


class _Unpool(MaxUnpool):
    """The same answer."""

    def call(self, x: Any, indices: Any, like: Any) -> Any:
        k = self.pool_size
        rows, columns = x.shape[1:3]
        here = _where(ops.equal(_enlarged(indices, k), _positions(rows, columns, k)))
        beyond = ((0, 0), (0, like.shape[1] - rows * k), (0, like.shape[2] - columns * k), (0, 0))
        x = _enlarged(x, k) * here
        return ops.pad(x, beyond) if np.any(beyond) else x


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


_INSTEAD: dict[type, type] = {MaxPoolWithIndices: _Pool, MaxUnpool: _Unpool}


def flattened(network: keras.Model) -> keras.Model:
    """The same network with the same weights, without reshapes to more than four axes.

    Parameters
    ----------
    network : keras.Model
        Computes in float32; one without such pooling comes back as it is.
    """
    if not any(type(layer) in _INSTEAD for layer in network.layers):
        return network
    other = keras.models.clone_model(
        network, clone_function=lambda layer: _INSTEAD.get(type(layer), type(layer)).from_config(layer.get_config())
    )
    other.set_weights(network.get_weights())
    return other
