"""Losses by hand, batches, the choice of epoch and threshold, one fit, and byte-stable weights."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from covidpipe.config import Recipe, Schedule
from covidpipe.errors import CovidpipeError
from covidpipe.inference.batched import probabilities
from covidpipe.metrics.segmentation import dice
from covidpipe.training.batches import Batches, draw_weights, made_ahead
from covidpipe.training.labelled import Labelled
from covidpipe.training.losses import class_weights
from covidpipe.training.validation import THRESHOLDS, MaskCounts, judge_labels

RECIPE = Recipe(task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=16)


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


def labelled(images, truth, groups) -> Labelled:
    positive = truth.reshape(len(truth), -1).any(axis=1)
    return Labelled(images, truth, np.asarray(groups), positive, float(truth.mean()), "")


def test_batches_are_the_same_for_the_same_seed_and_differ_by_epoch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (10, 16, 16), dtype=np.uint8)
    part = labelled(images, (images > 128).astype(np.uint8), list("aaaaaaaabb"))

    def make(seed=3):
        return Batches(part, batch_size=4, channels=1, seed=seed, images_per_epoch=7)

    batches = make()
    assert len(batches) == 2 and batches.shapes == ((4, 16, 16, 1), (4, 16, 16))
    first, again, other, seed = (list(b.epoch(e)) for b, e in ((batches, 0), (make(), 0), (batches, 1), (make(4), 0)))
    assert [images.shape for images, _ in first] == [(4, 16, 16, 1)] * 2  # 7 drawn, the last batch filled up
    for (images, truth), (same, same_truth) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(truth, same_truth)
        assert images.min() >= 0 and images.max() <= 1
    assert not np.array_equal(first[0][0], other[0][0]) and not np.array_equal(first[0][0], seed[0][0])


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_made_ahead_by_threads_are_those_of_each_epoch_in_order(workers):
    rng = np.random.default_rng(0)
    part = labelled(
        rng.integers(0, 255, (9, 16, 16), dtype=np.uint8), np.arange(9, dtype=np.uint8) % 2, list("abcdefghi")
    )
    batches = Batches(part, batch_size=2, channels=3, seed=1)
    wanted = [batch for epoch in (1, 2) for batch in batches.epoch(epoch)]
    found = list(batches.stream(1, 3, workers))
    assert len(found) == len(wanted) == 10
    for (images, truth), (same, same_truth) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(images, same)
        np.testing.assert_array_equal(truth, same_truth)


def test_what_is_made_ahead_is_bounded_and_an_error_in_a_thread_is_told():
    made = []

    def make(item):
        made.append(item)
        if item == 5:
            raise OSError("the disk went away")
        return item

    ahead = made_ahead(make, iter(range(100)), 2)
    assert next(ahead) == 0
    time.sleep(0.05)
    assert len(made) <= 3
    with pytest.raises(OSError, match="the disk went away"):
        list(ahead)


def test_an_epoch_without_a_number_sees_every_image():
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    part = labelled(images, np.arange(6, dtype=np.uint8), list("abcdef"))
    batches = Batches(part, batch_size=4, channels=3, seed=0, preset="none")
    seen = np.concatenate([truth for _, truth in batches.epoch(0)])
    assert len(seen) == 8 and set(seen) == set(range(6))
    inputs, truth = next(batches.epoch(0))
    np.testing.assert_allclose(inputs[..., 2], (truth / 255)[:, None, None] * np.ones((1, 4, 4)), rtol=1e-6)


def test_balanced_classes_are_seen_equally_often_and_every_image_of_the_larger_once():
    truth = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], np.uint8)
    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    part = labelled(images, truth, [str(i) for i in range(10)])
    batches = Batches(part, batch_size=4, channels=1, seed=0, balance=True)
    order = batches.order(0)
    assert len(order) == 16 and np.bincount(order).tolist() == [4, 4] + [1] * 8
    drawn = Batches(part, batch_size=4, channels=1, seed=0, balance=True, images_per_epoch=4000).order(0)
    assert truth[drawn].mean() == pytest.approx(0.5, abs=0.03)
    assert truth[Batches(part, batch_size=4, channels=1, seed=0).order(0)].sum() < 5
    one_class = Batches(labelled(images[:2], truth[:2], ["a", "b"]), batch_size=2, channels=1, seed=0, balance=True)
    assert sorted(one_class.order(0)) == [0, 1]


def test_patients_with_many_slices_are_drawn_less_often_an_image():
    weights = draw_weights(np.array(list("aaaab")))
    assert weights.sum() == pytest.approx(1)
    assert weights[4] / weights[0] == pytest.approx(2)  # square root of 4 : 1


def test_the_best_threshold_is_the_middle_of_equals():
    truth = np.array([0, 0, 1, 1], np.uint8)
    assert judge_labels(np.array([0.1, 0.2, 0.8, 0.9], np.float32), truth).threshold == 0.5
    masks = np.zeros((1, 2, 2), np.uint8)
    masks[0, 0] = 1
    counts = MaskCounts()
    counts.add(np.where(masks, 0.3, 0.25).astype(np.float32), masks)
    assert counts.threshold() == pytest.approx(0.3)


def test_a_single_class_is_scored_by_its_loss():
    verdict = judge_labels(np.array([0.5, 0.5], np.float32), np.array([1, 1], np.uint8))
    assert verdict.score == pytest.approx(-math.log(2)) and verdict.measures["loss"] == pytest.approx(math.log(2))


def test_counts_over_batches_give_the_dice_of_all_pixels_together():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (7, 8, 8), dtype=np.uint8)
    probability = np.clip(truth * 0.3 + rng.random((7, 8, 8)) * 0.7, 0, 1).astype(np.float32)
    counts = MaskCounts()
    for start in range(0, 7, 3):
        counts.add(probability[start : start + 3], truth[start : start + 3])
    wanted = [dice(probability >= t, truth > 0) for t in THRESHOLDS.astype(np.float32)]
    np.testing.assert_allclose(counts.dice(), wanted, rtol=1e-12)


def test_nothing_found_where_nothing_is_is_a_dice_of_one():
    counts = MaskCounts()
    counts.add(np.full((1, 2, 2), 0.3, np.float32), np.zeros((1, 2, 2), np.uint8))
    assert counts.dice()[0] == 0 and counts.dice()[-1] == 1


def _tiny_task(seed=0):
    """A bright square on a dark field: found by any network that learns at all."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (24, 16, 16), dtype=np.uint8)
    masks = np.zeros_like(images)
    for i in range(len(images)):
        r, c = rng.integers(2, 8, 2)
        masks[i, r : r + 6, c : c + 6] = 1
    images[masks > 0] += 150
    groups = np.array([f"p{i // 4}" for i in range(24)])
    return labelled(images[:16], masks[:16], groups[:16]), labelled(images[16:], masks[16:], groups[16:])


