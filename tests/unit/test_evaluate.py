"""Test results of a network whose answers are drawn, so that every figure is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covidpipe.config import Recipe
from covidpipe.errors import BadConfig, PatientLeak
from covidpipe.io.files import to_table
from covidpipe.metrics import controls
from covidpipe.schemas import METRICS_IMAGES, METRICS_SUMMARY, RELIABILITY
from covidpipe.stages.evaluate import judge_labels, judge_masks
from covidpipe.stages.simple_answers import simple_answers
from covidpipe.training.labelled import labelled_parts


class Network:
    """Answers with the image itself: the probability of a pixel is its grey level, that of an image its mean."""

    model_id = "drawn@000000000000"

    def __init__(self, threshold: float, whole_image: bool, temperature: float = 1.0):
        self.recipe = {"threshold": threshold}
        self.whole_image = whole_image
        self.temperature = temperature

    def predict(self, images, *, calibrated=True):
        answer = images.astype(np.float32) / 255
        return answer.mean(axis=(1, 2)) if self.whole_image else answer


def store(**arrays):
    size = next(iter(arrays.values())).shape[-1]
    return SimpleNamespace(read=lambda name, positions: arrays[name][positions], size=size)


def rows_of(n, size=4, **columns):
    """Rows of a part: two images a patient, no padding, no spacing, a lung mask."""
    groups = [f"patient-{i // 2}" for i in range(n)]
    given = {
        "n": range(n),
        "image_id": [f"i{i}" for i in range(n)],
        "group": groups,
        "patient_id": [*groups[:-1], None],
        "has_lung_mask": True,
        **dict.fromkeys(("top", "left"), 0),
        **dict.fromkeys(("height", "width", "native_rows", "native_columns"), size),
        **dict.fromkeys(("row_spacing_mm", "column_spacing_mm"), np.nan),
    }
    return pd.DataFrame({**given, **columns})


def value(summary, subject, measure):
    (row,) = [r for r in summary if r["subject"] == subject and r["measure"] == measure]
    return row


def drawn_masks():
    images = np.zeros((4, 4, 4), np.uint8)
    truth = np.zeros_like(images)
    images[0, 0, :2] = 255  # found 2
    truth[0, 0, :4] = 1  # of 4: Dice 2/3; 12.5 % found, 25 % true
    images[1, 1, 1] = 255  # found one where there is none: 6.25 % found, 0 % true
    images[2, 2, :] = 255  # exact
    truth[2, 2, :] = 1
    return store(image=images, infection_mask=truth, lung_mask=np.ones_like(images))


def test_masks_by_hand():
    test = rows_of(4, row_spacing_mm=[np.nan, np.nan, 2.0, 2.0], column_spacing_mm=2.0)
    judged = judge_masks(Network(0.5, False), drawn_masks(), {"train": test, "test": test}, "infection_mask", seed=1)

    def told(measure, subject=Network.model_id):
        return value(judged.summary, subject, measure)

    pooled = told("pooled_dice")
    assert pooled["value"] == pytest.approx(2 * 6 / (7 + 8))
    assert (pooled["n"], pooled["patients"], pooled["k"]) == (4, 2, None)
    assert pooled["low"] <= pooled["value"] <= pooled["high"] and pooled["interval"] == "jackknife of 2 patients"
    assert told("pooled_iou")["value"] == pytest.approx(6 / 9)
    assert told("iou_background")["value"] == pytest.approx(55 / 58)
    assert told("mean_iou")["value"] == pytest.approx((6 / 9 + 55 / 58) / 2)
    assert told("weighted_iou")["value"] == pytest.approx((8 * 6 / 9 + 56 * 55 / 58) / 64)
    for measure, k, n in (
        ("accuracy_foreground", 6, 8),
        ("accuracy_background", 55, 56),
        ("global_accuracy", 61, 64),
        ("pooled_precision", 6, 7),
        ("false_positive_px", 1, 64),
        ("missed_where_present", 0, 2),
        ("marked_where_absent", 1, 2),
    ):
        assert (told(measure)["k"], told(measure)["n"], told(measure)["value"]) == (k, n, pytest.approx(k / n)), measure
    mean = told("mean_dice_where_present")
    assert mean["value"] == pytest.approx((2 / 3 + 1) / 2) and mean["n"] == 2
    assert told("mean_marked_percent_where_absent")["value"] == pytest.approx((100 / 16 + 0) / 2)
    # the half found row: its end is two pixels of 2 mm from the true one; only the exact image tells its spacing
    assert told("mean_hausdorff95_px_where_present")["value"] == pytest.approx((2 + 0) / 2)
    exact = told("mean_hausdorff95_mm_where_present")
    assert (exact["value"], exact["n"], exact["patients"]) == (0.0, 1, 1) and exact["low"] is None
    assert told("mean_boundary_f_where_present")["value"] == pytest.approx((2 / 3 + 1) / 2)

    error = told("infection_percent_mean_absolute_error")
    assert error["value"] == pytest.approx((12.5 + 6.25 + 0 + 0) / 4)
    assert told("infection_percent_bias")["value"] == pytest.approx((-12.5 + 6.25) / 4)
    assert told("infection_percent_mean_where_absent")["value"] == pytest.approx(6.25 / 2)
    assert (
        told("infection_percent_roc_auc")["value"] == 1
    )  # 12.5 and 25 % where there is a lesion, 6.25 and 0 % elsewhere
    spread = 1.96 * np.std([-12.5, 6.25, 0, 0], ddof=1)
    assert told("infection_percent_limit_high")["value"] == pytest.approx(-6.25 / 4 + spread, abs=1e-3)

    dice = {row["image_id"]: row["value"] for row in judged.images if row["measure"] == "dice"}
    assert dice == {"i0": pytest.approx(2 / 3), "i1": 0.0, "i2": 1.0, "i3": None}
    pixels = {row["image_id"]: row["value"] for row in judged.images if row["measure"] == "true_positive_px"}
    assert pixels == {"i0": 2, "i1": 0, "i2": 4, "i3": 0}
    to_table(judged.images, METRICS_IMAGES)
    to_table(judged.summary, METRICS_SUMMARY)
    assert judged.reliability == []


def test_controls_of_masks_stand_beside_the_network():
    test = rows_of(4)
    judged = judge_masks(Network(0.5, False), drawn_masks(), {"train": test, "test": test}, "infection_mask", seed=1)
    background = value(judged.summary, "all_background", "pooled_dice")
    assert (background["value"], background["role"]) == (0, "control")
    assert value(judged.summary, "all_background", "missed_where_present")["value"] == 1
    far = value(judged.summary, "all_background", "mean_hausdorff95_px_where_present")
    assert far["value"] is None and far["n"] == 0 and far["remark"].startswith("Nothing was found")
    # a frame of one pixel: 12 of 16, with 4 + 2 of the 8 infected; each pixel is infected in one mask at most
    assert value(judged.summary, "border_painter", "pooled_dice")["value"] == pytest.approx(2 * 6 / (48 + 8))
    assert value(judged.summary, "mean_mask", "pooled_dice")["value"] == pytest.approx(2 * 8 / (4 * 8 + 8))
    nearest = value(judged.summary, "all_background", "infection_percent_mean_absolute_error")
    assert nearest["value"] == pytest.approx(50 / 4)
    assert nearest["remark"] == "Near the model: 12.500 against the model's 4.688, and the intervals overlap."
    blind = judge_masks(Network(2.0, False), drawn_masks(), {"train": test, "test": test}, "infection_mask", seed=1)
    model = value(blind.summary, Network.model_id, "pooled_dice")
    assert model["remark"] == (
        "Not clearly better than all_background, border_painter, mean_mask. The test holds 2 patients only."
    )
    same = value(blind.summary, "all_background", "pooled_dice")["remark"]
    assert same == "As good as the model or better: 0.000 against the model's 0.000."


def test_a_network_that_is_right_beats_every_control():
    rng = np.random.default_rng(0)
    truth = (rng.random((24, 16, 16)) < 0.1).astype(np.uint8)
    opened, test = store(image=truth * np.uint8(255), lung_mask=truth), rows_of(24, size=16)
    judged = judge_masks(Network(0.5, False), opened, {"train": test, "test": test}, "lung_mask", seed=1)
    model = value(judged.summary, Network.model_id, "pooled_dice")
    assert (model["value"], model["role"]) == (1.0, "model")
    assert (model["remark"], model["interval"]) == ("Clearly better than every control.", "bootstrap of 12 patients")


def test_padding_is_not_counted():
    images, truth = np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
    images[:, 2:6, :] = truth[:, 2:6, :] = 255
    images[0, 0, 0] = 255  # marked in the padding
    test = rows_of(2, size=8, top=2, height=4, native_rows=4)
    opened = store(image=images, lung_mask=truth)
    judged = judge_masks(Network(0.5, False), opened, {"train": test, "test": test}, "lung_mask", seed=1)
    accuracy = value(judged.summary, Network.model_id, "global_accuracy")
    assert (accuracy["k"], accuracy["n"]) == (64, 64)
    assert value(judged.summary, Network.model_id, "accuracy_background")["value"] is None
    assert not any("infection" in row["measure"] for row in judged.summary)


def labelled(n, **columns):
    return rows_of(n, size=16, **columns)


def drawn_labels():
    """Six images whose mean tells the label but for one on each side, with a mark of the sick in a corner."""
    images = np.zeros((6, 16, 16), np.uint8)
    images[:3] = 255
    lungs = np.zeros_like(images)
    lungs[:, 4:12, 4:12] = 1
    return store(image=images, lung_mask=lungs), [True, True, False, False, False, True]


def test_labels_by_hand():
    opened, labels = drawn_labels()
    rows = labelled(6, label=labels)
    parts = dict.fromkeys(("train", "validation", "test"), rows)
    judged = judge_labels(Network(0.5, True), opened, parts, seed=1)

    def told(measure, subject=Network.model_id):
        return value(judged.summary, subject, measure)

    for measure, k, n in (("accuracy", 4, 6), ("sensitivity", 2, 3), ("specificity", 2, 3), ("precision", 2, 3)):
        row = told(measure)
        assert (row["k"], row["n"], row["value"]) == (k, n, pytest.approx(k / n))
        assert row["low"] < row["value"] < row["high"] and row["interval"].startswith("Wilson, ")
    assert told("true_positives")["k"] == 2 and told("false_negatives")["k"] == 1
    assert told("f_score")["value"] == pytest.approx(2 / 3)
    assert told("mcc")["value"] == pytest.approx((2 * 2 - 1 * 1) / 9)
    assert told("roc_auc")["value"] == pytest.approx(2 / 3)
    assert told("brier")["value"] == pytest.approx(2 / 6)
    assert told("expected_calibration_error")["value"] == 0  # one bin: half said, half so
    assert told("accuracy", "majority_class")["value"] == pytest.approx(0.5)
    assert told("roc_auc", "majority_class")["value"] == pytest.approx(0.5)
    assert told("brier", "majority_class")["value"] == pytest.approx(0.25)
    assert told("roc_auc", "majority_class")["remark"] is None and told("roc_auc")["remark"] is not None
    subjects = {row["subject"] for row in judged.summary}
    assert subjects == {
        Network.model_id, "majority_class", "lungs_blacked_out", "lungs_only", "corners_only", "thumbnail_8x8",
        "intensity_histogram", "network_on_lungs_blacked_out",
    }  # fmt: skip
    blacked_out = told("accuracy", "network_on_lungs_blacked_out")
    assert blacked_out["k"] == 4  # three quarters of the image are still white
    assert len(judged.reliability) == 1 and judged.reliability[0]["temperature"] == 1
    to_table(judged.images, METRICS_IMAGES)
    to_table(judged.summary, METRICS_SUMMARY)
    to_table(judged.reliability, RELIABILITY)


def test_a_temperature_mends_probabilities_and_neither_order_nor_answers():
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.integers(1, 255, 60, np.uint8)[:, None, None], (60, 16, 16)).copy()
    labels = rng.random(60) < images[:, 0, 0] / 255
    opened = store(image=images, lung_mask=np.ones_like(images))
    parts = dict.fromkeys(("train", "validation", "test"), labelled(60, label=labels))
    plain = judge_labels(Network(0.5, True), opened, parts, seed=1)
    mended = judge_labels(Network(0.5, True, temperature=2.0), opened, parts, seed=1)
    for measure in ("accuracy", "sensitivity", "roc_auc", "pr_auc", "brier_before_temperature"):
        one, other = (value(judged.summary, Network.model_id, measure)["value"] for judged in (plain, mended))
        assert one == pytest.approx(other, abs=1e-6), measure
    assert value(plain.summary, Network.model_id, "brier")["value"] == pytest.approx(
        value(mended.summary, Network.model_id, "brier_before_temperature")["value"]
    )
    assert {row["temperature"] for row in mended.reliability} == {1.0, 2.0}


def test_simple_models_learn_from_some_images_of_a_large_part(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2 == 0
    images = np.where(labels[:, None, None], 200, 50).astype(np.uint8) + rng.integers(0, 9, (40, 16, 16), np.uint8)
    rows = labelled(40, label=labels)
    read = []
    opened = store(image=images, lung_mask=np.ones_like(images))
    counted = SimpleNamespace(read=lambda name, at: (read.extend(at), opened.read(name, at))[1], size=16)
    monkeypatch.setattr(controls, "TRAIN_IMAGES", 10)
    answers = dict(simple_answers(counted, {"train": rows, "validation": rows, "test": rows[:1]}, seed=3))
    assert len(read) == 2 * (10 + 10 + 1)  # images and lungs
    said, threshold = answers["thumbnail_8x8"]
    assert (said >= threshold).tolist() == [True]


def test_a_control_that_cannot_be_made_says_why():
    opened, labels = drawn_labels()
    rows = labelled(6, label=labels, has_lung_mask=[True] * 5 + [False])
    judged = judge_labels(Network(0.5, True), opened, dict.fromkeys(("train", "validation", "test"), rows), seed=1)
    for name in ("lungs_blacked_out", "lungs_only"):
        (row,) = [row for row in judged.summary if row["subject"] == name]
        assert row["value"] is None and row["remark"] == "Absent: 3 of 18 images have no lung mask."
    alike = labelled(6, label=[True] * 6)
    judged = judge_labels(Network(0.5, True), opened, dict.fromkeys(("train", "validation", "test"), alike), seed=1)
    assert value(judged.summary, "corners_only", "roc_auc")["remark"] == (
        "Absent: the training part has one class only."
    )
    assert value(judged.summary, Network.model_id, "roc_auc")["value"] is None
    to_table(judged.summary, METRICS_SUMMARY)


RECIPE = Recipe(task="segment_lungs", dataset="phantom-ct", model="nabla3", regime="scratch", image_size=32)


def split_of(groups, folds):
    ids = [f"i{i}" for i in range(len(groups))]
    split = pd.DataFrame({"image_id": ids, "group": groups, "fold": folds})
    index = pd.DataFrame({"n": range(len(ids)), "image_id": ids, "has_lung_mask": [True] * (len(ids) - 1) + [False]})
    return index, split


def test_parts_hold_the_images_with_a_truth():
    index, split = split_of(list("aabbccd"), [0, 0, 1, 1, 2, 2, 2])
    rows = labelled_parts(index, split, RECIPE, 3)
    assert {name: list(part["image_id"]) for name, part in rows.items()} == {
        "test": ["i0", "i1"],
        "validation": ["i2", "i3"],
        "train": ["i4", "i5"],
    }


def test_without_validation_patients_their_fold_is_trained_on_and_a_lung_view_needs_a_lung():
    index, split = split_of(list("aabbccd"), [0, 0, 1, 1, 2, 2, 2])
    rows = labelled_parts(index, split, RECIPE.model_copy(update={"validation": "none"}), 3)
    assert list(rows["train"]["image_id"]) == ["i2", "i3", "i4", "i5"] and rows["validation"].empty
    seen = RECIPE.model_copy(update={"task": "classify", "regime": "lung_view"})
    rows = labelled_parts(index.assign(label=True), split, seen, 3)
    assert "i6" not in set(rows["train"]["image_id"]), "it has a label and no lung"


def test_a_patient_in_two_parts_is_refused_by_name():
    index, split = split_of(list("aabbbcc"), [0, 0, 1, 1, 2, 2, 2])
    with pytest.raises(PatientLeak, match="b"):
        labelled_parts(index, split, RECIPE, 3)


def test_an_empty_part_says_what_would_work():
    index, split = split_of(list("aabbccd"), [0, 0, 2, 2, 2, 2, 2])
    with pytest.raises(BadConfig, match=r"validation part of fold 0 has no image.*Choose another fold"):
        labelled_parts(index, split, RECIPE, 3)
