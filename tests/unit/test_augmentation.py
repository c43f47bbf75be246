"""What augmentation may do to an image and what it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidpipe.lung_view import AIR, air_level, level
from covidpipe.registry import AUGMENTATIONS
from covidpipe.training.augmentation import PRESETS, Preset, augment, change_geometry, change_grey_levels, transplant


def square() -> tuple[np.ndarray, np.ndarray]:
    image = np.zeros((64, 64), np.uint8)
    image[20:44, 20:44] = 200
    return image, (image > 0).astype(np.uint8)


def test_every_name_of_the_config_is_a_preset_and_no_other():
    assert list(PRESETS) == list(AUGMENTATIONS)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_it_keeps_type_and_moves_the_mask_with_the_image(preset):
    rng = np.random.default_rng(0)
    image, mask = square()
    for _ in range(40):
        changed, moved = augment(image, mask | 2, rng, preset)
        assert changed.dtype == moved.dtype == np.uint8 and changed.shape == moved.shape == image.shape
        assert set(np.unique(moved)) <= {0, 1}
        assert changed[moved > 0].mean() > changed[moved == 0].mean() + 30
    assert image.max() == 200 and mask.sum() == 24 * 24  # those given are not touched


def test_none_changes_nothing_and_every_other_changes_something():
    image, mask = square()
    for name, preset in PRESETS.items():
        results = [augment(image, mask, np.random.default_rng(seed), preset) for seed in range(5)]
        assert all(np.array_equal(found, image) for found, _ in results) == (name == "none")
        assert all(np.array_equal(moved, mask) for _, moved in results) == (name in ("none", "intensity"))


def test_a_chest_is_mirrored_only_if_asked_for():
    """A bright dot left of the middle stays left, whatever the draw; mirrored, it is right every other time."""
    image, mask = np.zeros((65, 65), np.uint8), np.zeros((65, 65), np.uint8)
    mask[30:35, 16:21] = 1
    rng = np.random.default_rng(1)
    columns = [np.nonzero(augment(image, mask, rng, PRESETS["strong"])[1])[1].mean() for _ in range(100)]
    assert max(columns) < 32
    flipped = [np.nonzero(augment(image, mask, rng, PRESETS["strong"], flip=True)[1])[1].mean() for _ in range(100)]
    assert 30 < sum(column > 32 for column in flipped) < 70


def patient(air: int, lesion: int) -> tuple[np.ndarray, np.ndarray]:
    """A lung on the left half, a lesion (if not 0) at its place; masks with bit 0 infected, bit 1 lung."""
    image, planes = np.full((64, 64), 220, np.uint8), np.zeros((64, 64), np.uint8)
    planes[8:56, 4:32] |= 2
    image[planes > 0] = air
    if lesion:
        planes[20:30, 10:20] |= 1
        image[20:30, 10:20] = lesion
    return image, planes


def test_a_transplanted_lesion_brings_its_looks_and_its_truth_into_the_lung_alone():
    image, planes = patient(60, 0)
    donor, carried = patient(30, 130)
    carried[20:30, 28:36] |= 3  # the donor's other lesion reaches beyond the recipient's lung
    donor[20:30, 28:36] = 130
    found, truth = transplant(image, planes & 1, planes & 2, donor, carried & 1, carried & 2)
    assert truth.sum() == 100 + 10 * 4 and not truth[:, 32:].any()
    assert (found[22:28, 12:18] == 130).all() and found[50, 10] == 60 and found[25, 45] == 220
    assert found[18, 15] < 60, "a rim of the donor's darker lung comes with it"
    assert image[25, 15] == 60, "what was given is not touched"


def test_lesions_are_carried_about_as_often_as_the_preset_says():
    image, planes = patient(60, 0)
    preset = Preset(transplant=0.25)
    rng = np.random.default_rng(3)
    found = [augment(image, planes, rng, preset, donor=lambda _: patient(60, 130))[1] for _ in range(200)]
    assert {int(mask.sum()) for mask in found} == {0, 100}, "nothing moves, so all of the lesion or nothing"
    assert 10 < sum(mask.any() for mask in found) < 45, "a quarter, half of them mirrored: to where no lung is"
    assert not any(augment(image, planes, rng, preset)[1].any() for _ in range(20)), "no donor, no lesion"


def test_a_mirror_image_is_exact():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = {change_geometry(image, None, np.random.default_rng(i), Preset(), flip=True)[0].tobytes() for i in range(9)}
    assert found == {image.tobytes(), image[:, ::-1].tobytes()}


def test_an_image_moves_by_no_more_than_the_preset_says():
    image, mask = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    mask[48:52, 48:52] = 1
    rng = np.random.default_rng(0)
    centers = [np.argwhere(change_geometry(image, mask, rng, Preset(shift=0.1))[1]).mean(axis=0) for _ in range(50)]
    away = np.abs(np.array(centers) - 49.5)
    assert 8 < away.max() <= 10.5


@pytest.mark.parametrize(
    ("preset", "holds"),
    [
        (Preset(coarse=1.0), lambda grey: len(np.unique(grey)) <= 64),
        (Preset(contrast=(0.5, 0.5)), lambda grey: np.ptp(grey) in (127, 128)),
        (Preset(noise=1.0), lambda grey: 1 < (grey.astype(float) - RAMP).std() < 12),
        (Preset(jpeg=1.0), lambda grey: 0 < np.abs(grey.astype(float) - RAMP).mean() < 10),
        (Preset(blur=1.0), lambda grey: np.abs(grey.astype(float) - RAMP)[:, 4:-4].max() <= 1),
        (Preset(gamma=0.6), lambda grey: grey[0, 0] == 0 and grey[0, -1] == 255),
        (
            Preset(curve=1.0),
            lambda grey: (grey[0, 0], grey[0, -1]) == (0, 255) and (np.diff(grey[0].astype(int)) >= 0).all(),
        ),
    ],
)
def test_each_change_of_grey_levels_does_what_it_says(preset, holds):
    for seed in range(5):
        assert holds(change_grey_levels(RAMP, np.random.default_rng(seed), preset))


RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))


def test_the_lungs_of_a_view_keep_the_level_of_air_whatever_the_window_did():
    image, planes = patient(60, 0)
    view = level(image, planes > 0)
    assert air_level(view, planes > 0) == pytest.approx(AIR, abs=1e-3)
    rng = np.random.default_rng(0)
    for preset, kept in ((PRESETS["lungs"], True), (replace(PRESETS["lungs"], level=False), False)):
        changed = (augment(view, planes, rng, replace(preset, degrees=0, zoom=0, shift=0, shear=0)) for _ in range(20))
        away = [abs(air_level(found, planes > 0) - AIR) for found, _ in changed]
        assert bool(max(away) <= 3) == kept
