"""Networks that a user would pick instead: at their published size, with random weights, written from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

Shape = tuple[int, int, int]


def lungmask_r231(shape: Shape = (256, 256, 1), classes: int = 3) -> keras.Model:
    """The U-Net of lungmask's R231 (Hofmanninger et al. 2020, doi:10.1186/s41747-020-00173-2).

    Five levels of 64 to 1024 channels, two 3x3 convolutions each, every one followed by ReLU and then batch
    normalization; average pooling; bilinear upsampling with a 1x1 convolution. Lungs right and left, and the rest.
    """
    image = keras.Input(shape)
    x, skips = image, []
    for level in range(5):
        if level:
            skips.append(x)
            x = layers.AveragePooling2D(2)(x)
        x = _convolutions(x, 64 << level, _relu_then_norm)
    for skip in reversed(skips):
        x = layers.Conv2D(skip.shape[-1], 1)(layers.UpSampling2D(2, interpolation="bilinear")(x))
        x = _convolutions(layers.Concatenate()([x, skip]), skip.shape[-1], _relu_then_norm)
    return keras.Model(image, layers.Conv2D(classes, 1, activation="softmax")(x), name="lungmask_r231")


def nnunet_2d(shape: Shape = (512, 512, 1), classes: int = 2) -> keras.Model:
    """What nnU-Net plans for 2-D slices of 512 x 512 (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).

    Eight levels of 32 to 512 channels, two 3x3 convolutions each with instance normalization and leaky ReLU, strided
    convolutions down and transposed ones up. One pass: as shipped it averages mirrored images, which takes longer yet.
    """
    image = keras.Input(shape)
    x, skips = image, []
    levels = int(math.log2(shape[0])) - 1  # down to 4 x 4
    for level in range(levels):
        skips.append(x)
        x = _convolutions(x, min(32 << level, 512), _instance_norm, first_stride=2 if level else 1)
    for skip in reversed(skips[1:]):
        x = layers.Conv2DTranspose(skip.shape[-1], 2, strides=2)(x)
        x = _convolutions(layers.Concatenate()([x, skip]), skip.shape[-1], _instance_norm)
    return keras.Model(image, layers.Conv2D(classes, 1, activation="softmax")(x), name="nnunet_2d")


def _convolutions(x: Any, filters: int, after: Callable[[Any], Any], first_stride: int = 1) -> Any:
    for stride in (first_stride, 1):
        x = after(layers.Conv2D(filters, 3, strides=stride, padding="same")(x))
    return x


def _relu_then_norm(x: Any) -> Any:
    return layers.BatchNormalization()(layers.ReLU()(x))


def _instance_norm(x: Any) -> Any:
    return layers.LeakyReLU(0.01)(layers.GroupNormalization(groups=-1)(x))


def gigaflop(network: keras.Model) -> float:
    """Floating-point operations of all convolutions and dense layers for one image, in 1e9; a sum of products is two.

    Examples
    --------
    >>> image = keras.Input((10, 10, 2))
    >>> gigaflop(keras.Model(image, layers.Conv2D(5, 3, padding="same")(image))) == 2 * 9 * 2 * 5 * 100 / 1e9
    True
    """
    products = 0
    for layer in network.layers:
        if not isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D, layers.Dense)):
            continue
        for node in layer._inbound_nodes:  # a recurrent layer is applied several times
            kept = node.input_tensors[0] if isinstance(layer, layers.Conv2DTranspose) else node.output_tensors[0]
            pixels = math.prod(kept.shape[1:-1])
            products += math.prod(layer.kernel.shape) * pixels
    return 2 * products / 1e9
