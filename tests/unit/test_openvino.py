"""Networks on OpenVINO answer as Keras does, and are derived once."""

from __future__ import annotations

import logging
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny_cohort as tiny

from covidpipe import models
from covidpipe.errors import CovidpipeError, UsageError
from covidpipe.inference import engine, openvino
from covidpipe.io.files import cache_folder, read_json
from covidpipe.provenance import PACKAGE
from covidpipe.registry import SHIPPED


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "openvino"


def never() -> keras.Model:
    raise AssertionError("what is in the cache is not derived again")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_network_answers_as_on_keras_for_any_number_of_images(name, cache):
    folder = PACKAGE / "weights" / name
    keras_network, fast = engine.load_model_folder(folder), engine.load_model_folder(folder, "openvino")
    assert fast.engine == f"openvino {openvino.version()}" and keras_network.engine.startswith("keras 3.")
    assert fast.model_id == keras_network.model_id and fast.network.output_shape == keras_network.network.output_shape
    size = fast.recipe["image_size"]
    images = (openvino.trial_images(size, size, 1)[..., 0] * 255).astype(np.uint8)
    images = np.concatenate([images, images[::-1, ::-1], images[:, :, ::-1]])
    wanted = keras_network.predict(images)
    assert np.abs(fast.predict(images) - wanted).max() < openvino.MOST_APART and wanted.std() > 0.01
    assert np.array_equal(fast.predict(images[:5]), fast.predict(images)[:5])
    assert fast.predict(images[:0]).shape == wanted[:0].shape
    (record,) = cache.glob("*/record.json")
    assert read_json(record)["largest_difference"] < 1e-4


@pytest.mark.parametrize("name", ["cov_raseg", "segnet", "unet", "deeplabv3_resnet18"])
def test_networks_with_unpooling_and_atrous_convolutions_can_be_derived(name, cache):
    """Weights near zero: what is compared is the translation, not how drawn weights amplify a rounding."""
    network = models.build(name, (64, 64, 1), width=0.125)
    network.set_weights([weight * 0.5 for weight in network.get_weights()])
    fast = openvino.load("0" * 64, lambda: network)
    images = openvino.trial_images(64, 64, 1)
    assert np.abs(fast.predict_on_batch(images) - network.predict_on_batch(images)).max() < openvino.MOST_APART


def test_it_is_derived_once_and_again_if_the_cache_is_damaged(cache, tmp_path):
    folder = tiny.write_model(tmp_path / "lungs", "segment_lungs")
    first = engine.load_model_folder(folder, "openvino")
    (kept,) = cache.iterdir()
    openvino.load(read_json(kept / "record.json")["weights_sha256"], never)
    (kept / "network.bin").write_bytes(b"damaged")
    again = engine.load_model_folder(folder, "openvino")
    images = np.random.default_rng(0).integers(0, 256, (3, tiny.SIZE, tiny.SIZE), np.uint8)
    assert np.array_equal(first.predict(images), again.predict(images))
    assert [file.name for file in cache.iterdir()] == [kept.name], "nothing half made is left"


def test_its_makers_are_told_nothing(cache, tmp_path):
    engine.load_model_folder(tiny.write_model(tmp_path / "lungs", "segment_lungs"), "openvino")
    from openvino.tools.ovc import convert_impl, telemetry_utils

    assert {telemetry_utils.tm.__name__, convert_impl.tm.__name__} == {"openvino.tools.ovc.telemetry_stub"}
    assert not [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]


def test_a_cache_that_cannot_be_written_costs_time_only(cache, tmp_path, caplog):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where a folder should be")
    folder = tiny.write_model(tmp_path / "lungs", "segment_lungs")
    network = engine.load_model_folder(folder, "openvino")
    assert "is derived anew by every job" in caplog.text
    assert network.predict(np.zeros((1, tiny.SIZE, tiny.SIZE), np.uint8)).min() > 0.99


