"""Dilated convolutions without what reaches beyond the image, while a network is trained on a CPU.

TensorFlow pads the map by the dilation on all sides and takes it apart, one image for each offset: in DeepLabv3's
pyramid 6 x 6 (of 96 px) become 42 x 42 for a dilation of 18, whose outer taps see padding alone. That was nine tenths
of a training step. Here every tap is a 1 x 1 convolution of the part of the map that it sees.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="covidpipe")  # a network of it can be copied; none is saved
class TappedConv2D(layers.Conv2D):
    """Keras' layer, for odd kernels, stride 1 and padding `same`: the same sums, tap by tap.

    Input (n, rows, columns, channels) of known size; weights are those of `keras.layers.Conv2D`.
    """

    def call(self, inputs: Any) -> Any:
        """As `keras.layers.Conv2D`."""
        kernel = ops.cast(self.kernel, self.compute_dtype)
        found = None
        for place in product(*(range(size) for size in self.kernel_size)):
            seen = [
                _seen(size, (tap - kernel_size // 2) * dilation)
                for size, tap, kernel_size, dilation in zip(
                    inputs.shape[1:3], place, self.kernel_size, self.dilation_rate, strict=True
                )
            ]
            if any(stop <= start for start, stop, _, _ in seen):
                continue  # padding alone
            (top, bottom, *rows), (left, right, *columns) = seen
            tap = kernel[place[0] : place[0] + 1, place[1] : place[1] + 1]
            part = ops.pad(ops.conv(inputs[:, top:bottom, left:right], tap), [(0, 0), rows, columns, (0, 0)])
            found = part if found is None else found + part
        if self.use_bias:
            found = found + ops.cast(self.bias, self.compute_dtype)
        return self.activation(found)


def _seen(size: int, offset: int) -> tuple[int, int, int, int]:
    """What of an axis a tap sees that looks `offset` further: from, to, and the padding before and after its answer."""
    return max(offset, 0), size + min(offset, 0), max(-offset, 0), max(offset, 0)


def is_slow(layer: keras.layers.Layer) -> bool:
    """Whether a layer is a convolution that `TappedConv2D` computes faster: it reaches over half of its input."""
    return (
        type(layer) is layers.Conv2D
        and layer.padding == "same"
        and layer.groups == 1
        and layer.strides == (1, 1)
        and layer.data_format == "channels_last"
        and all(size % 2 == 1 for size in layer.kernel_size)
        and None not in layer.input.shape[1:3]
        and any(
            2 * dilation * (kernel // 2) >= size
            for dilation, kernel, size in zip(
                layer.dilation_rate, layer.kernel_size, layer.input.shape[1:3], strict=True
            )
            if dilation > 1
        )
    )
