"""Every network of the registry: counts, shapes, options, training step, save and reload, messages."""

from __future__ import annotations

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

from covidpipe import models
from covidpipe.errors import UsageError
from covidpipe.registry import MODELS

SEGMENTERS = [name for name, spec in MODELS.items() if "classify" not in spec.tasks]


@functools.cache
def small(name: str, **options) -> keras.Model:
    """A narrow network, built once: tests that change it build their own."""
    keras.utils.set_random_seed(1)
    return models.build(name, (32, 32, 1), width=0.125, **options)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


# --- Against the sources ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "total"), [("cov_ctnet", 14_475_402), ("cov_raseg", 374_026), ("nabla3", 19_088_081)])
def test_parameters_at_the_papers_input(name, total):
    spec = MODELS[name]
    model = models.build(name, spec.image_shape, spec.classes)
    assert trainable(model) == spec.trainable
    assert model.count_params() == total  # with the statistics of batch normalization


@pytest.mark.parametrize(("image_shape", "expected"), [((82, 82, 1), 11_733_066), ((156, 156, 3), 12_415_178)])
def test_the_figure_variant_of_cov_ctnet(image_shape, expected):
    assert trainable(models.build("cov_ctnet", image_shape, variant="figure")) == expected


def test_cov_ctnet_has_24_layers():
    """Dense layers and convolutions, those of shortcuts not counted: the convention by which ResNet-18 has 18."""
    counted = [
        layer.name
        for layer in small("cov_ctnet").layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense) and "shortcut" not in layer.name
    ]
    assert len(counted) == 24


def test_nabla3_shares_its_recurrent_kernels_over_time():
    shorter, longer = small("nabla3", t=1), small("nabla3")
    added = {weight.path for weight in longer.weights} - {weight.path for weight in shorter.weights}
    assert added
    assert all("_bn2/" in path for path in added)


def test_recurrent_layer_computes_its_equation():
    """z0 = relu(f), z1 = relu(bn(f + rec(z0))), with 1x1 kernels whose product is known."""
    from covidpipe.models.layers import recurrent_conv

    image = keras.Input((2, 2, 1))
    model = keras.Model(image, recurrent_conv(image, 1, 1, "r", t=1, normalize_start=False))
    model.get_layer("r_forward").set_weights([np.full((1, 1, 1, 1), 2.0), np.array([-1.0])])
    model.get_layer("r_recurrent").set_weights([np.full((1, 1, 1, 1), 3.0), np.array([0.5])])
    x = images(1, 2, 2, 1)
    forward = 2 * x - 1
    expected = np.maximum(0, (forward + 3 * np.maximum(0, forward) + 0.5) / np.sqrt(1 + 1e-5))
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


# --- Shapes and probabilities -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_class_probabilities_sum_to_one(name):
    output = np.asarray(small(name)(images(2, 32, 32, 1)))
    assert output.dtype == np.float32
    assert output.shape == ((2, 32, 32, 2) if name in SEGMENTERS else (2, 2))
    np.testing.assert_allclose(output.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_odd_sizes_come_back_exactly(name):
    """Sizes that no power of two divides, and one class: a sigmoid."""
    output = np.asarray(models.build(name, (75, 61, 1), 1, width=0.05)(images(1, 75, 61, 1)))
    assert output.shape == (1, 75, 61, 1)
    assert (output >= 0).all()
    assert (output <= 1).all()


@pytest.mark.parametrize("classes", [1, 2])
def test_a_sigmoid_and_a_released_head_can_both_say_no(classes):
    """A ReLU before a sigmoid would forbid probabilities below one half."""
    output = np.asarray(small("cov_raseg", classes=classes)(images(4, 32, 32, 1) * 9, training=True))
    assert output.min() < 0.5 < output.max()


def test_the_papers_head_of_cov_raseg():
    head = small("cov_raseg", head="paper", classes=1).get_layer("decoder1_conv1")
    assert head.kernel_size == (2, 2)
    assert head.filters == 1


@pytest.mark.parametrize("name", MODELS)
def test_width_scales_the_channels_and_keeps_the_names(name):
    """Keras' own names (conv2d_17) would differ from one build to the next."""
    narrow, wide = small(name), models.build(name, (32, 32, 1), width=0.25)
    assert 3 < trainable(wide) / trainable(narrow) < 4.2
    assert [layer.name for layer in wide.layers] == [layer.name for layer in narrow.layers]


# --- Use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_reaches_every_weight_and_a_saved_network_answers_the_same_bits(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = models.build(name, (32, 32, 1), width=0.125)
    # The bias of a convolution before batch normalization has no gradient: the mean takes it away.
    weights = [weight for weight in model.trainable_weights if weight.name != "bias"]
    before = [np.asarray(weight).copy() for weight in weights]
    # Eager, because tracing NABLA-3's 390 layers for one step would take half a minute.
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="sparse_categorical_crossentropy", run_eagerly=True)
    batch = images(4, 32, 32, 1)
    labels = np.random.default_rng(0).integers(0, 2, (4, *model.output_shape[1:-1]))
    assert np.isfinite(model.train_on_batch(batch, labels))
    assert [w.path for w, old in zip(weights, before, strict=True) if np.array_equal(old, w)] == []

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(np.asarray(model(batch)), np.asarray(again(batch)))


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_float32_in_mixed_precision(name, mixed_precision):
    model = models.build(name, (32, 32, 1), width=0.05)
    assert model.output.dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {"bfloat16"}
    if name == "cov_raseg":  # the one with layers of our own
        assert np.isfinite(np.asarray(model(images(1, 32, 32, 1)))).all()


def test_naming_the_networks_imports_no_keras():
    code = "import sys, covidpipe.models; sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- Messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cov_rasag"}, "No model is called `cov_rasag`.*Did you mean `cov_raseg`"),
        ({"name": "nabla3", "widht": 0.5}, "no option `widht`. Known: width, t. Did you mean `width`"),
        ({"name": "nabla3", "width": 2}, r"in \(0, 1\], and got 2"),
        ({"name": "nabla3", "width": 0}, r"in \(0, 1\], and got 0"),
        ({"name": "nabla3", "t": 0}, "at least 1, and got 0"),
        ({"name": "nabla3", "image_shape": (304, 304)}, r"\(rows, columns, channels\).*got \(304, 304\)"),
        ({"name": "nabla3", "image_shape": (8, 304, 1)}, "at least 16 rows"),
        ({"name": "nabla3", "classes": 0}, "at least 1 classes apart, and classes=0"),
        ({"name": "cov_ctnet", "classes": 1}, "at least 2 classes apart, and classes=1"),
        ({"name": "cov_ctnet", "variant": "text"}, "No variant of `cov_ctnet` is called `text`.*Did you mean `text24`"),
        ({"name": "cov_ctnet", "dropout": (0.5,)}, r"two rates.*got \(0.5,\)"),
        ({"name": "cov_ctnet", "dropout": (0.5, 1)}, r"two rates.*got \(0.5, 1\)"),
        (
            {"name": "cov_raseg", "head": "relased"},
            "No head of `cov_raseg` is called `relased`.*Did you mean `released`",
        ),
    ],
)
def test_mistakes_are_told(arguments, message):
    with pytest.raises(UsageError, match=message):
        models.build(**arguments)
