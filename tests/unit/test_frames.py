"""Segmenters asked in a part of the frame: where the lungs are, they answer as in the whole frame."""

from __future__ import annotations

import dataclasses

import cv2
import keras
import numpy as np
import pytest

from covidpipe import models
from covidpipe.inference import engine, openvino
from covidpipe.inference.engine import LoadedModel
from covidpipe.inference.frames import Part, needed, part_for, resized, shapes, worthwhile
from covidpipe.inference.reach import Reach, reach_of
from covidpipe.io.files import file_sha256, write_json
from covidpipe.phantoms import phantom_volume
from covidpipe.registry import MODELS

SIZE = 192
# At 224 pixels: what the whole picture is seen by (global pooling), or frames that a stride does not divide.
REACHES = {
    "cov_raseg": Reach(21, 27, 4),
    "segnet": Reach(75, 75, 16),
    "u_segnet": Reach(75, 75, 16),
    "unet": Reach(107, 107, 16),
    "compact_unet": Reach(107, 107, 16),
    "vgg16_segnet": Reach(211, 211, 32),
    "deeplabv3_resnet18": None,
}


def chest() -> tuple[np.ndarray, np.ndarray]:
    """Slices of a drawn chest from the middle to the top, uint8, and their lungs."""
    drawn = phantom_volume(3, size=SIZE, slices=6)
    return np.clip((drawn.hu[2:] + 1350) * (255 / 1500), 0, 255).astype(np.uint8), drawn.lung_mask[2:]


@pytest.fixture(scope="module")
def cov_raseg() -> keras.Model:
    """Weights that make each pixel hang on its surroundings as strongly as trained ones do."""
    keras.utils.set_random_seed(5)
    network = models.build("cov_raseg", (SIZE, SIZE, 1), width=0.125)
    network.jit_compile = False
    return network


def in_parts(network: keras.Model, threshold: float = 0.5) -> LoadedModel:
    recipe = {"image_size": SIZE, "channels": 1, "threshold": threshold}
    return LoadedModel(recipe, "cov_raseg", {}, network, "keras", engine._keras_parts(network))


@pytest.mark.parametrize("name", REACHES)
def test_reaches(name):
    assert reach_of(models.build(name, (224, 224, 1), width=0.0625)) == REACHES[name]


@pytest.mark.parametrize("name", ["cov_raseg", "segnet", "compact_unet"])
def test_nothing_beyond_its_reach_changes_a_pixel(name):
    """A pixel in the middle of a picture whose rest is another one."""
    size, middle = 224, 112
    keras.utils.set_random_seed(0)  # of some weights, a network this small has ReLUs that are all zero there
    network = models.build(name, (size, size, 1), classes=1, width=0.0625)  # no ReLU that cuts off all it says
    network.jit_compile = False
    found = reach_of(network)
    assert found is not None
    rng = np.random.default_rng(0)
    one, other = rng.random((2, size, size, 1), np.float32)
    seen = slice(max(0, middle - found.before), middle + found.after + 1)
    other[seen, seen] = one[seen, seen]
    answers = [network.predict_on_batch(image[None])[0, middle, middle] for image in (one, other)]
    assert np.array_equal(*answers)
    other[middle - 2 : middle + 3, middle - 2 : middle + 3] = rng.random((5, 5, 1))
    assert not np.array_equal(answers[0], network.predict_on_batch(other[None])[0, middle, middle])


def test_every_segmenter_is_judged():
    segmenters = {name for name, spec in MODELS.items() if set(spec.tasks) != {"classify"}}
    # As another one above; or cropped, where a stride does not divide the frame.
    told = {*REACHES, "vgg19_segnet", "deeplabv3_resnet50", "nabla3", "fcn8"}
    assert segmenters == told


def test_what_is_not_known_or_not_square_has_no_reach():
    image = keras.Input((32, 32, 1))
    convolved = keras.layers.Conv2D(2, 3, padding="same")(image)
    for answer in (
        keras.layers.GroupNormalization(1)(convolved),  # by the whole picture
        keras.layers.Conv2D(2, 3)(image),  # another size
        keras.layers.UpSampling2D(2, interpolation="bicubic")(keras.layers.MaxPooling2D(2)(convolved)),
        convolved + keras.layers.GlobalAveragePooling2D(keepdims=True)(convolved),
        keras.layers.Flatten()(convolved),
    ):
        assert reach_of(keras.Model(image, answer)) is None
    assert reach_of(keras.Model(image, convolved)) == Reach(1, 1, 1)
    assert reach_of(keras.Sequential([keras.layers.Flatten()])) is None
    assert reach_of(models.build("fcn8", (100, 100, 1), width=0.0625)) is None


