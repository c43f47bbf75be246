"""The adaptive threshold, on drawings."""

import numpy as np
import pytest

from covidpipe.config import Threshold
from covidpipe.quantify.thresholds import adaptive_threshold, local_value

PLAIN = {"opening_radius": 0, "min_object_px": 0, "erode_lung_px": 0}


def chest(lesion: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An 80 x 80 image: body at 200, lung at 40 in rows and columns 10 to 69, a lesion in rows and columns 30 to 41."""
    image = np.full((80, 80), 200, np.uint8)
    lung = np.zeros((80, 80), bool)
    lung[10:70, 10:70] = True
    image[lung] = 40
    truth = np.zeros((80, 80), bool)
    truth[30:42, 30:42] = True
    image[truth] = lesion
    return image, lung, truth


@pytest.mark.parametrize("local", ["mean", "gaussian", "otsu"])
def test_finds_the_lesion_exactly(local):
    image, lung, truth = chest()
    found = adaptive_threshold(image, lung, Threshold(local=local, window_share=0.5, opening_radius=0))
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("local", ["mean", "gaussian", "otsu"])
def test_a_flat_lung_holds_nothing_however_bright_the_body(local):
    image, lung, _ = chest(lesion=40)
    assert not adaptive_threshold(image, lung, Threshold(local=local)).any()


def test_local_mean_of_lung_pixels_only():
    image = np.array([[10, 20, 250], [30, 40, 250], [250, 250, 250]], np.uint8)
    inner = image < 100
    mean = local_value(image, inner, Threshold(window_share=1.0))
    assert mean[inner] == pytest.approx([25, 25, 25, 25])
    found = adaptive_threshold(image, inner, Threshold(window_share=1.0, **PLAIN))
    assert found[inner].tolist() == [False, False, True, True]
    found = adaptive_threshold(image, inner, Threshold(window_share=1.0, offset=10, **PLAIN))
    assert found[inner].tolist() == [False, False, False, True]


def test_rim_is_left_out():
    image, lung, _ = chest(lesion=40)
    image[10:12, 10:70] = 90  # the bright edge that every mask has
    assert adaptive_threshold(image, lung, Threshold(**PLAIN)).any()
    assert not adaptive_threshold(image, lung, Threshold(**{**PLAIN, "erode_lung_px": 2})).any()


def test_lung_cut_off_by_the_image_border_has_a_rim_there_too():
    image = np.full((40, 40), 40, np.uint8)
    image[0] = 90
    lung = np.ones((40, 40), bool)
    assert not adaptive_threshold(image, lung, Threshold(**{**PLAIN, "erode_lung_px": 2})).any()


def test_vessels_and_specks_go_holes_are_filled():
    image, lung, truth = chest()
    image[15:65, 20] = 150  # one pixel wide: opened away
    image[55:60, 55:60] = 150  # 25 px: too small
    image[35:37, 35:37] = 40  # a hole in the lesion
    found = adaptive_threshold(image, lung, Threshold(window_share=0.6))
    corners = np.zeros_like(truth)
    corners[np.ix_([30, 41], [30, 41])] = True  # the disk does not reach them
    assert np.array_equal(found, truth & ~corners)


def test_no_lung_nothing_found():
    image, lung, _ = chest()
    assert not adaptive_threshold(image, np.zeros_like(lung), Threshold()).any()
