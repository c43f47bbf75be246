"""IRRCNN, the detection network of Alom et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.errors import UsageError
from covidpipe.models.layers import conv_norm_relu, probabilities, recurrent_conv, scaled

CHANNELS = (192, 384, 768, 1536, 1536)


def irrcnn(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0, t: int = 2) -> keras.Model:
    """IRRCNN: five inception recurrent residual units, global average pooling, softmax.

    Stated by the paper ("Architecture details"): five recurrent residual units, kernels 1x1 and 3x3, global average
    pooling, a softmax layer, He initialization, about 34 million parameters, input 128 x 128.
    From earlier work of the same authors (IRRCNN, arXiv 1811.04241; IRCNN, arXiv 1704.07709): the branches of a unit
    (1x1; 3x3; average pooling and 1x1), each a recurrent convolution, concatenated, and a residual sum around them.
    Our reading, fixed by the count (34,275,362, 0.81 % above "34 million"): a quarter, a half and a quarter of the
    channels in the three branches; widths 192, 384, 768, 1536, 1536; a stem of three 3x3 convolutions, the first with
    stride 2; 3x3 max-pooling with stride 2 between units; a 1x1 projection where the width changes; one batch
    normalization for each time step, the first state included; t = 2. Widths of 128, 384, 768, 1536, 1536 would come
    as close: the paper does not decide.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (128, 128, 3).
    classes : int
        Classes told apart, 2 or more.
    width : float
        Share of these channels, in (0, 1].
    t : int
        Recurrences, 1 or more.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Alom et al. 2020 (COVID_MTNet), section 3.

    Examples
    --------
    >>> irrcnn((128, 128, 3)).count_params()
    34302114
    """
    if not isinstance(t, int) or t < 1:
        raise UsageError(f"`t` counts recurrences, a whole number of at least 1, and got {t!r}. Usual are 2 and 3.")
    image = keras.Input(image_shape, name="image")
    x = image
    for i, (channels, strides) in enumerate(((32, 2), (32, 1), (64, 1)), start=1):
        x = conv_norm_relu(x, scaled(channels, width), 3, f"stem{i}", strides=strides, initializer="he_normal")

    for unit, channels in enumerate(CHANNELS, start=1):
        if unit > 1:
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"transition{unit - 1}")(x)
        x = inception_recurrent_residual_unit(x, scaled(channels / 4, width), t, f"unit{unit}")

    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dense(classes, kernel_initializer="he_normal", name="logits")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="irrcnn")


def inception_recurrent_residual_unit(x: Any, quarter: int, t: int, name: str) -> Any:
    """Three recurrent branches of `quarter`, 2 x `quarter` and `quarter` channels, concatenated and added to x."""
    pooled = layers.AveragePooling2D(3, strides=1, padding="same", name=f"{name}_average")(x)
    branches = [
        recurrent_conv(start, filters, kernel, f"{name}_{branch}", t=t, normalize_start=True)
        for branch, start, filters, kernel in (
            ("1x1", x, quarter, 1),
            ("3x3", x, 2 * quarter, 3),
            ("pooled", pooled, quarter, 1),
        )
    ]
    y = layers.Concatenate(name=f"{name}_concat")(branches)
    if x.shape[-1] != y.shape[-1]:
        x = layers.Conv2D(y.shape[-1], 1, kernel_initializer="he_normal", name=f"{name}_projection")(x)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
