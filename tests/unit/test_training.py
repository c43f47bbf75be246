"""Losses by hand, augmentation, batches, the choice of epoch and threshold, and byte-stable weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from covidpipe.config import Recipe, Schedule
from covidpipe.training.augmentation import augment
from covidpipe.training.losses import class_weights


def test_class_weights_of_the_released_network():
    background, infected = class_weights(0.5 / 1.3200942)
    assert infected == pytest.approx(1.3200942)
    assert background == pytest.approx(0.8048430, abs=1e-6)


def _losses():
    keras = pytest.importorskip("keras")
    from covidpipe.training import losses

    return losses, lambda value: float(keras.ops.convert_to_numpy(value))


def test_dice_loss_by_hand():
    losses, number = _losses()
    truth = np.array([[[1, 1], [0, 0]]], np.uint8)
    output = np.array([[[[0.5], [1.0]], [[0.5], [0.0]]]], np.float32)
    # both = 1.5, found = 2, truth = 2, each with one extra pixel
    assert number(losses.dice_loss(truth, output)) == pytest.approx(1 - (2 * 1.5 + 1) / (2 + 2 + 1))


def test_dice_loss_of_nothing_found_where_nothing_is():
    losses, number = _losses()
    empty = np.zeros((2, 4, 4), np.uint8)
    assert number(losses.dice_loss(empty, np.zeros((2, 4, 4, 1), np.float32))) == pytest.approx(0, abs=1e-6)
    one_false = np.zeros((2, 4, 4, 1), np.float32)
    one_false[0, 0, 0, 0] = 1
    assert number(losses.dice_loss(empty, one_false)) == pytest.approx(0.5)


def test_weighted_pixel_cross_entropy_by_hand():
    losses, number = _losses()
    truth = np.array([[[1, 0]]], np.uint8)
    output = np.array([[[[0.75, 0.25], [0.5, 0.5]]]], np.float32)  # softmax: the last channel counts
    wanted = -(3 * math.log(0.25) + 1 * math.log(0.5)) / 2 / (0.5 * (3 + 1))
    assert number(losses.pixel_cross_entropy((1.0, 3.0))(truth, output)) == pytest.approx(wanted, rel=1e-5)


def test_augmentation_keeps_type_and_moves_masks_with_the_image():
    rng = np.random.default_rng(0)
    image = np.zeros((64, 64), np.uint8)
    image[20:44, 20:44] = 200
    mask = (image > 0).astype(np.uint8)
    for _ in range(20):
        changed, moved = augment(image, mask, rng)
        assert changed.dtype == np.uint8 and changed.shape == image.shape
        assert set(np.unique(moved)) <= {0, 1}
        inside, outside = changed[moved > 0], changed[moved == 0]
        assert inside.mean() > outside.mean() + 30


def test_augmentation_never_mirrors():
    """A bright dot left of the middle stays left, whatever the draw."""
    image = np.zeros((65, 65), np.uint8)
    mask = np.zeros((65, 65), np.uint8)
    mask[30:35, 5:10] = 1
    rng = np.random.default_rng(1)
    for _ in range(100):
        _, moved = augment(image, mask, rng)
        columns = np.nonzero(moved)[1]
        assert columns.size and columns.mean() < 32


def test_batches_are_the_same_for_the_same_seed_and_differ_by_epoch():
    from covidpipe.training.batches import Batches

    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (10, 16, 16), dtype=np.uint8)
    masks = (images > 128).astype(np.uint8)
    groups = np.array(list("aaaaaaaabb"))

    def make():
        return Batches(images, masks, groups, batch_size=4, channels=1, seed=3, images_per_epoch=7)

    batches = make()
    assert len(batches) == 2
    first, again, other = (list(b.epoch(e)) for b, e in ((batches, 0), (make(), 0), (batches, 1)))
    assert [images.shape for images, _ in first] == [(4, 16, 16, 1)] * 2  # 7 drawn, the last batch filled up
    for (images, truth), (same, same_truth) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(truth, same_truth)
        assert images.min() >= 0 and images.max() <= 1
    assert not np.array_equal(first[0][0], other[0][0])


def test_an_epoch_without_a_number_sees_every_image():
    from covidpipe.training.batches import Batches

    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    batches = Batches(
        images,
        np.arange(6, dtype=np.uint8),
        np.array(list("abcdef")),
        batch_size=4,
        channels=3,
        seed=0,
        augmented=False,
    )
    seen = np.concatenate([truth for _, truth in batches.epoch(0)])
    assert len(seen) == 8 and set(seen) == set(range(6))
    inputs, truth = next(batches.epoch(0))
    np.testing.assert_allclose(inputs[..., 2], (truth / 255)[:, None, None] * np.ones((1, 4, 4)), rtol=1e-6)


def test_patients_with_many_slices_are_drawn_less_often_an_image():
    from covidpipe.training.batches import draw_weights

    weights = draw_weights(np.array(list("aaaab")))
    assert weights.sum() == pytest.approx(1)
    assert weights[4] / weights[0] == pytest.approx(2)  # square root of 4 : 1


def test_best_threshold_prefers_the_middle_of_equals():
    from covidpipe.training.fit import best_threshold

    probability = np.array([0.1, 0.2, 0.8, 0.9], np.float32)
    assert best_threshold(probability, np.array([0, 0, 1, 1], np.uint8)) == 0.5
    masks = np.zeros((1, 2, 2), np.uint8)
    masks[0, 0] = 1
    assert best_threshold(np.where(masks, 0.3, 0.25).astype(np.float32), masks) == pytest.approx(0.3)


def _tiny_task(seed=0):
    """A bright square on a dark field: found by any network that learns at all."""
    from covidpipe.training.fit import Labelled

    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (24, 16, 16), dtype=np.uint8)
    masks = np.zeros_like(images)
    for i in range(len(images)):
        r, c = rng.integers(2, 8, 2)
        masks[i, r : r + 6, c : c + 6] = 1
    images[masks > 0] += 150
    groups = np.array([f"p{i // 4}" for i in range(24)])
    return Labelled(images[:16], masks[:16], groups[:16]), Labelled(images[16:], masks[16:], groups[16:])


def _train_tiny():
    import keras

    from covidpipe.provenance import prepare_backend
    from covidpipe.training.fit import fit

    prepare_backend(5)
    inputs = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax", name="head")(x), name="tiny")
    recipe = Recipe(
        task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=16, channels=1
    )
    schedule = Schedule(
        epochs=3, batch_size=4, learning_rate=0.05, optimizer="adam", loss="cross_entropy_dice", images_per_epoch=160
    )
    train, validation = _tiny_task()
    return model, *fit(model, recipe, schedule, train, validation, 5, None)


def test_fit_learns_and_twice_the_same(tmp_path):
    from covidpipe.io.keras_files import save_model

    first, threshold, best_epoch, history = _train_tiny()
    second, *_, again = _train_tiny()
    assert history == again
    scores = [r["value"] for r in history if r["part"] == "validation" and r["measure"] == "score"]
    assert len(scores) == 3 and max(scores) > 0.9
    assert best_epoch == int(np.argmax(scores)) and 0.05 <= threshold <= 0.95
    save_model(first, tmp_path / "a.keras")
    save_model(second, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_saved_model_answers_as_before(tmp_path):
    import keras

    from covidpipe.io.keras_files import save_model
    from covidpipe.training.fit import predict

    model, *_ = _train_tiny()
    save_model(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    images = np.random.default_rng(1).integers(0, 255, (5, 16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(predict(model, images, 1), predict(loaded, images, 1))


def test_step_decay_divides_by_ten_every_25_epochs():
    from covidpipe.training.fit import make_optimizer

    schedule = Schedule(epochs=60, batch_size=8, learning_rate=1e-3, optimizer="adam", decay="step")
    rate = make_optimizer(schedule, steps_per_epoch=10)._learning_rate
    assert [float(rate(step)) for step in (0, 249, 251, 501)] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])
