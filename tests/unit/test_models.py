"""The networks against their sources: counts, shapes, options, messages. What all of them owe: test_every_model.py."""

from __future__ import annotations

import functools
import subprocess
import sys
from itertools import pairwise

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


@pytest.mark.parametrize(
    ("name", "total"),
    [("irrcnn", 34_302_114), ("cov_raseg", 374_026), ("nabla3", 19_088_081)],
)
def test_parameters_with_the_statistics_of_batch_normalization(name, total):
    spec = MODELS[name]
    assert models.build(name, spec.image_shape, spec.classes).count_params() == total


# Trainable parameters for 1000 classes at 3 channels (and 224 x 224 for VGG); channels and area of the first
# convolution, each without bias; what the last dense layer takes.
LITERATURE = {
    "vgg16": (138_357_544, 64, 9, 4096),
    "vgg19": (143_667_240, 64, 9, 4096),
    "resnet50": (25_583_592, 64, 49, 2048),
    "inception_v3": (23_817_352, 32, 9, 2048),
    "densenet201": (20_013_928, 64, 49, 1920),
    "xception": (22_855_952, 32, 9, 2048),
}


@pytest.mark.parametrize("name", LITERATURE)
def test_the_networks_of_keras_have_the_literatures_counts(name):
    """One channel in place of three, two classes in place of 1000, and VGG's first dense layer at 82 x 82."""
    published, filters, area, taken = LITERATURE[name]
    expected = published - 2 * filters * area - (taken + 1) * (1000 - 2)
    if name.startswith("vgg"):
        expected -= (7 * 7 - 2 * 2) * 512 * 4096
    assert MODELS[name].trainable == expected


def conv(kernel: int, taken: int, given: int) -> int:
    return kernel * kernel * taken * given + given


def unpooling(blocks, classes=2, skip=0) -> int:
    """Convolutions, two for each (the decoder mirrors), batch normalization of each output."""
    count, channels = 0, [3, *(filters for block in blocks for filters in block)]
    for taken, given in pairwise(channels):
        back = classes if taken == 3 else taken
        count += conv(3, taken, given) + 2 * given + conv(3, given, back) + 2 * back
    return count + 9 * skip * blocks[0][0]


VGG16 = [(64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3]
VGG19 = [(64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4]


def plain_unet() -> int:
    count, channels = 0, (3, 64, 128, 256, 512, 1024)
    for taken, given in pairwise(channels):
        count += conv(3, taken, given) + conv(3, given, given)
        if taken > 3:  # and back up: transposed convolution, two convolutions after the skip
            count += conv(2, given, taken) + conv(3, given, taken) + conv(3, taken, taken)
    return count + conv(1, 64, 2)


def vgg16_convolutions() -> int:
    channels = [3, *(filters for block in VGG16 for filters in block)]
    return sum(conv(3, taken, given) for taken, given in pairwise(channels))


def pyramid_and_decoder(deep: int, low: int) -> int:
    norm = 2 * 256
    pyramid = 2 * (conv(1, deep, 256) + norm) + 3 * (conv(3, deep, 256) + norm) + conv(1, 5 * 256, 256) + norm
    decoder = conv(1, low, 48) + 2 * 48 + conv(3, 256 + 48, 256) + conv(3, 256, 256) + 2 * norm
    return pyramid + decoder + conv(1, 256, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segnet", unpooling([(64, 64)] * 4)),
        ("u_segnet", unpooling([(64, 64)] * 4, skip=64)),
        ("vgg16_segnet", unpooling(VGG16)),
        ("vgg19_segnet", unpooling(VGG19)),
        ("unet", plain_unet()),
        (
            "fcn8",
            vgg16_convolutions()
            + conv(7, 512, 4096)
            + conv(1, 4096, 4096)
            + conv(1, 4096, 2)
            + conv(1, 512, 2)
            + conv(1, 256, 2)
            + 2 * conv(4, 2, 2)
            + conv(16, 2, 2),
        ),
        # The backbones: the literature's count without its dense layer.
        ("deeplabv3_resnet18", 11_689_512 - 513 * 1000 + pyramid_and_decoder(512, 64)),
        ("deeplabv3_resnet50", 25_583_592 - 2049 * 1000 + pyramid_and_decoder(2048, 256)),
    ],
)
def test_the_rival_segmenters_have_the_counts_of_their_structure(name, expected):
    assert MODELS[name].trainable == expected


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


@pytest.mark.parametrize("name", SEGMENTERS)
def test_odd_sizes_come_back_exactly(name):
    """Sizes that no power of two divides, and one class: a sigmoid."""
    width = 0.05 if MODELS[name].scalable else 1.0
    output = np.asarray(models.build(name, (75, 61, 1), 1, width=width)(images(1, 75, 61, 1)))
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


@pytest.mark.parametrize("name", ["irrcnn", "cov_ctnet", "cov_raseg", "nabla3", "shufflenet", "unet", "vgg16_segnet"])
def test_width_scales_the_channels_and_keeps_the_names(name):
    narrow, wide = small(name), models.build(name, (32, 32, 1), width=0.25)
    assert 3 < trainable(wide) / trainable(narrow) < 4.2
    assert [layer.name for layer in wide.layers] == [layer.name for layer in narrow.layers]


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
        ({"name": "irrcnn", "t": 1.5}, "at least 1, and got 1.5"),
        ({"name": "segnet", "depth": 5}, "1 to 4 encoders, and got 5"),
        ({"name": "xception", "image_shape": (64, 82, 1)}, "at least 71 rows"),
        ({"name": "vgg16", "width": 0.5}, "`vgg16` has no option `width`. Known: none"),
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
