"""SegNet, and what all networks that unpool with indices are made of."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from covidpipe.errors import UsageError
from covidpipe.models.layers import MaxPoolWithIndices, MaxUnpool, conv_relu, scaled, unpooling_head


def segnet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0, depth: int = 4) -> keras.Model:
    """SegNet with two convolutions of 64 channels a level, as MATLAB's ``segnetLayers(size, classes, depth)``.

    Stated by the paper (Khan et al. section 3.2.2): SegNet is the baseline of CoV-RASeg; encoder-decoder, unpooling
    by the recorded indices. From earlier work (Badrinarayanan et al. 2017): convolution - batch normalization - ReLU,
    2x2 max-pooling, a decoder that mirrors the encoder, He initialization. Our reading: MATLAB's function, because
    the layers of the released CoV-RASeg have its names; depth 4; the last layer is convolution - batch normalization
    - ReLU - softmax as there.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3). Sizes that do not divide come back exactly.
    classes : int
        2: background and infection by softmax. 1: sigmoid.
    width : float
        Share of the channels, in (0, 1].
    depth : int
        Encoders, 1 to 4: the smallest image is pooled to one pixel by four.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Badrinarayanan et al. 2017, arXiv 1511.00561; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> segnet((304, 304, 3), depth=2).output_shape
    (None, 304, 304, 2)
    """
    return unpooling_network(image_shape, classes, levels(depth), width, name="segnet")


def levels(depth: int) -> list[list[int]]:
    """Channels of `segnet`'s levels: two convolutions of 64 in each.

    >>> levels(2)
    [[64, 64], [64, 64]]
    """
    if depth not in (1, 2, 3, 4):
        raise UsageError(f"`depth` is 1 to 4 encoders, and got {depth!r}. The default: 4.")
    return [[64, 64]] * depth


def unpooling_network(
    image_shape: tuple[int, int, int],
    classes: int,
    blocks: Sequence[Sequence[int]],
    width: float,
    *,
    name: str,
    skip: bool = False,
) -> keras.Model:
    """Encoder of `blocks`, and the decoder that mirrors it, each level unpooled with its own indices.

    Parameters
    ----------
    image_shape, classes, width
        As of `segnet`.
    blocks : sequence of sequences of int
        Channels of the convolutions of each level. They are called ``block{level}_conv{i}`` as in Keras' VGG, so that
        ImageNet weights fit by name.
    name : str
    skip : bool
        Whether the first decoder also sees the first encoder's output (U-SegNet).

    Returns
    -------
    keras.Model
    """
    image = keras.Input(image_shape, name="image")
    x = image
    pooled = []
    for level, channels in enumerate(blocks, start=1):
        for i, filters in enumerate(channels, start=1):
            conv = f"block{level}_conv{i}"
            x = conv_relu(x, scaled(filters, width), conv, norm=f"{conv}_bn", initializer="he_normal")
        before = x
        x, indices = MaxPoolWithIndices(2, name=f"block{level}_pool")(before)
        pooled.append((indices, before))

    for level in range(len(blocks), 0, -1):
        indices, before = pooled[level - 1]
        x = MaxUnpool(2, name=f"decoder{level}_unpool")(x, indices, before)
        if skip and level == 1:
            x = layers.Concatenate(name="decoder1_skip")([x, before])
        # The encoder backwards: each convolution gives what its twin took; the first level's first is the head.
        given = [*blocks[level - 1][:-1]]
        given.insert(0, blocks[level - 2][-1] if level > 1 else 0)
        for i in range(len(given), 1 if level == 1 else 0, -1):
            conv = f"decoder{level}_conv{i}"
            x = conv_relu(x, scaled(given[i - 1], width), conv, norm=f"decoder{level}_bn_{i}", initializer="he_normal")
    return keras.Model(image, unpooling_head(x, classes, "decoder1"), name=name)
