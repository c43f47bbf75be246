"""Controls: what is left of an image, what is painted without one, and the words that are said of them."""

from __future__ import annotations

import numpy as np
import pytest

from covidpipe.metrics import controls as c
from covidpipe.metrics.nearness import with_remarks
from covidpipe.metrics.segmentation import dice

LUNGS = np.zeros((1, 16, 16), bool)
LUNGS[0, 4:8, 3:6] = LUNGS[0, 5:10, 10:13] = True
IMAGE = np.full((1, 16, 16), 200, np.uint8)


def test_what_is_left_of_an_image():
    black = c.without_lungs(IMAGE, LUNGS)[0]
    assert not black[4:10, 3:13].any() and (black > 0).sum() == 16 * 16 - 6 * 10  # the rectangle, not the outline
    only = c.only_lungs(IMAGE, LUNGS)[0]
    assert np.array_equal(only > 0, LUNGS[0])
    corners = c.only_corners(IMAGE)[0]
    assert (corners > 0).sum() == 4 * 2 * 2 and corners[:2, -2:].all() and not corners[2:-2].any()
    assert np.array_equal(c.without_lungs(IMAGE, np.zeros_like(LUNGS)), IMAGE)
    shares = c.histogram(np.concatenate([IMAGE, black[None]]))
    assert shares.shape == (2, 32) and shares.sum(axis=1) == pytest.approx([1, 1])
    assert shares[1, 0] == pytest.approx(60 / 256) and shares[1, 200 // 8] == pytest.approx(196 / 256)
    assert c.small(IMAGE, 8).shape == (1, 64) and (c.small(IMAGE, 8) == 200).all()
    nothing = IMAGE[:0]
    for name, left in c.LEFT.items():
        some = left(IMAGE, LUNGS)
        assert some.dtype == np.float32 and left(nothing, LUNGS[:0]).shape == (0, some.shape[1]), name


def test_a_hint_in_a_corner_is_found_by_the_controls_that_see_it():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (360, 32, 32), np.uint8)
    labels = np.arange(360) % 2 == 0
    images[labels, :2, :2] = 255  # a mark that somebody put on the films of the sick
    images[~labels, :2, :2] = 0
    lungs = np.zeros(images.shape, bool)
    lungs[:, 8:24, 8:24] = True
    right = {}
    for name, left in c.LEFT.items():
        numbers = left(images, lungs)
        model = c.simple_model(numbers[:200], labels[:200], numbers[200:240], labels[200:240])
        right[name] = (model.predict(numbers[240:]) == labels[240:]).mean()
    assert right["corners_only"] == 1 and right["lungs_blacked_out"] > 0.9
    assert right["lungs_only"] < 0.65


def test_a_simple_model_takes_validation_of_one_class():
    numbers = np.arange(12, dtype=np.float32)[:, None]
    model = c.simple_model(numbers, numbers[:, 0] > 5, numbers[:3], np.zeros(3, bool))
    assert model.predict_proba(numbers)[0, 1] < 0.5 < model.predict_proba(numbers)[-1, 1]


def test_the_border_painter_finds_the_margin_of_an_exported_figure():
    masks = np.zeros((5, 64, 64), bool)
    masks[:, :5] = masks[:, -7:] = masks[:, :, :9] = masks[:, :, -6:] = True  # margin of a figure, counted as infected
    masks[:, 61, 20:30] = False  # tick labels
    for n, mask in enumerate(masks):
        mask[20 + n : 24 + n, 30:34] = True  # and a lesion
    frame = c.border_painter(masks.mean(axis=0))
    assert frame[:5].all() and frame[-7:].all() and frame[:, :9].all() and frame[:, -6:].all()
    assert not frame[5:-7, 9:-6].any()
    assert dice(frame, masks[0]) > 0.98
    assert c.border_painter(np.zeros((64, 64))).sum() == 64**2 - 60**2  # nothing at the border: a thin frame


def test_the_usual_mask_is_the_best_of_all_levels():
    rng = np.random.default_rng(1)
    masks = rng.random((9, 12, 12)) < rng.random((12, 12))
    mean = masks.mean(axis=0)
    found = c.usual_mask(mean)

    def pooled(mask):
        return 2 * (masks & mask).sum() / (masks.sum() + 9 * mask.sum())

    assert pooled(found) == pytest.approx(max(pooled(mean >= level) for level in np.unique(mean)))
    assert not c.usual_mask(np.zeros((4, 4))).any()


def row(subject, value, low=None, high=None, measure="roc_auc", patients=40):
    role = "model" if subject == "net" else "control"
    rest = {"low": low, "high": high, "remark": None, "patients": patients}
    return {"subject": subject, "role": role, "measure": measure, "value": value, **rest}


def test_words_where_a_control_comes_near():
    rows = [
        row("net", 0.80, 0.74, 0.86),
        row("better", 0.82, 0.70, 0.90),
        row("overlaps", 0.70, 0.60, 0.75),
        row("points", 0.76),
        row("far", 0.60, 0.50, 0.70),
        row("undefined", None),
        row("far", 0.6, measure="mcc"),
    ]
    told = {r["subject"]: r["remark"] for r in with_remarks(rows) if r["measure"] == "roc_auc"}
    assert told["better"] == "As good as the model or better: 0.820 against the model's 0.800."
    assert told["overlaps"] == "Near the model: 0.700 against the model's 0.800, and the intervals overlap."
    assert told["points"] == "Near the model: 0.760 against the model's 0.800, less than 5 points apart."
    assert told["far"] is told["undefined"] is None
    assert told["net"] == "Not clearly better than better, overlaps, points."
    alone = with_remarks([row("net", 0.8, 0.75, 0.85), row("far", 0.5, 0.4, 0.6)])
    assert alone[0]["remark"] == "Clearly better than every control."
    assert with_remarks([row("net", 0.8)]) == [row("net", 0.8)]


def test_an_error_is_better_where_it_is_smaller():
    name = "infection_percent_mean_absolute_error"
    rows = [row("net", 12.0, 9.0, 14.0, name), row("all_background", 4.0, 3.0, 5.0, name)]
    model, control = with_remarks(rows)
    few, _ = with_remarks([{**rows[0], "patients": 2}, rows[1]])
    assert few["remark"] == "Not clearly better than all_background. The test holds 2 patients only."
    assert control["remark"].startswith("As good as the model or better: 4.000")
    assert model["remark"] == "Not clearly better than all_background."
