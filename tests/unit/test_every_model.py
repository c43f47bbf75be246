"""What every network of the registry owes: a new line there is tested here by itself.

On PyTorch and JAX: `tests/backends`. Networks that are Keras' own but for their head have hundreds of layers and take
minutes: all but one of them are left to `make check-models`.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from covidpipe import models
from covidpipe.registry import MODELS, ModelSpec


def small(spec: ModelSpec, **options) -> keras.Model:
    """As small as the network allows; the same weights every time."""
    keras.utils.set_random_seed(1)
    side = max(32, spec.smallest)
    return models.build(spec.name, (side, side, 1), width=0.125 if spec.scalable else 1.0, **options)


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    yield lambda: keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_dtype_policy(before)


QUICK = [
    pytest.param(name, marks=() if spec.scalable or name == "xception" else pytest.mark.full_size)
    for name, spec in MODELS.items()
]


@pytest.mark.parametrize("name", QUICK)
def test_trainable_parameters_at_the_papers_input(name):
    spec = MODELS[name]
    assert trainable(models.build(name, spec.image_shape, spec.classes)) == spec.trainable


@pytest.mark.parametrize("name", QUICK)
def test_a_network_of_the_registry(name, tmp_path, mixed_precision):
    """Probabilities, a training step that reaches every weight, the same bits from its file, names, mixed precision."""
    spec = MODELS[name]
    model = small(spec)
    batch = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)

    answer = np.asarray(model(batch))
    assert answer.dtype == np.float32
    assert answer.shape == ((2, 2) if "classify" in spec.tasks else (*batch.shape[:3], 2))
    np.testing.assert_allclose(answer.sum(-1), 1, rtol=1e-5)

    # What only shifts a batch normalization's input has no gradient: its mean takes a shift away.
    weights = [weight for weight in model.trainable_weights if weight.name not in ("bias", "beta")]
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in weights]
    # Eager, because tracing hundreds of layers for one step would take half a minute.
    model.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", run_eagerly=True)
    labels = np.random.default_rng(0).integers(0, 2, answer.shape[:-1])
    assert np.isfinite(model.train_on_batch(batch, labels))
    after = [keras.ops.convert_to_numpy(weight) for weight in weights]
    unmoved = [np.array_equal(old, new) for old, new in zip(before, after, strict=True)]
    assert [weight.path for weight, still in zip(weights, unmoved, strict=True) if still] == []

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    answer = np.asarray(model(batch))
    assert np.isfinite(answer).all()
    assert np.array_equal(answer, np.asarray(again(batch)))

    mixed_precision()
    mixed = small(spec)
    # Keras' own names (conv2d_17) would differ from one build to the next.
    assert [layer.name for layer in mixed.layers] == [layer.name for layer in model.layers]
    assert mixed.output.dtype == "float32"
    assert {layer.compute_dtype for layer in mixed.layers if isinstance(layer, keras.layers.Conv2D)} == {"bfloat16"}
    if any(type(layer).__module__.startswith("covidpipe") for layer in mixed.layers):
        assert np.isfinite(np.asarray(mixed(batch[:1]))).all()
