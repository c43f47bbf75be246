"""GoogLeNet (Inception v1), one of the classifiers that Khan et al. 2020 compare with."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.errors import UsageError
from covidpipe.models.layers import centered_conv, normalize, probabilities, scaled

# Channels of the branches of each inception unit: 1x1; 3x3 and what leads to it; "5x5" and what leads to it; pooling.
INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
POOL_AFTER = {"3b": ("maxpool3", 3), "4e": ("maxpool4", 2)}
EPSILON = 0.001  # of the batch normalizations: torchvision's GoogLeNet came from TensorFlow


def googlenet(
    image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0, dropout: float = 0.2
) -> keras.Model:
    """GoogLeNet: three convolutions, nine inception units, the mean over the image, one dense layer.

    Stated by the paper (section 3.1.3): GoogleNet (Inception-V1) is compared, with a new input layer of 82 x 82 x 1
    and a last dense layer of two neurons before the softmax; all between is "kept unchanged". They used MATLAB's
    network, the one of 2014 with local response normalization, with biases and without batch normalization.
    From the literature (Szegedy et al. 2015, table 1): units and channels. In detail it is torchvision's, layer by
    layer, so that its ImageNet weights fit exactly: batch normalization after every convolution and no biases; the
    branch of 5x5 kernels has 3x3 ones; no auxiliary classifiers, which only help to train. Trainable with 3 channels
    and 1000 classes: 6,624,904, the published count.
    Our reading: this variant for theirs, because its weights are published; 20 % dropout as in torchvision (2014:
    40 %); Glorot initialization from scratch.
    Layers have torchvision's names, with ``_`` for ``.``.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (82, 82, 1).
    classes : int
        Classes told apart, 2 or more.
    width : float
        Share of the literature's channels, in (0, 1].
    dropout : float
        Rate before the dense layer, in [0, 1).

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Khan et al. 2020, section 3.1.3; Szegedy et al. 2015, Going deeper with convolutions, arXiv 1409.4842.

    Examples
    --------
    >>> googlenet((224, 224, 3), 1000).count_params()  # 14,560 of them are statistics of batch normalization
    6639464
    """
    if not 0 <= dropout < 1:
        raise UsageError(f"`dropout` is a rate in [0, 1), and got {dropout!r}. torchvision's: 0.2.")
    image = keras.Input(image_shape, name="image")
    x = unit(image, scaled(64, width), 7, "conv1", strides=2)
    x = ceil_max_pool(x, 3, "maxpool1")
    x = unit(x, scaled(64, width), 1, "conv2")
    x = unit(x, scaled(192, width), 3, "conv3")
    x = ceil_max_pool(x, 3, "maxpool2")
    for place, channels in INCEPTION.items():
        x = inception(x, channels, width, f"inception{place}")
        if place in POOL_AFTER:
            name, size = POOL_AFTER[place]
            x = ceil_max_pool(x, size, name)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Dense(classes, name="fc")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="googlenet")


def inception(x: Any, channels: tuple[int, tuple[int, int], tuple[int, int], int], width: float, name: str) -> Any:
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 3x3 again; 3x3 max-pooling and 1x1."""
    first, second, third, fourth = channels
    branches = [unit(x, scaled(first, width), 1, f"{name}_branch1")]
    for branch, (narrow, wide) in enumerate((second, third), start=2):
        y = unit(x, scaled(narrow, width), 1, f"{name}_branch{branch}_0")
        branches.append(unit(y, scaled(wide, width), 3, f"{name}_branch{branch}_1"))
    y = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch4_0")(x)
    branches.append(unit(y, scaled(fourth, width), 1, f"{name}_branch4_1"))
    return layers.Concatenate(name=name)(branches)


def unit(x: Any, filters: int, kernel: int, name: str, *, strides: int = 1) -> Any:
    """Convolution without bias, batch normalization, ReLU."""
    x = centered_conv(x, filters, kernel, f"{name}_conv", strides=strides)
    return layers.ReLU(name=f"{name}_relu")(normalize(x, f"{name}_bn", EPSILON))


def ceil_max_pool(x: Any, size: int, name: str) -> Any:
    """Max-pooling with stride 2 whose last window may hang over the border (Torch's ``ceil_mode``).

    Keras' ``same`` would hang the first window over, too, where a side is odd. Zeros fill what hangs over: they never
    win, x being nowhere negative.
    """
    below, right = ((side - size) % 2 for side in x.shape[1:3])
    x = layers.ZeroPadding2D(((0, below), (0, right)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(size, strides=2, name=name)(x)
