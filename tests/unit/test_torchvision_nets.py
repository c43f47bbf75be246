"""ResNet-18, GoogLeNet and ShuffleNet: parameters of the literature, and torchvision's weights layer by layer."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from torchvision_reference import FORWARD, SHAPES, random_state

from covidpipe import models
from covidpipe.errors import UsageError
from covidpipe.models.googlenet import ceil_max_pool
from covidpipe.models.layers import ShuffleChannels
from covidpipe.models.pretrained import build_pretrained
from covidpipe.models.resnet18 import resnet18_features
from covidpipe.registry import MODELS

LITERATURE = {"resnet18": 11_689_512, "googlenet": 6_624_904, "shufflenet": 2_278_604}  # 1000 classes, RGB
FIRST_KERNELS = {"resnet18": 64 * 7 * 7, "googlenet": 64 * 7 * 7, "shufflenet": 24 * 3 * 3}  # of one channel
LAST_CHANNELS = {"resnet18": 512, "googlenet": 1024, "shufflenet": 1024}


def trainable(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("name", LITERATURE)
def test_parameters_of_the_literature(name):
    assert trainable(models.build(name, (64, 64, 3), 1000)) == LITERATURE[name]
    of_reference = [s for key, s in SHAPES[name].items() if key.endswith(("weight", "bias")) and key[:3] != "aux"]
    assert sum(math.prod(shape) for shape in of_reference) == LITERATURE[name]


@pytest.mark.parametrize("name", LITERATURE)
def test_registered_parameters_are_the_literatures_less_two_channels_and_998_classes(name):
    head = 998 * (LAST_CHANNELS[name] + 1)
    assert MODELS[name].trainable == LITERATURE[name] - 2 * FIRST_KERNELS[name] - head


def torchvision_input(name: str, grey: np.ndarray) -> np.ndarray:
    """(n, rows, columns) in 0..1 -> (n, 3, rows, columns) as torchvision's transforms and GoogLeNet's own make it."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = (grey[:, None] - mean[:, None, None]) / std[:, None, None]
    if name == "googlenet":  # transform_input
        x = x * (std / 0.5)[:, None, None] + ((mean - 0.5) / 0.5)[:, None, None]
    return x


def activations(model: keras.Model, names: list[str], x: np.ndarray) -> list[np.ndarray]:
    """(n, channels, rows, columns) of layers, from their torchvision names."""
    outputs = keras.Model(model.input, [model.get_layer(name.replace(".", "_")).output for name in names])(x)
    return [np.moveaxis(keras.ops.convert_to_numpy(y), -1, 1) for y in outputs]


@pytest.mark.parametrize("name", LITERATURE)
def test_torchvisions_weights_give_torchvisions_activations(name, tmp_path):
    """Every stage; sides are even and odd, because padding and pooling treat them differently."""
    size = (32, 45)
    state = random_state(name)
    save_file(state, tmp_path / "weights.safetensors")
    model = build_pretrained(name, (*size, 1), 2, tmp_path / "weights.safetensors")
    grey = np.random.default_rng(1).random((2, *size), np.float32)
    expected = FORWARD[name](state, torchvision_input(name, grey))
    for stage, found in zip(expected, activations(model, list(expected), grey[..., None]), strict=True):
        assert found.shape == expected[stage].shape, stage
        np.testing.assert_allclose(found, expected[stage], rtol=0, atol=1e-4, err_msg=stage)
        assert expected[stage].max() > 0.3, stage  # no agreement of zeros
    assert model.output_shape == (None, 2)  # the dense layer is new: torchvision's has 1000 classes


@pytest.mark.full_size
def test_deeplab_takes_resnet18_along(tmp_path):
    """The same low-level features; the deep ones, dilated, hold those of the strided network at every other pixel."""
    state = random_state("resnet18")
    save_file(state, tmp_path / "weights.safetensors")
    model = build_pretrained("deeplabv3_resnet18", (48, 64, 3), 2, tmp_path / "weights.safetensors")
    grey = np.random.default_rng(1).random((1, 48, 64), np.float32)
    expected = FORWARD["resnet18"](state, torchvision_input("resnet18", grey))
    low, deep = activations(model, ["layer1.1.relu", "layer4.1.relu"], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_allclose(low, expected["layer1.1.relu"], rtol=0, atol=1e-4)
    assert deep.shape[2:] == (3, 4)
    np.testing.assert_allclose(deep[:, :, ::2, ::2], expected["layer4.1.relu"], rtol=0, atol=1e-4)


def test_dilated_features_are_the_strided_ones_and_those_between():
    strided, dilated = (
        keras.Model(image, resnet18_features(image, width=0.1, dilated=dilated))
        for image, dilated in ((keras.Input((48, 37, 1)), False), (keras.Input((48, 37, 1)), True))
    )
    dilated.set_weights(strided.get_weights())
    x = np.random.default_rng(0).random((1, 48, 37, 1), np.float32)
    (low, deep), (same, denser) = strided(x), dilated(x)
    assert [y.shape[1:3] for y in (low, deep, denser)] == [(12, 10), (2, 2), (3, 3)]
    np.testing.assert_array_equal(low, same)
    np.testing.assert_allclose(denser[:, ::2, ::2], deep, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("side", "size", "pooled"), [(6, 3, [2, 4, 5]), (5, 3, [2, 4]), (5, 2, [1, 3, 4])])
def test_last_window_may_hang_over(side, size, pooled):
    image = keras.Input((side, side, 1))
    model = keras.Model(image, ceil_max_pool(image, size, "pool"))
    diagonal = np.diag(np.arange(side, dtype=np.float32))[None, :, :, None]
    np.testing.assert_array_equal(np.diagonal(np.asarray(model(diagonal))[0, :, :, 0]), pooled)


def test_shuffled_channels_come_back():
    x = np.random.default_rng(0).random((1, 2, 2, 6), np.float32)
    shuffled = ShuffleChannels(2)(x)
    assert not np.array_equal(shuffled, x)
    np.testing.assert_array_equal(ShuffleChannels(3)(shuffled), x)


def test_dropout_is_a_rate():
    with pytest.raises(UsageError, match=r"a rate in \[0, 1\), and got 1"):
        models.build("googlenet", (32, 32, 1), dropout=1)
