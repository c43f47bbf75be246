"""Dilated convolutions tap by tap: Keras' numbers, and nothing of them in what is saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from covidpipe.models import build
from covidpipe.training.devices import for_training, for_use
from covidpipe.training.dilated import TappedConv2D


def twins(size: tuple[int, int], kernel: int, dilation: int, bias: bool) -> tuple[layers.Layer, layers.Layer]:
    plain, tapped = (
        kind(4, kernel, padding="same", dilation_rate=dilation, use_bias=bias, activation="relu")
        for kind in (layers.Conv2D, TappedConv2D)
    )
    for layer in (plain, tapped):
        layer.build((None, *size, 3))
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=weight.shape) for weight in plain.get_weights()]
    plain.set_weights(weights)
    tapped.set_weights(weights)
    return plain, tapped


@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "bias"),
    [((6, 6), 3, 18, True), ((6, 6), 3, 6, False), ((6, 9), 3, 6, True), ((6, 5), 3, 2, True), ((7, 4), 5, 2, False)],
)
def test_it_computes_what_keras_computes(size, kernel, dilation, bias):
    plain, tapped = twins(size, kernel, dilation, bias)
    x = tf.constant(np.random.default_rng(1).normal(size=(2, *size, 3)), tf.float32)
    answers = []
    for layer in (plain, tapped):
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = layer(x)
            value = tf.reduce_sum(found**3)
        answers.append([found, *tape.gradient(value, [x, *layer.trainable_variables])])
    for wanted, found in zip(*answers, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(tf.reduce_max(tf.abs(wanted))))


def test_a_network_is_trained_with_it_where_the_map_is_small_and_used_without():
    model = build("deeplabv3_resnet18", image_shape=(96, 96, 1), classes=2, width=0.125)
    trained = for_training(model)
    names = {layer.name for layer in trained.layers if type(layer) is TappedConv2D}
    assert {f"pyramid_rate{rate}_conv" for rate in (6, 12, 18)} <= names
    assert all(max(trained.get_layer(name).dilation_rate) > 1 for name in names)
    x = np.random.default_rng(0).random((2, 96, 96, 1), np.float32)
    np.testing.assert_allclose(trained(x), model(x), atol=1e-5)
    used = for_use(trained)
    assert [type(layer) for layer in used.layers] == [type(layer) for layer in model.layers]
    assert "covidpipe" not in repr(keras.saving.serialize_keras_object(used)["config"])


def test_what_reaches_little_of_a_large_map_stays_as_it_is():
    image = keras.Input((96, 96, 3))
    model = keras.Model(image, layers.Conv2D(2, 3, padding="same", dilation_rate=2)(image))
    assert not any(isinstance(layer, TappedConv2D) for layer in for_training(model).layers)