def _train_tiny():
    import keras

    from covidpipe.provenance import prepare_backend
    from covidpipe.training.fit import fit

    prepare_backend(5)
    inputs = keras.Input((16, 16, 1), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, activation="softmax", name="head")(x), name="tiny")
    schedule = Schedule(
        epochs=3, batch_size=4, learning_rate=0.05, optimizer="adam", loss="cross_entropy_dice", images_per_epoch=160
    )
    train, validation = _tiny_task()
    return model, fit(model, RECIPE, schedule, train, validation, 5, None)


def test_fit_learns_and_twice_the_same(tmp_path):
    from covidpipe.io.keras_files import save_model

    first, fitted = _train_tiny()
    second, again = _train_tiny()
    assert fitted.history == again.history
    scores = [r["value"] for r in fitted.history if r["part"] == "validation" and r["measure"] == "score"]
    assert len(scores) == 3 and max(scores) == fitted.best_score > 0.9
    assert fitted.best_epoch == int(np.argmax(scores)) and 0.05 <= fitted.threshold <= 0.95
    assert fitted.facts["images_per_second"] > 0 and 0 <= fitted.facts["input_wait_share"] < 1
    assert fitted.facts["peak_memory_mib"] > 50 and fitted.facts["resumed_after_epochs"] is None
    save_model(first, tmp_path / "a.keras")
    save_model(second, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_no_epoch_clears_the_compiled_functions(monkeypatch):
    """A new global seed does: TensorFlow then takes as long as for the first step, 17 s of a small NABLA-3."""
    import tensorflow as tf

    from covidpipe.training.fit import fit

    seeds = []
    monkeypatch.setattr(tf.random, "set_seed", seeds.append)
    schedule = Schedule(epochs=2, batch_size=4, learning_rate=0.05, images_per_epoch=4)
    model = _one_layer()
    seeds.clear()
    fit(model, RECIPE, schedule, *_tiny_task(), 5, None)
    assert seeds == []


def _one_layer():
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(inputs))


