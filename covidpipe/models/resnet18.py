"""ResNet-18, one of the classifiers that Khan et al. 2020 compare with, and a backbone of their DeepLab."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.models.layers import centered_conv, centered_max_pool, normalize, probabilities, scaled

CHANNELS = (64, 128, 256, 512)


def resnet18(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """ResNet-18: a 7x7 convolution, four stages of two residual units, the mean over the image, one dense layer.

    Stated by the paper (section 3.1.3): ResNet18 is compared, with a new input layer of 82 x 82 x 1 and a last dense
    layer of two neurons before the softmax; all between is "kept unchanged". They used MATLAB's network.
    From the literature (He et al. 2016, table 1 and option B): everything else. In detail it is torchvision's, layer
    by layer, so that its ImageNet weights fit exactly: no bias before a batch normalization, padding alike on all
    sides, epsilon 1e-5. Trainable with 3 channels and 1000 classes: 11,689,512, the literature's count.
    Our reading: Glorot initialization from scratch (MATLAB's default). MATLAB's network is the same but for biases in
    its convolutions, which batch normalization takes away.
    Layers have torchvision's names, with ``_`` for ``.``.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (82, 82, 1).
    classes : int
        Classes told apart, 2 or more.
    width : float
        Share of the literature's channels, in (0, 1].

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Khan et al. 2020, section 3.1.3; He et al. 2016, Deep residual learning, arXiv 1512.03385.

    Examples
    --------
    >>> resnet18((224, 224, 3), 1000).count_params()  # 9,600 of them are statistics of batch normalization
    11699112
    """
    image = keras.Input(image_shape, name="image")
    _, x = resnet18_features(image, width=width)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    x = layers.Dense(classes, name="fc")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="resnet18")


def resnet18_features(x: Any, *, width: float = 1.0, dilated: bool = False) -> tuple[Any, Any]:
    """ResNet-18 without its head, for classifiers and segmenters.

    Parameters
    ----------
    x : tensor
        (n, rows, columns, channels).
    width : float
        Share of the literature's channels, in (0, 1].
    dilated : bool
        Keep the last stage at 1/16 of the size instead of 1/32: its stride is left out, and every convolution after
        the one that had it has dilation 2, so that the same weights see what they saw (Chen et al. 2017, DeepLabv3).

    Returns
    -------
    low : tensor
        1/4 of the size (``layer1``), 64 channels at full width.
    deep : tensor
        1/32 of the size, or 1/16 (``layer4``), 512 channels. Sizes are rounded up at each halving.
    """
    x = centered_conv(x, scaled(CHANNELS[0], width), 7, "conv1", strides=2)
    x = layers.ReLU(name="relu")(normalize(x, "bn1"))
    x = centered_max_pool(x, "maxpool")
    stages = []
    for stage, channels in enumerate(CHANNELS, start=1):
        filters, name = scaled(channels, width), f"layer{stage}"
        strides = 1 if stage == 1 or (stage == 4 and dilated) else 2
        dilation = 2 if stage == 4 and dilated else 1
        x = residual_unit(x, filters, f"{name}_0", strides=strides, projected=stage > 1, dilations=(1, dilation))
        x = residual_unit(x, filters, f"{name}_1", dilations=(dilation, dilation))
        stages.append(x)
    return stages[0], stages[-1]


def residual_unit(
    x: Any,
    filters: int,
    name: str,
    *,
    strides: int = 1,
    projected: bool = False,
    dilations: tuple[int, int] = (1, 1),
) -> Any:
    """Two 3x3 convolutions beside a shortcut: the identity, or a 1x1 convolution where the channels change."""
    shortcut = x
    if projected:
        shortcut = centered_conv(x, filters, 1, f"{name}_downsample_0", strides=strides)
        shortcut = normalize(shortcut, f"{name}_downsample_1")
    x = centered_conv(x, filters, 3, f"{name}_conv1", strides=strides, dilation=dilations[0])
    x = layers.ReLU(name=f"{name}_relu1")(normalize(x, f"{name}_bn1"))
    x = centered_conv(x, filters, 3, f"{name}_conv2", dilation=dilations[1])
    x = layers.Add(name=f"{name}_add")([normalize(x, f"{name}_bn2"), shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)
