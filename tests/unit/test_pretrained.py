"""ImageNet weights: files of the true structure made here, and the whole way from a file to a network."""

from __future__ import annotations

import hashlib
import http.server
import inspect
import os
import pickle
import sys
import threading
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from torchvision_reference import random_state

from covidpipe import models, workflow
from covidpipe.config import Config, parse
from covidpipe.errors import BadConfig, BadWeights, UsageError
from covidpipe.io.checkpoints import default_folder, obtain
from covidpipe.io.files import read_json
from covidpipe.io.torch_files import LEGACY_MAGIC, read_state_dict
from covidpipe.models.applications import features
from covidpipe.models.deeplabv3 import DILATED
from covidpipe.models.pretrained import build_pretrained, fill_from_torch, load_backbone, new_input, with_new_input
from covidpipe.provenance import PACKAGE
from covidpipe.registry import BACKBONES, MODELS, REGIMES
from covidpipe.stages.train import untrained
from covidpipe.training.card import model_card

KERAS = [name for name, backbone in BACKBONES.items() if backbone.application]
BUILT_ON_ANOTHER = [name for name, spec in MODELS.items() if spec.backbone not in (None, name)]


def application(name: str) -> keras.Model:
    """A network of keras.applications without top, as small as it goes; normalizations that do something."""
    side = MODELS[name].smallest
    keras.utils.set_random_seed(0)
    core = getattr(keras.applications, BACKBONES[name].application)(
        include_top=False, weights=None, input_shape=(side, side, 3)
    )
    rng = np.random.default_rng(0)
    for layer in core.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return core


def write_keras_file(core: keras.Model, path: Path) -> None:
    """The layout of the published files, which Keras 2 wrote: a group for each layer, tensors named in attributes."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in core.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.0.9"
        for layer in core.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=weight)


# --- Keras' files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERAS)
def test_registered_files_are_those_of_keras(name):
    backbone = BACKBONES[name]
    source = inspect.getsource(sys.modules[getattr(keras.applications, backbone.application).__module__])
    assert backbone.checksum.removeprefix("md5:") in source
    assert f"{backbone.url.split('/')[-2]}/" in source
    assert backbone.file.partition("_weights")[0] in source


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "vgg16" else pytest.mark.full_size) for name in KERAS]
)
def test_a_network_of_keras_sees_the_image_as_its_weights_did(name, tmp_path):
    """A grey image gives the features that the network of keras.applications has of the preprocessed image."""
    core = application(name)
    write_keras_file(core, tmp_path / BACKBONES[name].file)
    path, _ = obtain(name, BACKBONES[name].file, BACKBONES[name].url, None, folder=tmp_path, download=False)
    side = MODELS[name].smallest
    model = build_pretrained(name, (side, side, 1), 2, path)

    grey = np.random.default_rng(1).random((2, side, side, 1), np.float32)
    preprocess = sys.modules[getattr(keras.applications, BACKBONES[name].application).__module__].preprocess_input
    expected = np.asarray(core(preprocess(np.repeat(255 * grey, 3, axis=-1))))
    last = model.get_layer(core.layers[-1].name).output
    found = np.asarray(keras.Model(model.input, last)(grey))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected) > 0.01
    assert [layer.name for layer in model.layers[:2]] == ["image", "new_input"]
    assert all(layer.trainable for layer in model.layers)
    in_three_channels = models.build(name, (side, side, 3), 2).count_params()
    assert model.count_params() == in_three_channels + 1 * 3 + 3


def test_segmenters_have_the_layers_of_their_backbones():
    """By name, at any width; what they hold is compared at full size."""
    names = {name: {layer.name for layer in application(name).layers if layer.weights} for name in ("vgg16", "vgg19")}
    narrow = models.build("resnet18", (32, 32, 3), width=0.05)
    names["resnet18"] = {layer.name for layer in narrow.layers if layer.weights and layer.name != "fc"}
    for name in BUILT_ON_ANOTHER:
        spec = MODELS[name]
        if spec.scalable:
            segmenter = models.build(name, (32, 32, 3), width=0.05)
            assert names[spec.backbone] <= {layer.name for layer in segmenter.layers}, name


@pytest.mark.full_size
@pytest.mark.parametrize("name", BUILT_ON_ANOTHER)
def test_a_segmenter_starts_from_its_backbone(name, tmp_path):
    backbone = MODELS[name].backbone
    path = tmp_path / BACKBONES[backbone].file
    if BACKBONES[backbone].application:
        write_keras_file(application(backbone), path)
    else:
        save_file(random_state(backbone), path)
    model = build_pretrained(name, (32, 32, 1), 2, path)
    source = load_backbone(backbone, path)
    given = [layer for layer in source.layers if layer.weights and not isinstance(layer, keras.layers.Dense)]
    for layer in given:
        for found, expected in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(found, expected)
    # normalizations of its own, which VGG has not, are as new
    own = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.name not in {given.name for given in given}
    ]
    assert own or name == "fcn8"
    for layer in own:
        np.testing.assert_array_equal(layer.get_weights()[0], 1)
    answer = np.asarray(model(np.random.default_rng(0).random((1, 32, 32, 1), np.float32)))
    np.testing.assert_allclose(answer.sum(-1), 1, rtol=1e-5)


@pytest.mark.full_size
def test_dilated_resnet50_holds_the_strided_one():
    """The published weights see in DeepLab what they saw: every other pixel of its features is ResNet-50's."""
    strided = features(keras.applications.ResNet50, (64, 64, 3), {})
    dilated = features(keras.applications.ResNet50, (64, 64, 3), DILATED)
    dilated.set_weights(strided.get_weights())
    x = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    np.testing.assert_allclose(dilated(x)[:, ::2, ::2], strided(x), rtol=0, atol=1e-5)


