"""SegNet on the convolutions of VGG-16 and VGG-19."""

from __future__ import annotations

import keras

from covidpipe.models.segnet import unpooling_network

# Channels of the convolutions, level by level (Simonyan and Zisserman 2015, table 1, columns D and E).
VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


def vgg16_segnet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """SegNet as first published: the 13 convolutions of VGG-16, and a decoder that mirrors them.

    Stated by the paper (Khan et al. section 3.2.2): VGG's fully connected layers are replaced with a decoder. From
    earlier work (Badrinarayanan et al. 2017): the unpooling decoder, batch normalization after every convolution. Our
    reading: MATLAB's ``segnetLayers(size, classes, "vgg16")``. Convolutions have the names of Keras' VGG-16: ImageNet
    weights fit by name.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (304, 304, 3). At least 32 rows and columns: there are five poolings.
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
    Badrinarayanan et al. 2017, arXiv 1511.00561; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> vgg16_segnet((304, 304, 3), width=0.125).output_shape
    (None, 304, 304, 2)
    """
    return unpooling_network(image_shape, classes, VGG16, width, name="vgg16_segnet")


def vgg19_segnet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0) -> keras.Model:
    """`vgg16_segnet` with the 16 convolutions of VGG-19.

    Parameters
    ----------
    image_shape, classes, width
        As of `vgg16_segnet`.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Badrinarayanan et al. 2017, arXiv 1511.00561; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> vgg19_segnet((304, 304, 3), width=0.125).output_shape
    (None, 304, 304, 2)
    """
    return unpooling_network(image_shape, classes, VGG19, width, name="vgg19_segnet")
