"""Precision, GPUs, and the way of batches to the network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covidpipe.config import Recipe, Schedule
from covidpipe.errors import UsageError
from covidpipe.inference.batched import probabilities
from covidpipe.models import layers
from covidpipe.training import devices
from covidpipe.training.batches import Batches
from covidpipe.training.fit import _Feed, fit
from covidpipe.training.labelled import Labelled

RECIPE = Recipe(task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=16)


def part(n: int = 8) -> Labelled:
    images = np.random.default_rng(0).integers(0, 255, (n, 16, 16), dtype=np.uint8)
    masks = (images > 128).astype(np.uint8)
    return Labelled(images, masks, np.arange(n).astype(str), np.ones(n, bool), float(masks.mean()), "")


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    x = layers.conv_norm_relu(inputs, 4, 3, "block")
    return keras.Model(inputs, layers.probabilities(keras.layers.Conv2D(2, 1, name="head")(x), "probabilities"))


def test_bfloat16_trains_and_leaves_a_float32_network():
    with devices.precision("mixed_bfloat16"):
        model = network()
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer("block_conv").compute_dtype == "bfloat16" and model.output.dtype == "float32"
    before = model.get_weights()
    schedule = Schedule(
        epochs=1, batch_size=4, learning_rate=0.01, precision="mixed_bfloat16", loss="cross_entropy_dice"
    )
    fitted = fit(model, RECIPE, schedule, part(), part(), 1, None)
    assert np.isfinite(fitted.history[0]["value"])
    assert {w.dtype for w in model.weights} == {"float32"} and not np.array_equal(before[0], model.get_weights()[0])
    plain = devices.for_use(model)
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    found, exact = probabilities(model, part().images, 1), probabilities(plain, part().images, 1)
    assert found.dtype == exact.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.02


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("tensorflow", "gpus: 2 was asked for, and this process sees 0. Ask the cluster"),
        ("jax", "gpus: 2 was asked for; batches are shared by GPUs on the backend tensorflow only, and this is jax"),
    ],
)
def test_gpus_that_are_not_there_are_told(backend, says, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(UsageError, match=says):
        devices.shared_by(2)
    with devices.shared_by(1):
        assert network().count_params() > 0


def test_the_network_is_fed_the_batches_of_each_epoch_in_order():
    batches = Batches(part(10), batch_size=4, channels=3, seed=2)
    feed = _Feed(network(), batches, 1, 3)
    for epoch in (1, 2):
        for images, truth in batches.epoch(epoch):
            found, masks = map(np.asarray, feed.next())
            np.testing.assert_array_equal(found, images)
            np.testing.assert_array_equal(masks, truth)
    assert feed.waited > 0
    with pytest.raises(StopIteration):
        feed.next()