def test_another_networks_file_is_refused(tmp_path):
    path = tmp_path / "weights.h5"
    write_keras_file(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="block1_conv1")]), path)
    with pytest.raises(
        BadWeights, match=r"weights\.h5: wanted .*VGG16 without top, .*expected 13 layers, found 1 saved"
    ):
        load_backbone("vgg16", path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadWeights, match=r"does not fit: .*truncated"):
        load_backbone("vgg16", path)


def test_a_tensor_of_another_shape_is_refused_by_name(tmp_path):
    core = application("vgg16")
    write_keras_file(core, tmp_path / "weights.h5")
    with h5py.File(tmp_path / "weights.h5", "r+") as file:
        del file["block2_conv1/block2_conv1/kernel:0"]
        file["block2_conv1"].create_dataset("block2_conv1/kernel:0", data=np.zeros((3, 3, 64, 64)))
    with pytest.raises(BadWeights, match=r"named block2_conv1.*\(3, 3, 64, 128\).*\(3, 3, 64, 64\)"):
        load_backbone("vgg16", tmp_path / "weights.h5")


@pytest.mark.parametrize(("backbone", "file"), [("vgg16", "a.safetensors"), ("resnet18", "a.h5")])
def test_the_ending_says_what_a_file_is(backbone, file):
    with pytest.raises(BadWeights, match=r"wanted an? .*file of"):
        load_backbone(backbone, file)


def test_networks_without_imagenet_weights_are_refused():
    with pytest.raises(UsageError, match=r"`cov_raseg` has no ImageNet weights\. These have: vgg16, "):
        build_pretrained("cov_raseg", (32, 32, 1), 2, "x.h5")


# --- The new input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("preprocessing", ["caffe", "tf", "torch"])
def test_new_input_is_the_preprocessing(preprocessing, channels):
    inner = keras.Input((4, 5, 3))
    model = with_new_input(
        keras.Model(inner, keras.layers.Activation("linear", name="same")(inner)), channels, preprocessing
    )
    x = np.random.default_rng(0).random((2, 4, 5, channels), np.float32)
    rgb = np.repeat(255.0 * x, 3, axis=-1) if channels == 1 else 255.0 * x
    expected = keras.applications.imagenet_utils.preprocess_input(rgb.astype(np.float64), mode=preprocessing)
    np.testing.assert_allclose(np.asarray(model(x)), expected, rtol=1e-5, atol=2e-5)
    assert [layer.name for layer in model.layers] == ["image", "new_input", "same"]
    assert len(model.trainable_weights) == 2


