"""Test results of a network whose answers are drawn, so that every figure is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covidpipe.config import Recipe
from covidpipe.errors import BadConfig, PatientLeak
from covidpipe.io.files import to_table
from covidpipe.schemas import METRICS_IMAGES, METRICS_SUMMARY
from covidpipe.stages.evaluate import judge_labels, judge_masks
from covidpipe.training.labelled import labelled_parts


class Network:
    """Answers with the image itself: the probability of a pixel is its grey level, that of an image its mean."""

    model_id = "drawn@000000000000"

    def __init__(self, threshold: float, whole_image: bool):
        self.recipe = {"threshold": threshold}
        self.whole_image = whole_image

    def predict(self, images):
        answer = images.astype(np.float32) / 255
        return answer.mean(axis=(1, 2)) if self.whole_image else answer


def store(**arrays):
    return SimpleNamespace(read=lambda name, positions: arrays[name][positions])


def test_rows(n):
    groups = [f"patient-{i // 2}" for i in range(n)]
    return pd.DataFrame(
        {"n": range(n), "image_id": [f"i{i}" for i in range(n)], "group": groups, "patient_id": [*groups[:-1], None]}
    )


test_rows.__test__ = False


def value(summary, subject, measure):
    (row,) = [r for r in summary if r["subject"] == subject and r["measure"] == measure]
    return row


def test_masks_by_hand():
    images = np.zeros((4, 4, 4), np.uint8)
    truth = np.zeros_like(images)
    lungs = np.ones_like(images)
    images[0, 0, :2] = 255  # found 2
    truth[0, 0, :4] = 1  # of 4: Dice 2/3; 12.5 % found, 25 % true
    images[1, 1, 1] = 255  # found one where there is none: 6.25 % found, 0 % true
    images[2, 2, :] = truth[2, 2, :] = 1
    images[2, 2, :] = 255  # exact
    per_image, summary = judge_masks(
        Network(0.5, False),
        store(image=images, infection_mask=truth, lung_mask=lungs),
        test_rows(4),
        "infection_mask",
        seed=1,
    )
    pooled = value(summary, Network.model_id, "pooled_dice")
    assert pooled["value"] == pytest.approx(2 * 6 / (7 + 8))
    assert (pooled["n"], pooled["patients"], pooled["k"]) == (4, 2, None)
    assert pooled["low"] <= pooled["value"] <= pooled["high"]
    assert value(summary, Network.model_id, "pooled_iou")["value"] == pytest.approx(6 / 9)
    mean = value(summary, Network.model_id, "mean_dice_where_present")
    assert mean["value"] == pytest.approx((2 / 3 + 1) / 2) and mean["n"] == 2
    assert value(summary, "all_background", "pooled_dice")["value"] == 0
    error = value(summary, Network.model_id, "infection_percent_mean_absolute_error")
    assert error["value"] == pytest.approx((12.5 + 6.25 + 0 + 0) / 4)
    assert value(summary, Network.model_id, "infection_percent_bias")["value"] == pytest.approx((-12.5 + 6.25) / 4)
    dice = {row["image_id"]: row["value"] for row in per_image if row["measure"] == "dice"}
    assert dice == {"i0": pytest.approx(2 / 3), "i1": 0.0, "i2": 1.0, "i3": None}
    to_table(per_image, METRICS_IMAGES)
    to_table(summary, METRICS_SUMMARY)


def test_labels_by_hand():
    images = np.zeros((6, 2, 2), np.uint8)
    images[:3] = 255
    rows = test_rows(6).assign(label=[True, True, False, False, False, True])
    per_image, summary = judge_labels(Network(0.5, True), store(image=images), rows, majority=False, seed=1)
    for measure, k, n in (("accuracy", 4, 6), ("sensitivity", 2, 3), ("specificity", 2, 3), ("precision", 2, 3)):
        row = value(summary, Network.model_id, measure)
        assert (row["k"], row["n"], row["value"]) == (k, n, pytest.approx(k / n))
        assert row["low"] < row["value"] < row["high"]
    assert value(summary, "majority_class", "accuracy")["value"] == pytest.approx(0.5)
    assert value(summary, "majority_class", "precision")["value"] is None  # it never says positive
    assert value(summary, Network.model_id, "roc_auc")["value"] == pytest.approx(2 / 3)
    to_table(per_image, METRICS_IMAGES)
    to_table(summary, METRICS_SUMMARY)


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


def test_a_patient_in_two_parts_is_refused_by_name():
    index, split = split_of(list("aabbbcc"), [0, 0, 1, 1, 2, 2, 2])
    with pytest.raises(PatientLeak, match="b"):
        labelled_parts(index, split, RECIPE, 3)


def test_an_empty_part_says_what_would_work():
    index, split = split_of(list("aabbccd"), [0, 0, 2, 2, 2, 2, 2])
    with pytest.raises(BadConfig, match=r"validation part of fold 0 has no image.*Choose another fold"):
        labelled_parts(index, split, RECIPE, 3)
