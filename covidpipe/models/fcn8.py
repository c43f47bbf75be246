"""FCN-8s, a rival segmenter of Khan et al. 2020."""

from __future__ import annotations

import keras
from keras import layers

from covidpipe.models.layers import conv_relu, crop_to, probabilities, scaled, upsample_to
from covidpipe.models.vgg_segnet import VGG16

FULLY_CONNECTED = 4096


def fcn8(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """FCN-8s: VGG-16 made convolutional, scores of three depths summed and up-sampled.

    Stated by the paper (Khan et al., Tables 5 and 6): FCN-8. From earlier work (Long et al. 2015): the dense layers
    as 7x7 and 1x1 convolutions with 4096 channels and dropout; 1x1 scores of the third and fourth pooling and of the
    top; transposed convolutions by 2, 2 and 8. Our reading: ``same`` padding instead of 100 pixels around the image,
    whose purpose was to crop the result. Convolutions have the names of Keras' VGG-16:
    ImageNet weights fit by name (the two 4096-channel layers, which are not in the file without top, start anew).

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3).
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
    Long et al. 2015, arXiv 1411.4038; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> fcn8((304, 304, 3), width=0.125).output_shape
    (None, 304, 304, 2)
    """
    image = keras.Input(image_shape, name="image")
    x = image
    pooled = {}
    for level, channels in enumerate(VGG16, start=1):
        for i, filters in enumerate(channels, start=1):
            x = conv_relu(x, scaled(filters, width), f"block{level}_conv{i}", initializer="he_normal")
        x = layers.MaxPooling2D(2, padding="same", name=f"block{level}_pool")(x)
        pooled[level] = x

    for i, kernel in ((6, 7), (7, 1)):
        x = conv_relu(x, scaled(FULLY_CONNECTED, width), f"fc{i}", kernel=kernel, initializer="he_normal")
        x = layers.Dropout(0.5, name=f"fc{i}_dropout")(x)

    x = layers.Conv2D(classes, 1, name="score_top")(x)
    for level in (4, 3):
        score = layers.Conv2D(classes, 1, name=f"score_pool{level}")(pooled[level])
        x = upsample_to(score, x, classes, f"upscore{level}", kernel=4)
        x = layers.Add(name=f"fuse{level}")([score, x])
    x = layers.Conv2DTranspose(classes, 16, strides=8, padding="same", name="upscore")(x)
    x = crop_to(image, x, "crop")
    return keras.Model(image, probabilities(x, "probabilities"), name="fcn8")
