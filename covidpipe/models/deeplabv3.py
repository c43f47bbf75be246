"""DeepLabv3+ on two backbones, rival segmenters of Khan et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.models.applications import features
from covidpipe.models.layers import conv_norm_relu, crop_to, probabilities, scaled
from covidpipe.models.resnet18 import resnet18_features

RATES = (6, 12, 18)  # dilations of the pyramid at 1/16 of the size
PYRAMID, LOW_LEVEL = 256, 48  # channels

# ResNet-50 at 1/16 of the size instead of 1/32: the last stage keeps the size, its 3x3 convolutions look twice as far.
# In Keras' ResNet-50 the stride was in the 1x1 convolutions before all of them: every other pixel is as it was.
DILATED = {
    "conv5_block1_0_conv": {"strides": 1},
    "conv5_block1_1_conv": {"strides": 1},
    **{f"conv5_block{block}_2_conv": {"dilation_rate": 2} for block in (1, 2, 3)},
}


def deeplabv3_resnet18(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """DeepLabv3+ on ResNet-18: dilated features, a pyramid of dilated convolutions, a decoder with one skip.

    Stated by the paper (Khan et al., Tables 5 and 6): the names DeepLabV3_1 and DeepLabV3_2. From earlier work (Chen
    et al. 2018): features at 1/16 of the size by dilation, a pyramid of a 1x1 and three 3x3 convolutions with dilation
    6, 12 and 18 beside the mean of the image, 256 channels each, a projection; 48 channels of the features at 1/4,
    concatenated; two 3x3 convolutions; bilinear up-sampling. Our reading: "_1" is ResNet-18 and "_2" ResNet-50, the
    two backbones of that time's MATLAB function; plain 3x3 convolutions instead of separable ones, as there. Layers
    of the backbone have torchvision's names: ImageNet weights fit by name.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3). Sizes that 16 does not divide come back exactly.
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
    Chen et al. 2018, arXiv 1802.02611; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> deeplabv3_resnet18((304, 304, 3), width=0.125).output_shape
    (None, 304, 304, 2)
    """
    image = keras.Input(image_shape, name="image")
    low, deep = resnet18_features(image, width=width, dilated=True)
    return keras.Model(image, decode(image, low, deep, classes, width), name="deeplabv3_resnet18")


def deeplabv3_resnet50(image_shape: tuple[int, int, int], classes: int = 2) -> keras.Model:
    """`deeplabv3_resnet18` on ResNet-50, whose layers have the names of ``keras.applications``.

    Parameters
    ----------
    image_shape, classes
        As of `deeplabv3_resnet18`. At least 32 rows and columns.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Chen et al. 2018, arXiv 1802.02611; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> deeplabv3_resnet50((64, 48, 3)).output_shape
    (None, 64, 48, 2)
    """
    backbone = features(keras.applications.ResNet50, image_shape, DILATED)
    low = backbone.get_layer("conv2_block3_out").output
    x = decode(backbone.input, low, backbone.output, classes, 1.0)
    return keras.Model(backbone.input, x, name="deeplabv3_resnet50")


def decode(image: Any, low: Any, deep: Any, classes: int, width: float) -> Any:
    """Pyramid, skip and up-sampling: from features at 1/4 and 1/16 to probabilities of the image's size."""
    pyramid = scaled(PYRAMID, width)
    # Keras' own average over the image gives one pixel; repeated, it is a branch like the others.
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="pyramid_mean")(deep)
    mean = conv_norm_relu(mean, pyramid, 1, "pyramid_mean", initializer="he_normal")
    mean = layers.UpSampling2D(tuple(deep.shape[1:3]), name="pyramid_mean_up")(mean)
    branches = [mean, conv_norm_relu(deep, pyramid, 1, "pyramid_1x1", initializer="he_normal")]
    for rate in RATES:
        branches.append(conv_norm_relu(deep, pyramid, 3, f"pyramid_rate{rate}", dilation=rate, initializer="he_normal"))
    x = layers.Concatenate(name="pyramid_concat")(branches)
    x = conv_norm_relu(x, pyramid, 1, "pyramid_projection", initializer="he_normal")

    low = conv_norm_relu(low, scaled(LOW_LEVEL, width), 1, "low_level", initializer="he_normal")
    x = crop_to(low, layers.UpSampling2D(4, interpolation="bilinear", name="decoder_up")(x), "decoder_crop")
    x = layers.Concatenate(name="decoder_concat")([x, low])
    for i in (1, 2):
        x = conv_norm_relu(x, pyramid, 3, f"decoder{i}", initializer="he_normal")
    x = layers.Conv2D(classes, 1, name="logits")(x)
    x = crop_to(image, layers.UpSampling2D(4, interpolation="bilinear", name="logits_up")(x), "crop")
    return probabilities(x, "probabilities")
