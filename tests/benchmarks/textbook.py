"""Networks as a textbook on Keras would write them: its layers one after the other, padding ``same``, no names.

What ours have beside that, such as padding alike on all sides or sizes that do not divide, is what the ratios of
`tests.benchmarks.models` tell the price of. Each takes the image's shape and the share of the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from covidpipe.models.layers import scaled

Shape = tuple[int, int, int]


def conv(x: Any, filters: int, kernel: int, strides: int = 1, dilation: int = 1, bias: bool = True) -> Any:
    return layers.Conv2D(
        filters, kernel, strides=strides, padding="same", dilation_rate=dilation, use_bias=bias
    )(x)  # fmt: skip


def conv_relu(x: Any, filters: int, kernel: int, **options: Any) -> Any:
    return layers.ReLU()(conv(x, filters, kernel, **options))


def conv_norm(x: Any, filters: int, kernel: int, **options: Any) -> Any:
    return layers.BatchNormalization()(conv(x, filters, kernel, **options))


def conv_norm_relu(x: Any, filters: int, kernel: int, **options: Any) -> Any:
    return layers.ReLU()(conv_norm(x, filters, kernel, **options))


def half_size(x: Any) -> Any:
    return layers.MaxPooling2D(3, strides=2, padding="same")(x)


def classified(image: Any, x: Any) -> keras.Model:
    return keras.Model(image, layers.Dense(2, activation="softmax")(x))


def residual(x: Any, filters: int, strides: int = 1, dilations: Any = (1, 1), **options: Any) -> Any:
    """Two 3x3 convolutions beside a shortcut, projected where the channels change."""
    shortcut = x if x.shape[-1] == filters else conv_norm(x, filters, 1, strides=strides, **options)
    x = conv_norm_relu(x, filters, 3, strides=strides, dilation=dilations[0], **options)
    return layers.ReLU()(layers.Add()([conv_norm(x, filters, 3, dilation=dilations[1], **options), shortcut]))


def cov_ctnet(shape: Shape, width: float) -> keras.Model:
    image = keras.Input(shape)
    x = half_size(conv_norm_relu(image, scaled(64, width), 7, strides=2))
    for channels in (64, 128, 256, 512):
        filters = scaled(channels, width)
        x = residual(residual(x, filters), filters)
        x = conv_norm_relu(x, filters, 3, strides=2)
    x = layers.Flatten()(half_size(x))
    for units, rate in ((264, 0.5), (64, 0.2)):
        x = layers.Dropout(rate)(layers.Dense(scaled(units, width), activation="relu")(x))
    return classified(image, x)


def resnet18_features(x: Any, width: float, dilated: bool) -> tuple[Any, Any]:
    x = half_size(conv_norm_relu(x, scaled(64, width), 7, strides=2, bias=False))
    stages = []
    for stage, channels in enumerate((64, 128, 256, 512)):
        filters, wide = scaled(channels, width), dilated and stage == 3
        x = residual(x, filters, 1 if stage == 0 or wide else 2, (1, 2) if wide else (1, 1), bias=False)
        x = residual(x, filters, dilations=(2, 2) if wide else (1, 1), bias=False)
        stages.append(x)
    return stages[0], stages[-1]


def resnet18(shape: Shape, width: float) -> keras.Model:
    image = keras.Input(shape)
    _, x = resnet18_features(image, width, dilated=False)
    return classified(image, layers.GlobalAveragePooling2D()(x))


def resnet50_features(x: Any) -> tuple[Any, Any]:
    x = half_size(conv_norm_relu(x, 64, 7, strides=2))
    stages = []
    for stage, (filters, units) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for unit in range(units):
            strides = 2 if unit == 0 and stage in (1, 2) else 1
            shortcut = conv_norm(x, 4 * filters, 1, strides=strides) if unit == 0 else x
            x = conv_norm_relu(x, filters, 1, strides=strides)
            x = conv_norm_relu(x, filters, 3, dilation=2 if stage == 3 else 1)
            x = layers.ReLU()(layers.Add()([conv_norm(x, 4 * filters, 1), shortcut]))
        stages.append(x)
    return stages[0], stages[-1]


def googlenet(shape: Shape, width: float) -> keras.Model:
    def unit(x: Any, channels: int, kernel: int, **options: Any) -> Any:
        return conv_norm_relu(x, scaled(channels, width), kernel, bias=False, **options)

    image = keras.Input(shape)
    x = half_size(unit(image, 64, 7, strides=2))
    x = half_size(unit(unit(x, 64, 1), 192, 3))
    for one, (narrow3, three), (narrow5, five), pooled, last in (
        (64, (96, 128), (16, 32), 32, False),
        (128, (128, 192), (32, 96), 64, True),
        (192, (96, 208), (16, 48), 64, False),
        (160, (112, 224), (24, 64), 64, False),
        (128, (128, 256), (24, 64), 64, False),
        (112, (144, 288), (32, 64), 64, False),
        (256, (160, 320), (32, 128), 128, True),
        (256, (160, 320), (32, 128), 128, False),
        (384, (192, 384), (48, 128), 128, False),
    ):
        y = layers.MaxPooling2D(3, strides=1, padding="same")(x)
        branches = [unit(x, one, 1), unit(unit(x, narrow3, 1), three, 3), unit(unit(x, narrow5, 1), five, 3)]
        x = layers.Concatenate()([*branches, unit(y, pooled, 1)])
        x = half_size(x) if last else x
    return classified(image, layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x)))


def shufflenet(shape: Shape, width: float) -> keras.Model:
    def depthwise(x: Any, strides: int) -> Any:
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    def branch(x: Any, half: int, strides: int) -> Any:
        x = depthwise(conv_norm_relu(x, half, 1, bias=False), strides)
        return conv_norm_relu(x, half, 1, bias=False)

    def shuffled(branches: list[Any], half: int) -> Any:
        x = layers.Concatenate()(branches)
        size = tuple(x.shape[1:3])
        x = layers.Permute((1, 2, 4, 3))(layers.Reshape((*size, 2, half))(x))
        return layers.Reshape((*size, 2 * half))(x)

    image = keras.Input(shape)
    x = half_size(conv_norm_relu(image, scaled(24, width), 3, strides=2, bias=False))
    for channels, units in ((116, 4), (232, 8), (464, 4)):
        half = scaled(channels // 2, width)
        first = conv_norm_relu(depthwise(x, 2), half, 1, bias=False)
        x = shuffled([first, branch(x, half, 2)], half)
        for _ in range(units - 1):
            x = shuffled([x[..., :half], branch(x[..., half:], half, 1)], half)
    x = conv_norm_relu(x, scaled(1024, width), 1, bias=False)
    return classified(image, layers.GlobalAveragePooling2D()(x))


def u_shaped(
    shape: Shape, width: float, block: Callable[..., Any], channels: tuple[int, ...], rates: dict[int, float]
) -> keras.Model:
    """A U-Net; `rates`: dropout after a level, the last of `channels` being the bridge."""

    def two(x: Any, filters: int) -> Any:
        return block(block(x, filters, 3), filters, 3)

    image = x = keras.Input(shape)
    skips = []
    for level, wide in enumerate(channels):
        x = two(x, scaled(wide, width))
        x = layers.Dropout(rates[level])(x) if level in rates else x
        skips.append(x)
        x = layers.MaxPooling2D(2)(x) if level < len(channels) - 1 else x
    for skip in reversed(skips[:-1]):
        filters = skip.shape[-1]
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = two(layers.Concatenate()([x, skip]), filters)
    return keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(x))


def unet(shape: Shape, width: float) -> keras.Model:
    return u_shaped(shape, width, conv_relu, (64, 128, 256, 512, 1024), {3: 0.5, 4: 0.5})


def compact_unet(shape: Shape, width: float) -> keras.Model:
    return u_shaped(shape, width, conv_norm_relu, (16, 32, 64, 128, 256), {4: 0.2})


def fcn8(shape: Shape, width: float) -> keras.Model:
    image = x = keras.Input(shape)
    pooled = []
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            x = conv_relu(x, scaled(channels, width), 3)
        x = layers.MaxPooling2D(2)(x)
        pooled.append(x)
    for kernel in (7, 1):
        x = layers.Dropout(0.5)(conv_relu(x, scaled(4096, width), kernel))
    x = conv(x, 2, 1)
    for level in (3, 2):
        x = layers.Conv2DTranspose(2, 4, strides=2, padding="same")(x)
        x = layers.Add()([x, conv(pooled[level], 2, 1)])
    x = layers.Conv2DTranspose(2, 16, strides=8, padding="same")(x)
    return keras.Model(image, layers.Softmax()(x))


def deeplab(image: Any, low: Any, deep: Any, width: float) -> keras.Model:
    pyramid = scaled(256, width)
    mean = conv_norm_relu(layers.GlobalAveragePooling2D(keepdims=True)(deep), pyramid, 1)
    branches = [layers.UpSampling2D(deep.shape[1:3])(mean), conv_norm_relu(deep, pyramid, 1)]
    branches += [conv_norm_relu(deep, pyramid, 3, dilation=rate) for rate in (6, 12, 18)]
    x = conv_norm_relu(layers.Concatenate()(branches), pyramid, 1)
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    x = layers.Concatenate()([x, conv_norm_relu(low, scaled(48, width), 1)])
    x = conv(conv_norm_relu(conv_norm_relu(x, pyramid, 3), pyramid, 3), 2, 1)
    return keras.Model(image, layers.Softmax()(layers.UpSampling2D(4, interpolation="bilinear")(x)))


def deeplabv3_resnet18(shape: Shape, width: float) -> keras.Model:
    image = keras.Input(shape)
    return deeplab(image, *resnet18_features(image, width, dilated=True), width)


def deeplabv3_resnet50(shape: Shape, width: float) -> keras.Model:
    image = keras.Input(shape)
    return deeplab(image, *resnet50_features(image), width)


TEXTBOOK: dict[str, Callable[[Shape, float], keras.Model]] = {
    network.__name__: network
    for network in (
        cov_ctnet, resnet18, googlenet, shufflenet, unet, compact_unet, fcn8, deeplabv3_resnet18, deeplabv3_resnet50
    )
}  # fmt: skip