def test_new_input_has_full_precision_under_every_policy():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        inner = keras.Input((4, 4, 3))
        network = keras.Model(inner, keras.layers.Conv2D(2, 1, name="conv")(inner))
        model = with_new_input(network, 1, "caffe")
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("new_input").compute_dtype == "float32"
    assert model.get_layer("conv").compute_dtype == "bfloat16"


def test_new_input_takes_grey_or_rgb():
    with pytest.raises(UsageError, match=r"grey images .* and 2 are asked for"):
        new_input(2, "tf")


# --- Torch's files ------------------------------------------------------------------------------------------------


def plain(value: object) -> bytes:
    """Opcodes of a plain value, without the frame around them."""
    return pickle.dumps(value, 2)[2:-1]


def torch_pickle(state: dict[str, np.ndarray]) -> bytes:
    """What torch.save pickles of a state dict: calls that rebuild tensors from storages, which are told by number."""
    kinds = {"f": b"FloatStorage", "i": b"LongStorage"}
    ops = b"\x80\x02ccollections\nOrderedDict\n)R("
    for number, (name, array) in enumerate(state.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        storage = b"(" + plain("storage") + b"ctorch\n" + kinds[array.dtype.kind] + b"\n" + plain(str(number))
        storage += plain("cpu") + plain(array.size) + b"tQ"
        arguments = storage + plain(0) + plain(array.shape) + plain(strides) + b"\x89ccollections\nOrderedDict\n)R"
        ops += plain(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
    return ops + b"u."


def write_zip(state: dict[str, np.ndarray], path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", torch_pickle(state))
        for number, array in enumerate(state.values()):
            archive.writestr(f"weights/data/{number}", array.tobytes())
        archive.writestr("weights/version", b"3\n")


def write_legacy(state: dict[str, np.ndarray], path: Path) -> None:
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(value, 2) for value in (LEGACY_MAGIC, 1001, machine)]
    parts += [torch_pickle(state), pickle.dumps([str(number) for number in range(len(state))], 2)]
    parts += [np.int64(array.size).tobytes() + array.tobytes() for array in state.values()]
    path.write_bytes(b"".join(parts))


STATE = {
    "conv1.weight": np.random.default_rng(0).random((4, 3, 3, 3), np.float32),
    "bn1.running_mean": np.arange(4, dtype=np.float32),
    "bn1.num_batches_tracked": np.array(7, np.int64),
}


@pytest.mark.parametrize("write", [write_zip, write_legacy, lambda state, path: save_file(state, path)])
def test_torch_files_of_every_kind_hold_the_same(write, tmp_path):
    path = tmp_path / ("weights.pth" if write in (write_zip, write_legacy) else "weights.safetensors")
    write(STATE, path)
    found = read_state_dict(path)
    assert set(found) == set(STATE)
    for key, value in STATE.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["HARM"],)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_asks_for_a_function_is_refused_and_nothing_runs(legacy, tmp_path, monkeypatch):
    harm, path = tmp_path / "harm", tmp_path / "weights.pth"
    monkeypatch.setenv("HARM", str(harm))
    content = pickle.dumps({"conv1.weight": Harmful()}, 2)
    if legacy:
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", content)
    with pytest.raises(BadWeights, match=r"it asks for `posix\.mkdir`, which a table of tensors does not need"):
        read_state_dict(path)
    assert not harm.exists()


@pytest.mark.parametrize(
    "program",
    [
        *(pickle.dumps(Harmful, protocol) for protocol in (0, 4)),  # a name, by each instruction that has one
        b"(S'ran'\niposix\nmkdir\n.", b"cposix\nmkdir\n(S'ran'\no.", b"\x82\x01.", b"\x80\x02(X\x03\0\0\0ranRX.",
        b"\x80\x02ccollections\nOrderedDict\n(X\x03\0\0\0rantR.", b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    ],
)  # fmt: skip
def test_no_other_instruction_is_followed(program, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", program)
    with pytest.raises(BadWeights, match="not readable as such"):
        read_state_dict(tmp_path / "weights.pth")


def test_a_file_cannot_grow_in_memory(tmp_path):
    """One number that stands for 10^12, and a word that holds a word twice that holds ... forty times."""
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
    repeated = b"K\0J\x40\x42\x0f\0J\x40\x42\x0f\0\x86K\0K\0\x86"
    tensor = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(" + storage + repeated + b"tRs."
    nested = b"K\1q\0" + b"".join(b"h%c\x85h%c\x86q%c" % (n, n, n + 1) for n in range(40))
    named = b"\x80\x02}" + nested + b"(X\x07\0\0\0storagectorch\nFloatStorage\nh(X\x03\0\0\0cpuK\x01tQs."
    for program, why in ((tensor, "larger than its storage"), (named, "of no known kind")):
        with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
            archive.writestr("weights/data.pkl", program)
            archive.writestr("weights/data/0", bytes(4))
        with pytest.raises(BadWeights, match=why):
            read_state_dict(tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: b"<html>", lambda content: b""])
def test_damaged_torch_files_are_refused(name, damage, tmp_path):
    path = tmp_path / name
    (write_legacy if name.endswith("pth") else lambda state, path: save_file(state, path))(STATE, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadWeights, match=r"weights\.\w+: wanted named tensors.*not readable as such.*convert it"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {1: 2}])
def test_other_content_is_refused(content, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps(content, 2))
    with pytest.raises(BadWeights, match="it holds something else than a table of tensors"):
        read_state_dict(tmp_path / "weights.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", torch_pickle({"a": np.zeros(3, np.float32)}))
        archive.writestr("weights/data/0", bytes(8))
    with pytest.raises(BadWeights, match=r"not readable as such: .*size of buffer"):
        read_state_dict(tmp_path / "weights.pth")


def small_network() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="layer1_bn")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = keras.layers.Dense(2, name="fc")(keras.layers.Flatten()(x))
    return keras.Model(image, x, name="small")


