"""U-Net, a rival segmenter of Khan et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.models.layers import conv_relu, probabilities, scaled, upsample_to

CHANNELS = (64, 128, 256, 512)
BRIDGE = 1024


def unet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """U-Net: four levels of two 3x3 convolutions, a bridge, and a decoder that concatenates each level's output.

    Stated by the paper (Khan et al., Tables 5 and 6): the name. From earlier work (Ronneberger et al. 2015): 64 to
    1024 channels, 2x2 max-pooling, 2x2 transposed convolutions, skips by concatenation, dropout at the end of the
    contracting path, He initialization, no batch normalization. Our reading: ``same`` padding, so that the mask has
    the image's size; dropout of one half.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3). Where a size does not divide, pooling keeps the last row
        or column and the transposed convolution is cropped.
    classes : int
        2: background and infection by softmax. 1: sigmoid.
    width : float
        Share of the channels, in (0, 1].

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Ronneberger et al. 2015, arXiv 1505.04597; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> unet((304, 304, 1)).count_params()
    31030658
    """
    image = keras.Input(image_shape, name="image")
    x = image
    skips = []
    for level, channels in enumerate(CHANNELS, start=1):
        x = two_convolutions(x, scaled(channels, width), f"encoder{level}")
        if level == len(CHANNELS):
            x = layers.Dropout(0.5, name=f"encoder{level}_dropout")(x)
        skips.append(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"encoder{level}_pool")(x)

    x = two_convolutions(x, scaled(BRIDGE, width), "bridge")
    x = layers.Dropout(0.5, name="bridge_dropout")(x)

    for level in range(len(CHANNELS), 0, -1):
        skip, filters = skips[level - 1], scaled(CHANNELS[level - 1], width)
        x = upsample_to(skip, x, filters, f"decoder{level}_up", kernel=2)
        x = layers.Concatenate(name=f"decoder{level}_skip")([x, skip])
        x = two_convolutions(x, filters, f"decoder{level}")

    x = layers.Conv2D(classes, 1, kernel_initializer="he_normal", name="logits")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="unet")


def two_convolutions(x: Any, filters: int, name: str) -> Any:
    """Two 3x3 convolutions with ReLU."""
    for i in (1, 2):
        x = conv_relu(x, filters, f"{name}_conv{i}", initializer="he_normal")
    return x
