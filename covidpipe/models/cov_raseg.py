"""CoV-RASeg, the infection segmenter of Khan et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.errors import choose
from covidpipe.models.layers import MaxPoolWithIndices, MaxUnpool, conv_relu, probabilities, scaled, unpooling_head

CENTER = 165.29039  # mean grey level (0-255) of the authors' training images, white margins included


def cov_raseg(
    image_shape: tuple[int, int, int],
    classes: int = 2,
    *,
    width: float = 1.0,
    head: str = "released",
    center: float = CENTER,
) -> keras.Model:
    """CoV-RASeg: two encoders and two decoders, average and max-pooling in each, unpooling with indices.

    Stated by the paper (section 3.2.1, equations 8-9): two encoder and two decoder blocks; average pooling beside
    max-pooling in the encoder, and beside max-unpooling by the recorded indices in the decoder.
    From the authors' released weights, to the parameter: every layer, its order and kernel; average pooling 2x2 has
    stride 1 and keeps the size; the third convolution of a block has no batch normalization; input zero-centered by
    165.29039 grey levels; last layer 3x3 - batch normalization - ReLU - softmax, where the paper's text says "2x2
    convolutional operation with sigmoid" (``head="paper"``). The ReLU before the softmax is kept: logits are never
    negative. Layers have the released names, so that the authors' weights fit by name.
    Our reading: the average at the last row and column counts the padding as zero (MATLAB's default); with one class
    the released head ends in a sigmoid and has no ReLU.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3). Sizes that 4 does not divide come back exactly.
    classes : int
        2: background and infection by softmax, as released. 1: infection by sigmoid.
    width : float
        Share of the paper's channels, in (0, 1].
    head : {"released", "paper"}
        Last layer: 3x3 with batch normalization (and ReLU), or a bare 2x2.
    center : float
        Grey level (0-255) subtracted from the input, which is brought from 0..1 to 0..255 first, so that the
        authors' weights fit. Batch normalization makes training indifferent to both, borders apart.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Khan et al. 2020, section 3.2.1 and figure 4; the authors' released weights.

    Examples
    --------
    >>> cov_raseg((304, 304, 3)).count_params()
    374026
    """
    choose(head, ("released", "paper"), "head of `cov_raseg`")
    filters = scaled(64, width)

    image = keras.Input(image_shape, name="image")
    x = layers.Rescaling(255.0, -center, dtype="float32", name="zero_center")(image)

    pooled = {}
    for level in (1, 2):
        name = f"encoder{level}"
        x = conv_relu(x, filters, f"{name}_conv1", norm=f"{name}_bn_1")
        x = conv_relu(x, filters, f"{name}_conv2", norm=f"{name}_bn_2")
        x = average(x, f"{name}_avgpool")
        before = conv_relu(x, filters, f"{name}_conv3")
        x, indices = MaxPoolWithIndices(2, name=f"{name}_maxpool")(before)
        pooled[level] = indices, before

    for level in (2, 1):
        name = f"decoder{level}"
        x = MaxUnpool(2, name=f"{name}_unpool")(x, *pooled[level])
        x = conv_relu(x, filters, f"{name}_conv3")
        x = average(x, f"{name}_avgpool")
        x = conv_relu(x, filters, f"{name}_conv2", norm=f"{name}_bn_2")
        if level > 1:
            x = conv_relu(x, filters, f"{name}_conv1", norm=f"{name}_bn_1")

    if head == "paper":
        x = probabilities(layers.Conv2D(classes, 2, padding="same", name="decoder1_conv1")(x), "probabilities")
    else:
        x = unpooling_head(x, classes, "decoder1")
    return keras.Model(image, x, name="cov_raseg")


def average(x: Any, name: str) -> Any:
    """2x2 average with stride 1 (equation 9), a zero row below and a zero column at the right: the size stays."""
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    return layers.AveragePooling2D(2, strides=1, padding="valid", name=name)(x)
