"""Batch normalization by one operation: Keras' numbers, and nothing of it in what is saved."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from covidpipe.models import build
from covidpipe.training.devices import for_training, for_use
from covidpipe.training.norms import FusedBatchNormalization


def twins(channels: int, dtype: str = "float32") -> tuple[layers.Layer, layers.Layer]:
    """Keras' layer and the fused one, with the same weights."""
    plain, fused = (
        kind(momentum=0.9, epsilon=1e-5, dtype=dtype) for kind in (layers.BatchNormalization, FusedBatchNormalization)
    )
    rng = np.random.default_rng(0)
    for layer in (plain, fused):
        layer.build((None, 5, 7, channels))
    weights = [rng.uniform(0.5, 2, channels) for _ in range(4)]
    plain.set_weights(weights)
    fused.set_weights(weights)
    return plain, fused


def images(channels: int) -> np.ndarray:
    return np.random.default_rng(1).normal(3, 2, (6, 5, 7, channels)).astype(np.float32)


def gradients(layer: layers.Layer, x: np.ndarray) -> list[np.ndarray]:
    import tensorflow as tf

    inputs = tf.cast(x, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(tf.cast(layer(inputs, training=True), tf.float32) ** 3)
    found = tape.gradient(value, [inputs, *layer.trainable_variables])
    return [ops.convert_to_numpy(ops.cast(one, "float32")) for one in found]


@pytest.mark.parametrize("channels", [3, 16])
def test_it_computes_what_keras_computes(channels):
    plain, fused = twins(channels)
    x = images(channels)
    np.testing.assert_allclose(plain(x, training=True), fused(x, training=True), rtol=1e-4, atol=1e-5)
    for wanted, found in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    for wanted, found in zip(gradients(plain, x), gradients(fused, x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(plain(x), fused(x), rtol=1e-5, atol=1e-5)


def test_moving_statistics_by_hand():
    _, fused = twins(2)
    fused.set_weights([np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)])
    x = images(2)
    fused(x, training=True)
    mean, variance = fused.get_weights()[2:]
    np.testing.assert_allclose(mean, 0.1 * x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * x.var(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize("channels", [3, 16])
def test_in_bfloat16_it_is_as_near_as_keras(channels):
    plain, fused = twins(channels, "mixed_bfloat16")
    exact, _ = twins(channels)
    x = images(channels)
    wanted = ops.convert_to_numpy(exact(x, training=True))
    for layer in (plain, fused):
        found = layer(x, training=True)
        assert found.dtype == "bfloat16"
        np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(found, "float32")), wanted, rtol=0.02, atol=0.05)


def test_a_frozen_layer_keeps_its_statistics():
    _, fused = twins(4)
    fused.trainable = False
    before = fused.get_weights()
    fused(images(4), training=True)
    for was, now in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize(("name", "width"), [("compact_unet", 0.125), ("nabla3", 0.0625)])  # NABLA-3 uses layers again
def test_networks_are_trained_with_it_and_used_without(name, width):
    model = build(name, image_shape=(32, 32, 1), classes=2, width=width)
    trained = for_training(model)
    kinds = [type(layer) for layer in trained.layers]
    assert FusedBatchNormalization in kinds and layers.BatchNormalization not in kinds
    used = for_use(trained)
    assert [type(layer) for layer in used.layers] == [type(layer) for layer in model.layers]
    x = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    np.testing.assert_array_equal(model(x), used(x))
    assert "covidpipe" not in keras.saving.serialize_keras_object(used)["config"].__repr__()
