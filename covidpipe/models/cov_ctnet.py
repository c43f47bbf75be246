"""CoV-CTNet, the screening network of Khan et al. 2020."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from covidpipe.errors import UsageError, choose
from covidpipe.models.layers import conv_norm, conv_norm_relu, probabilities, scaled

CHANNELS = (64, 128, 256, 512)


def cov_ctnet(
    image_shape: tuple[int, int, int],
    classes: int = 2,
    *,
    width: float = 1.0,
    variant: str = "text24",
    dropout: tuple[float, float] = (0.5, 0.2),
) -> keras.Model:
    """CoV-CTNet: four residual blocks, each closed by a strided convolution; max-pooling; three dense layers.

    Stated by the paper (section 3.1.2, equations 1-6): 24 layers, four residual blocks of two kinds of units with
    shortcuts, convolution with stride two at the end of each block, max-pooling on top, two dense layers with
    dropout, a dense softmax layer; input 82 x 82 x 1.
    From the authors' figure 3: first convolution 7x7 with 64 channels and a 3x3 max-pooling; channels 64, 128, 256,
    512; units B,B / A,B / A,B / A,B (B: identity, A: 1x1 convolution and batch normalization in the shortcut);
    264 - dropout 50 % - 64 - dropout 20 %.
    Our reading: the first convolution and pooling have stride 2; unit A has stride 1, because the strided
    convolution closes the block; that convolution has batch normalization and ReLU; Glorot initialization (MATLAB's
    default). ``variant="figure"`` is the figure drawn literally: no closing convolution, the stride in unit A.

    Parameters
    ----------
    image_shape : tuple of int
        Rows, columns, channels. The paper's: (82, 82, 1).
    classes : int
        Classes told apart, 2 or more.
    width : float
        Share of the paper's channels, in (0, 1].
    variant : {"text24", "figure"}
        24 layers as the text says, or the figure.
    dropout : tuple of float
        Rates after the first and the second dense layer, in [0, 1).

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> softmax (n, classes).

    References
    ----------
    Khan et al. 2020, section 3.1.2 and figure 3.

    Examples
    --------
    >>> cov_ctnet((82, 82, 1)).count_params() > 14_463_882  # with the statistics of batch normalization
    True
    """
    choose(variant, ("text24", "figure"), "variant of `cov_ctnet`")
    if len(dropout) != 2 or not all(0 <= rate < 1 for rate in dropout):
        raise UsageError(f"`dropout` is two rates in [0, 1), and got {dropout!r}. The paper's: (0.5, 0.2).")
    text = variant == "text24"

    image = keras.Input(image_shape, name="image")
    x = conv_norm_relu(image, scaled(64, width), 7, "stem", strides=2)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)

    for block, channels in enumerate(CHANNELS, start=1):
        filters = scaled(channels, width)
        projected = block > 1
        stride = 2 if projected and not text else 1
        x = residual_unit(x, filters, f"block{block}_unit1", projected=projected, strides=stride)
        x = residual_unit(x, filters, f"block{block}_unit2")
        if text:
            x = conv_norm_relu(x, filters, 3, f"block{block}_end", strides=2)

    x = layers.MaxPooling2D(3, strides=2, padding="same", name="top_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, (units, rate) in enumerate(zip((264, 64), dropout, strict=True), start=1):
        x = layers.Dense(scaled(units, width), activation="relu", name=f"dense{i}")(x)
        x = layers.Dropout(rate, name=f"dropout{i}")(x)
    x = layers.Dense(classes, name="logits")(x)
    return keras.Model(image, probabilities(x, "probabilities"), name="cov_ctnet")


def residual_unit(x: Any, filters: int, name: str, *, projected: bool = False, strides: int = 1) -> Any:
    """Two 3x3 convolutions beside a shortcut (equation 4): identity (unit B), or 1x1 and batch norm (unit A)."""
    shortcut = conv_norm(x, filters, 1, f"{name}_shortcut", strides=strides) if projected else x
    y = conv_norm_relu(x, filters, 3, f"{name}_1", strides=strides)
    y = conv_norm(y, filters, 3, f"{name}_2")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([y, shortcut]))
