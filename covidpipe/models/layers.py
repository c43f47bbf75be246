"""Blocks that several networks share, in ``keras.ops`` only: they run on TensorFlow, JAX and PyTorch alike."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def scaled(channels: float, width: float) -> int:
    """Channels of a layer in a network of the given width, at least 2.

    Equal channels stay equal, so residual sums fit at every width.

    >>> scaled(64, 0.25), scaled(264, 0.5), scaled(16, 0.01)
    (16, 132, 2)
    """
    return max(2, int(channels * width + 0.5))


def normalize(x: Any, name: str, epsilon: float = 1e-5) -> Any:
    """Batch normalization with MATLAB's constants (epsilon 1e-5, statistics that move by a tenth a step).

    Khan et al. trained in MATLAB; and after a short schedule Keras' own 0.99 would still remember the start. Torch's
    constants are the same two.
    """
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def conv_norm(
    x: Any,
    filters: int,
    kernel: int,
    name: str,
    *,
    strides: int = 1,
    dilation: int = 1,
    initializer: str = "glorot_uniform",
) -> Any:
    """Convolution with bias and ``same`` padding, then batch normalization: ``{name}_conv``, ``{name}_bn``."""
    settings = {"padding": "same", "kernel_initializer": initializer, "name": f"{name}_conv"}
    x = layers.Conv2D(filters, kernel, strides=strides, dilation_rate=dilation, **settings)(x)
    return normalize(x, f"{name}_bn")


def conv_norm_relu(x: Any, filters: int, kernel: int, name: str, **options: Any) -> Any:
    """`conv_norm`, then ReLU."""
    return layers.ReLU(name=f"{name}_relu")(conv_norm(x, filters, kernel, name, **options))


def centered_conv(
    x: Any, filters: int, kernel: int, name: str, *, strides: int = 1, dilation: int = 1, depthwise: bool = False
) -> Any:
    """Convolution without bias, zero-padded alike on all sides, as Torch and MATLAB do.

    Keras' ``same`` with a stride pads below and to the right more than above and to the left, by the size of the
    image: weights trained with the one see the image shifted under the other.

    Parameters
    ----------
    x : tensor
        (n, rows, columns, channels).
    filters, kernel : int
        Output channels, and side of the kernel, odd.
    name : str
        Of the convolution; its padding is ``{name}_pad``.
    strides, dilation : int
        At most one of them above 1.
    depthwise : bool
        One kernel for each channel; `filters` is then the number of channels of x.

    Returns
    -------
    tensor
        (n, ceil(rows / strides), ceil(columns / strides), filters).
    """
    padding = "same"  # with stride 1, alike on all sides
    if strides > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    settings: dict[str, Any] = {"strides": strides, "padding": padding, "use_bias": False, "name": name}
    if depthwise:
        return layers.DepthwiseConv2D(kernel, **settings)(x)
    return layers.Conv2D(filters, kernel, dilation_rate=dilation, **settings)(x)


def centered_max_pool(x: Any, name: str) -> Any:
    """3x3 max-pooling with stride 2, padded alike on all sides; x is nowhere negative, so a zero never wins."""
    return layers.MaxPooling2D(3, strides=2, name=name)(layers.ZeroPadding2D(1, name=f"{name}_pad")(x))


def conv_relu(
    x: Any, filters: int, name: str, *, kernel: int = 3, norm: str | None = None, initializer: str = "glorot_uniform"
) -> Any:
    """Convolution ``{name}`` with ``same`` padding, batch normalization if `norm` names it, ReLU ``{name}_relu``."""
    x = layers.Conv2D(filters, kernel, padding="same", kernel_initializer=initializer, name=name)(x)
    if norm:
        x = normalize(x, norm)
    return layers.ReLU(name=f"{name}_relu")(x)


def upsample_to(like: Any, x: Any, filters: int, name: str, *, kernel: int, strides: int = 2) -> Any:
    """Transposed convolution ``{name}``, cropped to the rows and columns of `like` where these do not divide."""
    x = layers.Conv2DTranspose(
        filters, kernel, strides=strides, padding="same", kernel_initializer="he_normal", name=name
    )(x)
    return crop_to(like, x, f"{name}_crop")


def crop_to(like: Any, x: Any, name: str) -> Any:
    """Drop the last rows and columns of `x` that `like` does not have; no layer where sizes agree."""
    extra = x.shape[1] - like.shape[1], x.shape[2] - like.shape[2]
    return layers.Cropping2D(((0, extra[0]), (0, extra[1])), name=name)(x) if any(extra) else x


def unpooling_head(x: Any, classes: int, name: str) -> Any:
    """Last layer of MATLAB's SegNet and of the released CoV-RASeg: 3x3, batch normalization, ReLU, probabilities.

    The ReLU before the softmax is theirs: logits are never negative. One class ends in a sigmoid and has no ReLU,
    which would forbid probabilities below one half.
    """
    x = layers.Conv2D(classes, 3, padding="same", name=f"{name}_conv1")(x)
    x = normalize(x, f"{name}_bn_1")
    if classes > 1:
        x = layers.ReLU(name=f"{name}_conv1_relu")(x)
    return probabilities(x, "probabilities")


def recurrent_conv(x: Any, filters: int, kernel: int, name: str, *, t: int, normalize_start: bool) -> Any:
    """Recurrent convolutional layer: one forward kernel, and one recurrent kernel shared over time.

    ``f = forward(x)``; ``z_0 = relu(f)``, or ``relu(bn_0(f))`` with `normalize_start`;
    ``z_i = relu(bn_i(f + recurrent(z_{i-1})))`` for i = 1..t. The forward part is computed once: x does not change.

    Parameters
    ----------
    x : tensor
        (n, rows, columns, channels).
    filters, kernel : int
        Output channels, and side of both kernels.
    name : str
        Prefix of the layers' names.
    t : int
        Recurrences, 0 or more.
    normalize_start : bool
        Whether the first state has a batch normalization of its own.

    Returns
    -------
    tensor
        z_t, (n, rows, columns, filters).

    References
    ----------
    Liang and Hu, CVPR 2015 (recurrent convolution); Alom et al., arXiv 1802.06955 (R2U-Net), whose t = 2 is one
    forward convolution followed by two recurrent ones. He initialization: Alom et al. 2020.
    """
    settings = {"padding": "same", "kernel_initializer": "he_normal"}
    recurrent = layers.Conv2D(filters, kernel, **settings, name=f"{name}_recurrent")
    forward = layers.Conv2D(filters, kernel, **settings, name=f"{name}_forward")(x)
    start = normalize(forward, f"{name}_bn0") if normalize_start else forward
    z = layers.ReLU(name=f"{name}_relu0")(start)
    for i in range(1, t + 1):
        z = layers.Add(name=f"{name}_add{i}")([forward, recurrent(z)])
        z = layers.ReLU(name=f"{name}_relu{i}")(normalize(z, f"{name}_bn{i}"))
    return z


def probabilities(x: Any, name: str) -> Any:
    """Softmax over the channels, or sigmoid of a single channel; float32 under every precision policy."""
    return layers.Activation("sigmoid" if x.shape[-1] == 1 else "softmax", dtype="float32", name=name)(x)


@keras.saving.register_keras_serializable(package="covidpipe")
class MaxPoolWithIndices(layers.Layer):
    """Max-pooling that also tells where in its window each maximum stood; the first of equals wins.

    As in MATLAB, PyTorch and Keras' ``valid`` pooling, rows and columns that fill no window are left out.

    Parameters
    ----------
    pool_size : int
        Side of the window, and its step.

    Returns
    -------
    pooled : tensor
        (n, rows // pool_size, columns // pool_size, channels).
    indices : tensor of int32
        The same shape; position in the window, row by row, 0..pool_size**2 - 1.

    References
    ----------
    Badrinarayanan et al. 2017 (SegNet).

    Examples
    --------
    >>> import numpy as np
    >>> pooled, indices = MaxPoolWithIndices()(np.array([[1.0, 7.0], [7.0, 0.0]]).reshape(1, 2, 2, 1))
    >>> float(pooled[0, 0, 0, 0]), int(indices[0, 0, 0, 0])
    (7.0, 1)
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_size = pool_size

    def call(self, x: Any) -> tuple[Any, Any]:
        k = self.pool_size
        rows, columns, channels = x.shape[1] // k, x.shape[2] // k, x.shape[3]
        x = x[:, : rows * k, : columns * k, :]
        pooled = ops.max_pool(x, k, k, "valid")
        windows = ops.reshape(x, (-1, rows, k, columns, k, channels))
        # From the last position to the first, so that the first of equals is what stays: an argmax over the window,
        # without the copy that brings a window's values together (a third of the time on a CPU).
        indices = ops.full_like(pooled, k * k - 1, dtype="int32")
        for position in reversed(range(k * k - 1)):
            here = ops.equal(windows[:, :, position // k, :, position % k, :], pooled)
            indices = ops.where(here, ops.cast(position, "int32"), indices)
        return pooled, indices

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size}


@keras.saving.register_keras_serializable(package="covidpipe")
class MaxUnpool(layers.Layer):
    """Puts each value back where its maximum stood, zeros elsewhere: the inverse of `MaxPoolWithIndices`.

    Called as ``layer(x, indices, like)``; of `like`, the tensor that was pooled, only the size counts, so that odd
    sizes come back exactly. Windows do not overlap: comparing the indices with each position of the window and
    interleaving gives what a scatter would, bit for bit, and its gradient is a gather.

    Parameters
    ----------
    pool_size : int
        The one of the pooling.

    Returns
    -------
    tensor
        (n, rows of `like`, columns of `like`, channels of x).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 7.0, 2.0], [7.0, 0.0, 2.0]]).reshape(1, 2, 3, 1)
    >>> np.array(MaxUnpool()(*MaxPoolWithIndices()(x), x))[0, :, :, 0].tolist()
    [[0.0, 7.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, pool_size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_size = pool_size

    def call(self, x: Any, indices: Any, like: Any) -> Any:
        k = self.pool_size
        rows, columns, channels = x.shape[1:]
        zero = ops.zeros_like(x)
        window_rows = [
            ops.stack([ops.where(ops.equal(indices, row * k + column), x, zero) for column in range(k)], axis=3)
            for row in range(k)
        ]
        x = ops.reshape(ops.stack(window_rows, axis=2), (-1, rows * k, columns * k, channels))
        return ops.pad(x, ((0, 0), (0, like.shape[1] - rows * k), (0, like.shape[2] - columns * k), (0, 0)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size}


@keras.saving.register_keras_serializable(package="covidpipe")
class SplitChannels(layers.Layer):
    """The first half of the channels, and the second: (n, rows, columns, channels), an even number of them.

    Examples
    --------
    >>> first, second = SplitChannels()(ops.reshape(ops.arange(4.0), (1, 1, 1, 4)))
    >>> ops.convert_to_numpy(second).ravel().tolist()
    [2.0, 3.0]
    """

    def call(self, x: Any) -> tuple[Any, Any]:
        half = x.shape[-1] // 2
        return x[..., :half], x[..., half:]


@keras.saving.register_keras_serializable(package="covidpipe")
class ShuffleChannels(layers.Layer):
    """Interleaves groups of channels: the first of each group, then the second of each, and so on.

    Parameters
    ----------
    groups : int
        A divisor of the number of channels.

    References
    ----------
    Zhang et al. 2018 (ShuffleNet), figure 1.

    Examples
    --------
    >>> x = ops.reshape(ops.arange(6.0), (1, 1, 1, 6))
    >>> ops.convert_to_numpy(ShuffleChannels(2)(x)).ravel().tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """

    def __init__(self, groups: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, x: Any) -> Any:
        rows, columns, channels = x.shape[1:]
        grouped = ops.reshape(x, (-1, rows, columns, self.groups, channels // self.groups))
        return ops.reshape(ops.swapaxes(grouped, 3, 4), (-1, rows, columns, channels))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}