def small_state() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.random((4, 3, 3, 3)),
        **{f"layer1.bn.{key}": rng.random(4) for key in ("weight", "bias", "running_mean", "running_var")},
        "layer1.bn.num_batches_tracked": np.array(1),
        "depthwise.weight": rng.random((4, 1, 3, 3)),
        "fc.weight": rng.random((1000, 16)),
        "fc.bias": rng.random(1000),
    }


def test_tensors_go_to_layers_in_keras_order():
    network, state = small_network(), small_state()
    dense = network.get_layer("fc").get_weights()[0]
    fill_from_torch(network, state, ("fc.",), "here")
    kernel = network.get_layer("conv1").get_weights()[0]
    depthwise = network.get_layer("depthwise").get_weights()[0]
    assert kernel[0, 2, 1, 3] == np.float32(state["conv1.weight"][3, 1, 0, 2])
    assert depthwise[0, 2, 3, 0] == np.float32(state["depthwise.weight"][3, 0, 0, 2])
    for weight, key in (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean")):
        value = getattr(network.get_layer("layer1_bn"), weight)
        np.testing.assert_array_equal(np.asarray(value), state[f"layer1.bn.{key}"].astype(np.float32))
    np.testing.assert_array_equal(network.get_layer("fc").get_weights()[0], dense)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.weight": None}, "here: it has nothing for layer `conv1` of `small`"),
        ({"layer1.bn.running_var": None}, "here: `layer1.bn.running_var` is missing, for layer `layer1_bn`"),
        (
            {"conv1.weight": np.zeros((4, 1, 3, 3))},
            r"shape \(4, 1, 3, 3\), which makes \(3, 3, 1, 4\).* \(3, 3, 3, 4\)",
        ),
        ({"layer9.0.conv1.weight": np.zeros(1)}, "`small` has no place for `layer9.0.conv1.weight`"),
        ({"conv1.bias": np.zeros(4)}, "`small` has no place for `conv1.bias`"),
    ],
)
def test_missing_unknown_and_misshapen_tensors_are_refused_by_name(change, message):
    state = {key: value for key, value in (small_state() | change).items() if value is not None}
    with pytest.raises(BadWeights, match=message):
        fill_from_torch(small_network(), state, ("fc.",), "here")


