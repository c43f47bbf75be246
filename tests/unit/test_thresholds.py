"""The threshold inside the lung, on drawings; and that what is said of its bias is what was measured."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import scripts

from covidpipe.bias import FIGURES, bias_text, measured_bias
from covidpipe.config import Config, Threshold
from covidpipe.quantify.lungs import disk
from covidpipe.quantify.thresholds import adaptive_threshold, grow, keep_thick, local_value

ROOT = Path(__file__).parents[2]
LOCAL = ["adaptive", "gaussian", "otsu", "vessel_suppressed"]
PLAIN = {"local": "adaptive", "opening_radius": 0, "min_object_px": 0, "erode_lung_px": 0}


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


@pytest.mark.parametrize("local", LOCAL)
def test_finds_the_lesion_exactly(local):
    image, lung, truth = chest()
    found = adaptive_threshold(image, lung, Threshold(local=local, window_share=0.5, opening_radius=0))
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("local", LOCAL)
def test_a_flat_lung_holds_nothing_however_bright_the_body(local):
    image, lung, _ = chest(lesion=40)
    assert not adaptive_threshold(image, lung, Threshold(local=local)).any()


def test_local_mean_of_lung_pixels_only():
    image = np.array([[10, 20, 250], [30, 40, 250], [250, 250, 250]], np.uint8)
    inner = image < 100
    mean = local_value(image, inner, Threshold(local="adaptive", window_share=1.0))
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
    found = adaptive_threshold(image, lung, Threshold(local="adaptive", window_share=0.6))
    corners = np.zeros_like(truth)
    corners[np.ix_([30, 41], [30, 41])] = True  # the disk does not reach them
    assert np.array_equal(found, truth & ~corners)


def test_no_lung_nothing_found():
    image, lung, _ = chest()
    assert not adaptive_threshold(image, np.zeros_like(lung), Threshold()).any()


def test_what_is_nowhere_thick_is_a_vessel_and_what_is_thick_grows_to_the_rim():
    image, lung, _ = chest(lesion=40)
    vessel, lesion = np.zeros((2, 80, 80), bool)
    vessel[15:65, 20:24] = True  # 4 px wide and 50 long: too large for a speck
    lesion[50:70, 40:60] = True  # on the pleura below
    image[vessel | lesion] = 130
    found = adaptive_threshold(image, lung, Threshold(local="vessel_suppressed"))
    assert not (found & vessel).any()
    assert np.array_equal(found, lesion)  # the rim of 2 px and the corners that opening rounds are grown back
    kept = adaptive_threshold(image, lung, Threshold(local="otsu"))
    assert (kept & vessel).any() and not kept[68:].any()
    assert (adaptive_threshold(image, lung, Threshold(vessel_radius_px=0)) & vessel).any()
    assert not adaptive_threshold(image, lung, Threshold(regrow_px=0))[68:].any()


def test_keep_thick_by_the_disk_that_fits():
    mask = np.zeros((40, 40), bool)
    mask[2:34, 3:6] = True  # a bar of 3
    cv2.circle(drawn := np.zeros((40, 40), np.uint8), (25, 20), 5, 1, -1)
    mask |= drawn > 0
    assert np.array_equal(keep_thick(mask, 3), drawn > 0)
    assert np.array_equal(keep_thick(mask, 1), mask) and np.array_equal(keep_thick(mask, 0), mask)
    assert not keep_thick(mask, 9).any()
    joined = mask.copy()
    joined[20, 6:21] = True
    assert np.array_equal(keep_thick(joined, 3), joined)  # a region is kept whole


def test_growth_stays_within_and_goes_no_further_than_told():
    seed, within = np.zeros((2, 1, 10), bool)
    seed[0, 2], within[0, :7] = True, True
    within[0, 0] = False
    assert grow(seed, within, 2)[0].tolist() == [False] + [True] * 4 + [False] * 5
    assert grow(seed, within, 9)[0].tolist() == [False] + [True] * 6 + [False] * 3
    assert np.array_equal(grow(seed, within, 0), seed)
    assert disk(1).sum() == 5  # growing goes to corners too, opening does not


def test_the_old_name_of_the_papers_variant_still_works():
    assert Threshold(local="mean") == Threshold(local="adaptive")


def test_the_default_is_the_variant_with_the_least_error_on_the_images_it_was_chosen_by():
    figures = json.loads(FIGURES.read_text())["variants"][: len(LOCAL)]
    errors = {one["settings"]["local"]: one["measured"]["ct"]["medseg829"]["mean_absolute_error"] for one in figures}
    assert sorted(errors) == sorted(LOCAL)
    assert min(errors, key=errors.get) == Threshold().local
    assert all(Threshold(local=one["settings"]["local"]).model_dump() == one["settings"] for one in figures)


def test_the_bias_is_told_in_words_for_what_was_measured_only():
    for local in LOCAL:
        config = Config(threshold={"local": local})
        measured = measured_bias(config)
        free = measured["ct"]["medseg829"]["percent_on_lesion_free"]
        assert f"finds {free:.1f} % on" in bias_text(config, "ct") and "coronacases" in bias_text(config, "ct")
        assert f"{measured['xr']['cxr-lungs']['percent_on_lesion_free']:.0f} % of the lung" in bias_text(config, "xr")
    for other in (Config(threshold={"offset": 4}), Config(harmonize={"source_size": 160})):
        assert measured_bias(other) is None and "was not measured" in bias_text(other, "ct")


def test_the_page_holds_the_figures_that_were_measured():
    page = (ROOT / "docs" / "threshold.md").read_text(encoding="utf-8")
    with scripts.script("measure_threshold") as script:
        assert script.written(page, script.tables(json.loads(FIGURES.read_text())["variants"])) == page
