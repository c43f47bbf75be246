"""ShuffleNet, one of the classifiers that Khan et al. 2020 compare with."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.models.layers import (
    ShuffleChannels,
    SplitChannels,
    centered_conv,
    centered_max_pool,
    normalize,
    probabilities,
    scaled,
)

STAGES = {2: (116, 4), 3: (232, 8), 4: (464, 4)}  # channels and units of each stage


def shufflenet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """ShuffleNet v2 (1.0x): a convolution, three stages of units that work on half the channels, one dense layer.

    Stated by the paper (section 3.1.3): ShuffleNet is compared, with "point-wise group convolution" and "channel
    shuffle", a new input layer of 82 x 82 x 1 and a last dense layer of two neurons before the softmax; all between
    is "kept unchanged". They used MATLAB's network, which has groups: probably version 1.
    From the literature (Ma et al. 2018, table 5 and figure 3c, d): everything else. In detail it is torchvision's
    ``shufflenet_v2_x1_0``, layer by layer, so that its ImageNet weights fit exactly. Trainable with 3 channels and
    1000 classes: 2,278,604, the published count.
    Our reading: version 2 for theirs, because its weights are published; it splits the channels in two where version
    1 has groups, and shuffles them as version 1 does. Glorot initialization from scratch.
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
    Khan et al. 2020, section 3.1.3; Ma et al. 2018, ShuffleNet V2, arXiv 1807.11164.

    Examples
    --------
    >>> shufflenet((224, 224, 3), 1000).count_params()  # 16,180 of them are statistics of batch normalization
    2294784
    """
    image = keras.Input(image_shape, name="image")
    x = centered_conv(image, scaled(24, width), 3, "conv1_0", strides=2)
    x = layers.ReLU(name="conv1_2")(normalize(x, "conv1_1"))
    x = centered_max_pool(x, "maxpool")
    for stage, (channels, units) in STAGES.items():
        half = scaled(channels // 2, width)
        x = downsampling_unit(x, half, f"stage{stage}_0")
        for i in range(1, units):
            x = splitting_unit(x, half, f"stage{stage}_{i}")
    x = centered_conv(x, scaled(1024, width), 1, "conv5_0")
    x = layers.ReLU(name="conv5_2")(normalize(x, "conv5_1"))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(classes, name="fc")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="shufflenet")


def splitting_unit(x: Any, half: int, name: str) -> Any:
    """Half the channels pass, the other half is worked on (figure 3c)."""
    passed, worked = SplitChannels(name=f"{name}_split")(x)
    return joined([passed, branch2(worked, half, name, strides=1)], name)


def downsampling_unit(x: Any, half: int, name: str) -> Any:
    """All channels go through both branches, at half the size (figure 3d)."""
    y = centered_conv(x, x.shape[-1], 3, f"{name}_branch1_0", strides=2, depthwise=True)
    y = centered_conv(normalize(y, f"{name}_branch1_1"), half, 1, f"{name}_branch1_2")
    y = layers.ReLU(name=f"{name}_branch1_4")(normalize(y, f"{name}_branch1_3"))
    return joined([y, branch2(x, half, name, strides=2)], name)


def branch2(x: Any, half: int, name: str, *, strides: int) -> Any:
    """1x1, depthwise 3x3, 1x1; each with batch normalization, the first and the last with ReLU."""
    name = f"{name}_branch2"
    x = centered_conv(x, half, 1, f"{name}_0")
    x = layers.ReLU(name=f"{name}_2")(normalize(x, f"{name}_1"))
    x = centered_conv(x, half, 3, f"{name}_3", strides=strides, depthwise=True)
    x = centered_conv(normalize(x, f"{name}_4"), half, 1, f"{name}_5")
    return layers.ReLU(name=f"{name}_7")(normalize(x, f"{name}_6"))


def joined(branches: list[Any], name: str) -> Any:
    """Both halves, their channels interleaved, so that the next unit works on channels of both."""
    return ShuffleChannels(2, name=name)(layers.Concatenate(name=f"{name}_join")(branches))