def test_the_running_mean_of_the_weights_is_kept_and_training_goes_on_with_the_newest():
    """Against the same run without a mean, one epoch at a time: its weights after each step, averaged by hand."""
    from covidpipe.training.fit import fit

    train, validation = _tiny_task()
    common = {"batch_size": 4, "learning_rate": 0.05, "optimizer": "adam", "images_per_epoch": 4, "keep": "last"}
    steps = []
    for epochs in (1, 2, 3):
        model = _one_layer()
        fit(model, RECIPE, Schedule(epochs=epochs, **common), train, validation, 5, None)
        steps.append(model.get_weights())
    wanted = steps[0]
    for newer in steps[1:]:
        wanted = [0.75 * mean + 0.25 * new for mean, new in zip(wanted, newer, strict=True)]
    model = _one_layer()
    fit(model, RECIPE, Schedule(epochs=3, average=0.75, **common), train, validation, 5, None)
    for found, mean in zip(model.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(found, mean, atol=1e-6)


def test_without_validation_patients_the_last_epoch_is_kept_and_nothing_chosen():
    from covidpipe.training.fit import fit

    train, _ = _tiny_task()
    schedule = Schedule(epochs=2, batch_size=4, learning_rate=0.05, optimizer="adam")
    fitted = fit(_one_layer(), RECIPE, schedule, train, None, 5, None)
    assert (fitted.best_epoch, fitted.best_score, fitted.threshold) == (1, None, 0.5)
    assert {row["part"] for row in fitted.history} == {"train"}


def test_the_last_epoch_is_kept_where_the_schedule_says_so():
    """A rate so high that the first epoch is the best: the last one is kept all the same."""
    from covidpipe.training.fit import fit

    train, validation = _tiny_task()
    for keep in ("best", "last"):
        schedule = Schedule(epochs=4, batch_size=4, learning_rate=2.0, optimizer="adam", keep=keep)
        fitted = fit(_one_layer(), RECIPE, schedule, train, validation, 5, None)
        scores = [row["value"] for row in fitted.history if row["measure"] == "score"]
        kept = 3 if keep == "last" else int(np.argmax(scores))
        assert (fitted.best_epoch, fitted.best_score) == (kept, scores[kept])
    assert int(np.argmax(scores)) < 3, "or this shows nothing"


def test_saved_model_answers_as_before(tmp_path):
    import keras

    from covidpipe.io.keras_files import save_model

    model, _ = _train_tiny()
    save_model(model, tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    images = np.random.default_rng(1).integers(0, 255, (5, 16, 16), dtype=np.uint8)
    found = probabilities(loaded, images, 1, batch_size=2)
    assert found.shape == (5, 16, 16) and found.dtype == np.float32
    np.testing.assert_array_equal(probabilities(model, images, 1, batch_size=2), found)
    np.testing.assert_allclose(probabilities(model, images, 1, batch_size=16), found, rtol=1e-5)


@pytest.mark.parametrize("every", [25, 10])
def test_step_decay_divides_by_ten_every_so_many_epochs(every):
    from covidpipe.training.fit import make_optimizer

    schedule = Schedule(epochs=60, batch_size=8, learning_rate=1e-3, optimizer="adam", decay="step", decay_every=every)
    rate = make_optimizer(schedule, steps_per_epoch=10)._learning_rate
    steps = (0, every * 10 - 1, every * 10, every * 20 - 1, every * 20)
    assert [float(rate(step)) for step in steps] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_the_loss_of_an_epoch_is_the_mean_of_its_batches():
    """With a learning rate of next to nothing, the weights stay what they were; the last batch alone differs."""
    import keras

    from covidpipe.training.fit import fit
    from covidpipe.training.losses import pixel_cross_entropy

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(inputs))
    train, validation = _tiny_task()
    schedule = Schedule(epochs=1, batch_size=4, learning_rate=1e-9, optimizer="sgd")
    batches = Batches(train, batch_size=4, channels=1, seed=5)
    losses = [float(pixel_cross_entropy()(truth, model(images))) for images, truth in batches.epoch(0)]
    assert np.ptp(losses) > 1e-3
    fitted = fit(model, RECIPE, schedule, train, validation, 5, None)
    assert fitted.history[0]["value"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_weights_that_run_away_are_told():
    import keras

    from covidpipe.training.fit import fit

    inputs = keras.Input((16, 16, 1))
    hidden = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3, padding="same", activation="softmax")(hidden))
    schedule = Schedule(epochs=1, batch_size=4, learning_rate=1e30, optimizer="sgd", images_per_epoch=32)
    with pytest.raises(CovidpipeError, match=r"epoch 1: nabla3 no longer answers with numbers.*Lower `learning_rate`"):
        fit(model, RECIPE, schedule, *_tiny_task(), 5, None)