def test_another_answer_is_refused_by_name_and_auto_goes_back_to_keras(cache, tmp_path, monkeypatch, caplog):
    folder = tiny.write_model(tmp_path / "lungs", "segment_lungs")
    monkeypatch.setattr(openvino, "MOST_APART", -1.0)
    with pytest.raises(CovidpipeError, match=r"answers otherwise than Keras for .*differ by up to .*`engine: keras`"):
        engine.load_model_folder(folder, "openvino")
    assert not list(cache.iterdir())
    monkeypatch.setattr(engine, "_sees_gpu", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert engine.load_model_folder(folder, "auto").engine.startswith("keras")
    assert "lungs: it runs on Keras, because" in caplog.text


def test_a_network_that_openvino_cannot_run_is_told(cache, monkeypatch):
    def export(*args, **kwargs):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(keras.Model, "export", export)
    image = keras.Input((8, 8, 1))
    strange = keras.Model(image, keras.layers.ReLU()(image), name="strange")
    with pytest.raises(CovidpipeError, match=r"cannot run strange: no such operation\. Set `engine: keras`"):
        openvino.load("1" * 64, lambda: strange)


def test_auto_takes_openvino_unless_there_is_a_gpu_or_no_openvino(monkeypatch):
    monkeypatch.setattr(engine, "_sees_gpu", lambda: False)
    assert [engine.choose(name) for name in ("auto", "keras", "openvino")] == ["openvino", "keras", "openvino"]
    monkeypatch.setattr(engine, "_sees_gpu", lambda: True)
    assert engine.choose("auto") == "keras" and engine.choose("openvino") == "openvino"
    monkeypatch.setattr(openvino, "installed", lambda: False)
    monkeypatch.setattr(engine, "_sees_gpu", lambda: False)
    assert engine.choose("auto") == "keras"
    for name in openvino.PRECISIONS:
        with pytest.raises(UsageError, match=rf"engine: {name} was asked for, .* not installed.*`engine: auto`"):
            engine.choose(name)


def test_bfloat16_is_taken_by_name_alone_and_only_where_the_processor_computes_it(monkeypatch):
    monkeypatch.setattr(engine, "_sees_gpu", lambda: False)
    monkeypatch.setattr(openvino, "bfloat16_instructions", lambda: ["amx_bf16"])
    assert [engine.choose(name) for name in ("openvino_bf16", "auto")] == ["openvino_bf16", "openvino"]
    monkeypatch.setattr(openvino, "bfloat16_instructions", list)
    with pytest.raises(
        UsageError, match=r"no instructions for bfloat16 \(one of amx_bf16, avx512_bf16 .*`engine: openv"
    ):
        engine.choose("openvino_bf16")


NATIVE = pytest.mark.skipif(not openvino.bfloat16_instructions(), reason="a processor without bfloat16")


@NATIVE
def test_infection_alone_is_computed_in_bfloat16_and_near_float32(cache):
    for name in ("ct_screening", "ct_infection"):
        plain, rounded = (engine.load_model_folder(PACKAGE / "weights" / name, one) for one in openvino.PRECISIONS)
        size = plain.recipe["image_size"]
        images = (openvino.trial_images(size, size, 1)[..., 0] * 255).astype(np.uint8)
        apart = np.abs(plain.predict(images) - rounded.predict(images)).max()
        assert plain.precision == "float32" and plain.largest_difference == rounded.largest_difference < 1e-4
        if name == "ct_infection":
            assert rounded.precision == "bfloat16" and 1e-4 < apart < 0.2
        else:
            assert rounded.precision == "float32" and apart == 0
    assert len(list(cache.iterdir())) == 2, "both engines share what is derived"


def test_a_precision_that_openvino_passes_over_is_told(cache, tmp_path, monkeypatch):
    engine.load_model_folder(tiny.write_model(tmp_path / "lungs", "segment_lungs"), "openvino")
    (file,) = cache.glob("*/network.xml")
    core = openvino._core()

    class Deaf:
        read_model = core.read_model

        def compile_model(self, model, device, settings):
            return core.compile_model(model, device, {**settings, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino, "_core", Deaf)
    with pytest.raises(CovidpipeError, match=r"asked to compute in bf16 and computes in f32 .*`engine: openvino`"):
        openvino.OpenVinoNetwork(file, "bfloat16")


LEAVES_NO_STACK = """
import faulthandler, os, signal, sys
import numpy as np
from pathlib import Path
from covidpipe.inference.openvino import OpenVinoNetwork
import openvino
from openvino import opset8

faulthandler.enable()
image = opset8.parameter([1, 8, 8, 1], np.float32)
openvino.save_model(openvino.Model([opset8.sigmoid(image)], [image]), sys.argv[1])
first = OpenVinoNetwork(Path(sys.argv[1]))
second = OpenVinoNetwork(Path(sys.argv[1]))
del first
del second
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("told"))
os.kill(os.getpid(), signal.SIGTERM)
print(heard)
"""


def test_a_signal_is_heard_after_networks_have_come_and_gone(tmp_path):
    """OpenVINO's cores lay signal stacks of their own under the main thread, and freed the last one too early."""
    ended = subprocess.run(
        [sys.executable, "-c", LEAVES_NO_STACK, str(tmp_path / "network.xml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "['told']\n"), ended.stderr
