"""Masks and percentages are those of scikit-image, on drawn lungs and on any mask at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidpipe.config import Threshold
from covidpipe.metrics.boundary import boundary_f
from covidpipe.quantify import lungs, thresholds
from covidpipe.quantify.lesions import lesion_areas
from covidpipe.quantify.percentages import quantify_image
from covidpipe.quantify.sides import split_lungs
from tests.benchmarks.oracles import masks as plain


@st.composite
def any_mask(draw):
    """Blobs of any size, specks, holes, and what touches the border; often nothing."""
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    noise = rng.normal(size=(rows, columns)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), draw(st.sampled_from([0.4, 1.0, 3.0])))
    return smooth > np.quantile(smooth, draw(st.sampled_from([0.0, 0.3, 0.6, 0.9, 1.0])))


def drawn_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two lungs that may touch, with specks beside them, and lesions that reach beyond them."""
    rng = np.random.default_rng(seed)
    lung, infection = np.zeros((120, 140), np.uint8), np.zeros((120, 140), np.uint8)
    for middle in (45, 95):
        place = int(middle + rng.integers(-8, 9)), int(60 + rng.integers(-8, 9))
        cv2.ellipse(lung, place, (int(rng.integers(12, 28)), int(rng.integers(20, 45))), 0, 0, 360, 1, -1)
    for _ in range(int(rng.integers(0, 8))):
        cv2.circle(infection, tuple(map(int, rng.integers(10, 110, 2))), int(rng.integers(1, 12)), 1, -1)
        cv2.circle(lung, tuple(map(int, rng.integers(0, 120, 2))), int(rng.integers(1, 4)), int(rng.integers(0, 2)), -1)
    return infection > 0, lung > 0


@given(mask=any_mask(), share=st.sampled_from([0.0, 0.02, 0.1, 1.0]))
@settings(max_examples=80, deadline=None)
def test_regions_and_holes_are_those_of_scikit_image(mask, share):
    px = share * mask.size
    np.testing.assert_array_equal(lungs.keep_large(mask, px), plain.keep_large(mask, px))
    np.testing.assert_array_equal(lungs.fill_holes(mask, px), plain.fill_holes(mask, px))
    np.testing.assert_array_equal(lungs.fill_holes(mask), plain.fill_holes(mask))
    np.testing.assert_array_equal(lungs.refine_lungs(mask), plain.refine_lungs(mask))
    assert lungs.lung_warnings(mask) == plain.lung_warnings(mask)
    for ours, theirs in zip(split_lungs(mask), plain.split_lungs(mask), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(lesion_areas(mask).tolist()) == plain.lesion_areas(mask)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_drawn_chest_is_quantified_as_by_scikit_image(seed):
    infection, lung = drawn_pair(seed)
    np.testing.assert_array_equal(lungs.refine_lungs(lung), plain.refine_lungs(lung))
    wanted = plain.quantified(infection, lung, 0.5)
    found = quantify_image(infection, lung, (0.5, 1.0))
    assert {name: found[name] for name in wanted} == wanted
    score, other = boundary_f(infection, lung, 3.2), plain.boundary_f(infection, lung, 3.2)
    assert score == other or score == pytest.approx(other)


@given(
    seed=st.integers(0, 2**32 - 1),
    local=st.sampled_from(["adaptive", "gaussian", "otsu", "vessel_suppressed"]),
    opening=st.integers(0, 4),
    cut=st.integers(0, 60),
)
@settings(max_examples=40, deadline=None)
def test_a_threshold_sees_only_the_lungs_box(seed, local, opening, cut):
    """Lungs may reach the image's border: what lies beyond it is not the same as what lies beyond the box."""
    lung = drawn_pair(seed)[1][cut:, cut:]
    image = np.random.default_rng(seed).integers(0, 256, lung.shape).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    rule = Threshold(local=local, opening_radius=opening, min_object_px=3, vessel_radius_px=1.5, window_share=0.2)
    whole = thresholds._marked(image, lung, rule, thresholds.window(image.shape, rule))
    np.testing.assert_array_equal(thresholds.adaptive_threshold(image, lung, rule), whole)