def test_inside_the_lungs_the_answer_is_that_of_the_whole_frame(cov_raseg):
    images, lungs = chest()
    network = in_parts(cov_raseg)
    assert network.parts_of_frame is not None and network.parts_of_frame.reach == Reach(21, 27, 4)
    whole, part = network.predict(images), network.predict_in(images, lungs)
    assert np.array_equal(part[lungs], whole[lungs]) and np.ptp(whole[lungs]) > 1e-3
    computed = [np.count_nonzero(one) / SIZE**2 for one in part]
    assert min(computed) < 0.7 and not np.array_equal(part, whole), "less than the frame was computed"


@pytest.mark.parametrize("where", [(0, 0), (150, 100), (110, 150), (0, 140)])
def test_lungs_at_the_border_of_the_frame(cov_raseg, where):
    images, _ = chest()
    lungs = np.zeros((1, SIZE, SIZE), bool)
    lungs[0, where[0] : where[0] + 42, where[1] : where[1] + 42] = True
    network = in_parts(cov_raseg)
    whole, part = network.predict(images[:1]), network.predict_in(images[:1], lungs)
    assert np.array_equal(part[lungs], whole[lungs]) and np.count_nonzero(part) < 0.6 * SIZE**2


def test_lungs_on_another_grid_are_interpolated_from_what_was_computed(cov_raseg):
    images, lungs = chest()
    finer = np.stack([cv2.resize(one.astype(np.uint8), (304, 304)) > 0 for one in lungs])
    network = in_parts(cov_raseg)
    for one, other, lung in zip(network.predict(images), network.predict_in(images, finer), finer, strict=True):
        assert np.array_equal(cv2.resize(one, (304, 304))[lung], cv2.resize(other, (304, 304))[lung])


def test_images_without_lungs_are_not_computed(cov_raseg, monkeypatch):
    images, lungs = chest()
    lungs[1:] = False
    network = in_parts(cov_raseg)
    asked = []
    whole = LoadedModel._predict_parts
    monkeypatch.setattr(
        LoadedModel, "_predict_parts", lambda self, some, shape: asked.append(len(some)) or whole(self, some, shape)
    )
    found = network.predict_in(images, lungs)
    assert asked == [1] and found[0].any() and not found[1:].any()
    nothing = dataclasses.replace(network, parts_of_frame=None).predict_in(images, np.zeros_like(lungs))
    assert asked == [1] and not nothing.any()


def test_openvino_has_the_same_masks_in_parts_and_keeps_them(cov_raseg, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images, lungs = chest()
    folder = tmp_path / "infection"
    folder.mkdir()
    cov_raseg.save(folder / "model.keras")
    threshold = float(np.median(in_parts(cov_raseg).predict(images)[lungs]))
    recipe = {"model": "cov_raseg", "task": "segment_infection", "input": "harmonized", "image_size": SIZE}
    record = {"recipe": recipe | {"channels": 1, "threshold": threshold}, "images": {}}
    write_json(folder / "run.json", record | {"weights_sha256": file_sha256(folder / "model.keras")})
    for _ in range(2):  # derived, then from the cache
        network = engine.load_model_folder(folder, "openvino")
        assert network.parts_of_frame is not None
        assert list(network.parts_of_frame.networks) == shapes(SIZE, 4)
        whole, part = network.predict(images), network.predict_in(images, lungs)
        assert np.abs(part - whole)[lungs].max() < 1e-5
        assert np.array_equal((part >= threshold)[lungs], (whole >= threshold)[lungs])
        monkeypatch.setattr(engine, "_keras_network", None)
    assert engine.load_model_folder(folder, "openvino").engine == f"openvino {openvino.version()}"


def test_a_part_holds_what_is_seen_around_the_lungs_or_there_is_none():
    reach = Reach(21, 27, 4)
    some = shapes(304, 4)
    part = part_for((slice(100, 200), slice(60, 240)), reach, some, 304)
    assert part == Part(76, 36, 180, 252)
    assert part_for((slice(100, 200), slice(10, 300)), reach, some, 304) == Part(76, 0, 228, 304)
    assert part_for((slice(20, 290), slice(10, 300)), reach, some, 304) is None
    assert part_for((slice(290, 304), slice(0, 9)), reach, some, 304) == Part(124, 0, 180, 252)


def test_where_linear_interpolation_looks():
    lung = np.zeros((96, 96), bool)
    lung[0, 95] = True
    assert needed(lung, 96) == (slice(0, 2), slice(95, 96))
    assert needed(lung, 32) == (slice(0, 1), slice(31, 32))


def test_a_network_that_sees_most_of_the_frame_is_asked_for_all_of_it():
    assert worthwhile(models.build("segnet", (224, 224, 1), width=0.0625)) is None
    assert worthwhile(models.build("cov_raseg", (192, 192, 1), width=0.0625)) == (Reach(21, 27, 4), shapes(192, 4))
    assert worthwhile(models.build("cov_raseg", (128, 128, 1), width=0.0625)) is None


def test_another_size_has_the_same_weights(cov_raseg):
    other = resized(cov_raseg, (64, 96))
    assert other.output_shape == (None, 64, 96, 2)
    assert all(np.array_equal(*pair) for pair in zip(other.get_weights(), cov_raseg.get_weights(), strict=True))