# --- Where files come from ----------------------------------------------------------------------------------------

CONTENT = b"weights" * 1000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/whole")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + (1 if self.path == "/cut" else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.mark.parametrize("checksum", [SHA256, SHA256[:15], MD5, None], ids=["sha256", "beginning", "md5", "none"])
def test_a_missing_file_is_downloaded_once(server, checksum, tmp_path):
    folder = tmp_path / "new" / "weights"
    path, sha256 = obtain("vgg16", "w.h5", f"{server}/whole", checksum, folder=folder, schemes=("http",))
    assert path == folder / "w.h5"
    assert path.read_bytes() == CONTENT
    assert f"sha256:{sha256}" == SHA256
    before = path.stat().st_mtime_ns
    assert obtain("vgg16", "w.h5", "https://nowhere.invalid/", checksum, folder=folder) == (path, sha256)
    assert path.stat().st_mtime_ns == before
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(
    ("page", "options", "message"),
    [
        ("cut", {}, "it broke off after 7,000 of 7,001 bytes"),
        ("whole", {"checksum": "sha256:" + "0" * 64}, "its sha256 is [0-9a-f]{64}, not 0{64}"),
        ("whole", {"largest": 6_999}, "it is larger than 6,999 bytes"),
        ("whole", {"schemes": ("https",)}, "it would come by `http`, and only https is trusted"),
        ("elsewhere", {}, "it would come by `ftp`, and only http is trusted"),
        ("missing", {}, "the server answers 404 Not Found"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_put_where(server, page, options, message, tmp_path):
    options = {"checksum": SHA256, "schemes": ("http",)} | options
    with pytest.raises(BadWeights, match=message) as error:
        obtain("vgg16", "w.h5", f"{server}/{page}", folder=tmp_path, **options)
    said = str(error.value)
    assert f"ImageNet weights of `vgg16` are wanted at {tmp_path / 'w.h5'}" in said
    assert f"fetch {server}/{page} ({options['checksum'].replace(':', ' ')}) and put it at {tmp_path / 'w.h5'}" in said
    assert list(tmp_path.iterdir()) == []


def test_no_network(tmp_path):
    with pytest.raises(BadWeights, match=r"the download failed: .*efused"):
        obtain("vgg16", "w.h5", "http://127.0.0.1:9/w.h5", None, folder=tmp_path, schemes=("http",))


def test_an_offline_cluster_is_told_which_file_to_put_where(tmp_path):
    with pytest.raises(BadWeights, match=r"`pretrained\.download` is off\. .*put it at .*w\.h5, or name its folder as"):
        obtain("vgg16", "w.h5", "https://nowhere.invalid/w.h5", SHA256, folder=tmp_path, download=False)


def test_a_file_of_another_content_is_refused(tmp_path):
    (tmp_path / "w.h5").write_bytes(CONTENT + b"!")
    with pytest.raises(BadWeights, match=r"w\.h5: wanted the ImageNet weights of `vgg16`, and its md5 is .* Delete it"):
        obtain("vgg16", "w.h5", "https://nowhere.invalid/w.h5", MD5, folder=tmp_path)


def test_weights_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "covidpipe" / "weights"


# --- From the config to the network -------------------------------------------------------------------------------


def study(task: str = "classify", pretrained: dict | None = None, **recipe: object) -> Config:
    recipe = {"dataset": "phantom-ct", "model": "shufflenet", "regime": "fine_tuned", "image_size": 32} | recipe
    return parse({"training": {"net": {"task": task} | recipe}, "pretrained": pretrained or {}}, "here")


def settings(config: Config) -> str:
    recipe = config.training["net"]
    return workflow.settings(config, "train", {key: getattr(recipe, key) for key in workflow.RECIPE_KEYS})


def test_regimes_are_rows():
    assert {name: (r.input, r.weights) for name, r in REGIMES["classify"].items()} == {
        "scratch_wavelet": ("wavelet", "random"),
        "scratch_original": ("harmonized", "random"),
        "fine_tuned": ("wavelet", "imagenet"),
        "scratch_authors_code": ("wavelet", "random"),
        "scratch_gain2_clip": ("wavelet", "random"),
        "lung_view": ("lung_view", "random"),
    }
    assert {name: (r.input, r.weights, r.pixel_weights) for name, r in REGIMES["segment_infection"].items()} == {
        "scratch": ("harmonized", "random", "uniform"),
        "scratch_attention": ("harmonized", "random", "median_frequency"),
        "fine_tuned": ("harmonized", "imagenet", "uniform"),
        "lung_view": ("lung_view", "random", "uniform"),
    }


def test_a_fine_tuned_recipe_starts_from_the_file_and_the_card_says_so(tmp_path):
    state = random_state("resnet18")
    save_file(state, tmp_path / "mine.safetensors")
    sha256 = hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    files = {"resnet18": {"file": "mine.safetensors", "checksum": f"sha256:{sha256}"}}
    config = study(model="resnet18", pretrained={"weights_dir": str(tmp_path), "download": False, "files": files})
    model, imagenet = untrained(config, config.training["net"])
    found = model.get_layer("layer4_1_conv2").get_weights()[0]
    np.testing.assert_array_equal(found, state["layer4.1.conv2.weight"].transpose(2, 3, 1, 0))
    assert model.input_shape == (None, 32, 32, 1)
    url = BACKBONES["resnet18"].url
    assert imagenet == {"network": "resnet18", "file": "mine.safetensors", "url": url, "sha256": sha256}
    assert f"started from | ImageNet weights of `resnet18`, `mine.safetensors`, sha256 `{sha256}` |\n" in card(imagenet)


def card(imagenet: dict[str, str] | None) -> str:
    """The card of a shipped network, had it started so."""
    return model_card(read_json(PACKAGE / "weights" / "ct_screening" / "run.json") | {"imagenet": imagenet})


def test_a_network_from_scratch_needs_no_file():
    config = study(regime="scratch_original", model="cov_ctnet", width=0.05, pretrained={"download": False})
    model, imagenet = untrained(config, config.training["net"])
    assert imagenet is None
    assert model.name == "cov_ctnet"
    assert "ImageNet" not in card(None)


def test_a_missing_file_stops_the_training(tmp_path):
    config = study(pretrained={"weights_dir": str(tmp_path), "download": False})
    with pytest.raises(BadWeights, match=r"of `shufflenet` are wanted at .*shufflenetv2_x1-5666bf0f80\.pth"):
        untrained(config, config.training["net"])


def test_training_runs_again_for_other_weights_and_not_for_another_folder():
    same = settings(study())
    assert settings(study(pretrained={"weights_dir": "/elsewhere", "download": False})) == same
    assert settings(study(pretrained={"files": {"vgg16": {"checksum": None}}})) == same
    assert settings(study(pretrained={"files": {"shufflenet": {"checksum": "sha256:00000000"}}})) != same
    unchecked = {"shufflenet": {"checksum": None}}
    assert settings(study(pretrained={"files": unchecked})) != settings(
        study(pretrained={"files": unchecked, "weights_dir": "/elsewhere"})
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "cov_ctnet"}, "there are none for `cov_ctnet`; these have them: vgg16, vgg19, .*shufflenet"),
        (
            {"task": "segment_infection", "model": "nabla3"},
            "none for `nabla3`; these have them: vgg16_segnet, vgg19_segnet, fcn8, deeplabv3_resnet18",
        ),
        ({"width": 0.5}, "ImageNet weights fit width 1 only, not 0.5"),
        ({"pretrained": {"files": {"vgg61": {}}}}, r"no ImageNet weights are used for `vgg61`.*Did you mean `vgg19`\?"),
        ({"pretrained": {"files": {"vgg16": {"url": "http://a"}}}}, r"`pretrained\.files\.vgg16\.url`: .*https"),
        ({"pretrained": {"files": {"vgg16": {"file": "../a.h5"}}}}, r"`pretrained\.files\.vgg16\.file`: .*pattern"),
        ({"pretrained": {"files": {"vgg16": {"sum": "a"}}}}, r"`pretrained\.files\.vgg16\.sum` is not a key"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(BadConfig, match=message):
        study(**given)
