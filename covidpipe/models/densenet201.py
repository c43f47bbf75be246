"""DenseNet-201, a rival classifier of Khan et al. 2020."""

from __future__ import annotations

import keras

from covidpipe.models.applications import classifier


def densenet201(image_shape: tuple[int, int, int], classes: int = 2) -> keras.Model:
    """DenseNet-201: four dense blocks of 6, 12, 48 and 32 units, global average pooling, softmax.

    Stated by the paper (Khan et al. section 3.1.3.1): a new input layer for 82 x 82 x 1, the convolutions unchanged,
    the last dense layer replaced by one of two neurons. From the literature: the network, by ``keras.applications``
    (20,013,928 trainable parameters for 1000 classes).

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
    Huang et al. 2017, arXiv 1608.06993; Khan et al. 2020, section 3.1.3.

    Examples
    --------
    >>> densenet201((32, 32, 1)).output_shape
    (None, 2)
    """
    return classifier(keras.applications.DenseNet201, image_shape, classes)
