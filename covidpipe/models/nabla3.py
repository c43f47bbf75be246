"""NABLA-3, the lung segmenter of Alom et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.errors import UsageError
from covidpipe.models.layers import probabilities, recurrent_conv, scaled, upsample_to

CHANNELS = (16, 32, 64, 128, 256, 512)
DECODERS = {"a": 6, "b": 5, "c": 4}  # the encoding unit that each starts from: 512, 256 and 128 channels


def nabla3(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0, t: int = 2) -> keras.Model:
    """NABLA-3: one encoder of recurrent residual units, three decoders from its three deepest units, summed.

    Stated by the paper ("Architecture details"): channels 3-16-32-64-128-256-512-256-128-64-32-16-1, kernels 3x3
    except a 1x1 sigmoid layer at the end, ReLU, "the up-sampled feature maps from 3 different encoding layers
    including the bottleneck", three decoding units, He initialization, 18.98 million parameters.
    From earlier work of the same authors (R2U-Net, arXiv 1802.06955): the unit, a 1x1 convolution and two recurrent
    layers beside it, t = 2.
    Our reading, fixed by the count (19,073,233 with one class, 0.49 % above the paper's): the units are R2U-Net's;
    decoders start at 512, 256 and 128 channels, the only depths that keep the chain; up-sampling is a 3x3 transposed
    convolution with stride 2; skips and the three decoders' outputs are added; a recurrent layer has one batch
    normalization for each recurrence and none for its first state. Concatenated skips would come within 1.1 %:
    the paper does not decide.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (192, 192, 3). Where a size is odd, pooling keeps the last row or column
        and the transposed convolution is cropped.
    classes : int
        1: sigmoid, the paper's head. 2: background and lung by softmax.
    width : float
        Share of the paper's channels, in (0, 1].
    t : int
        Recurrences, 1 or more.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Alom et al. 2020 (COVID_MTNet), section 3.

    Examples
    --------
    >>> nabla3((192, 192, 3), 1).count_params()
    19088081
    """
    if not isinstance(t, int) or t < 1:
        raise UsageError(f"`t` counts recurrences, a whole number of at least 1, and got {t!r}. The paper's: 2.")
    filters = [scaled(channels, width) for channels in CHANNELS]

    image = keras.Input(image_shape, name="image")
    x = image
    encoded: list[Any] = []
    for level, channels in enumerate(filters, start=1):
        if encoded:
            x = layers.MaxPooling2D(2, padding="same", name=f"encoder{level}_pool")(x)
        x = recurrent_residual_unit(x, channels, t, f"encoder{level}")
        encoded.append(x)

    decoded = []
    for decoder, start in DECODERS.items():
        x = encoded[start - 1]
        for level in range(start - 1, 0, -1):
            name = f"decoder_{decoder}{level}"
            skip = encoded[level - 1]
            x = upsample_to(skip, x, filters[level - 1], f"{name}_up", kernel=3)
            x = layers.Add(name=f"{name}_skip")([x, skip])
            x = recurrent_residual_unit(x, filters[level - 1], t, name)
        decoded.append(x)

    x = layers.Add(name="decoders")(decoded)
    x = layers.Conv2D(classes, 1, kernel_initializer="he_normal", name="logits")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="nabla3")


def recurrent_residual_unit(x: Any, filters: int, t: int, name: str) -> Any:
    """R2U-Net's unit: a 1x1 convolution, and two recurrent 3x3 layers whose output is added to it."""
    x = layers.Conv2D(filters, 1, kernel_initializer="he_normal", name=f"{name}_conv1x1")(x)
    y = x
    for i in (1, 2):
        y = recurrent_conv(y, filters, 3, f"{name}_rcl{i}", t=t, normalize_start=False)
    return layers.Add(name=f"{name}_add")([x, y])
