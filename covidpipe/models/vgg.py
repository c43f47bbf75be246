"""VGG-16 and VGG-19, two rival classifiers of Khan et al. 2020."""

from __future__ import annotations

import keras

from covidpipe.models.applications import classifier


def vgg16(image_shape: tuple[int, int, int], classes: int = 2) -> keras.Model:
    """VGG-16: 13 convolutions of 3x3 in five blocks, two dense layers of 4096, softmax.

    Stated by the paper (Khan et al. section 3.1.3.1): a new input layer for 82 x 82 x 1, the convolutions unchanged,
    the last dense layer replaced by one of two neurons. From the literature: the network, by ``keras.applications``
    (138,357,544 parameters for 1000 classes at 224 x 224 x 3). Our reading: as there, without dropout between the
    dense layers, which are as wide as published and start anew at this input size.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (82, 82, 1). At least 32 rows and columns.
    classes : int
        Classes told apart, 2 or more.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Simonyan and Zisserman 2015, arXiv 1409.1556; Khan et al. 2020, section 3.1.3.

    Examples
    --------
    >>> vgg16((32, 32, 1)).output_shape
    (None, 2)
    """
    return classifier(keras.applications.VGG16, image_shape, classes)


def vgg19(image_shape: tuple[int, int, int], classes: int = 2) -> keras.Model:
    """VGG-19: 16 convolutions of 3x3 in five blocks, two dense layers of 4096, softmax.

    Stated by the paper (Khan et al. section 3.1.3.1): a new input layer for 82 x 82 x 1, the convolutions unchanged,
    the last dense layer replaced by one of two neurons. From the literature: the network, by ``keras.applications``
    (143,667,240 parameters for 1000 classes at 224 x 224 x 3). Our reading: as there, without dropout between the
    dense layers, which are as wide as published and start anew at this input size.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (82, 82, 1). At least 32 rows and columns.
    classes : int
        Classes told apart, 2 or more.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Simonyan and Zisserman 2015, arXiv 1409.1556; Khan et al. 2020, section 3.1.3.

    Examples
    --------
    >>> vgg19((32, 32, 1)).output_shape
    (None, 2)
    """
    return classifier(keras.applications.VGG19, image_shape, classes)
