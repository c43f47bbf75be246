"""Lungs cut out of a slice, their grey levels told from that of air, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidpipe import lung_view
from covidpipe.harmonize import nearest
from covidpipe.lung_view import Square, air_level, around, level, view, view_mask

AIR, TISSUE = 60, 220


def chest(air: int = AIR, tissue: int = TISSUE, lesion: int = 140) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two rectangular lungs in a round body on black, a lesion in one of them."""
    rows, columns = np.ogrid[:200, :200]
    image = np.where((rows - 100) ** 2 + (columns - 100) ** 2 < 95**2, tissue, 0).astype(np.uint8)
    lung = np.zeros((200, 200), bool)
    lung[60:140, 40:90] = lung[60:140, 110:160] = True
    image[lung] = air
    infected = np.zeros_like(lung)
    infected[100:130, 50:80] = True
    image[infected] = lesion
    return image, lung, infected


def test_the_level_of_air_is_read_off_the_slice_whatever_is_infected():
    for lesion in (60, 140, 220):
        image, lung, _ = chest(lesion=lesion)
        assert air_level(image, lung) == pytest.approx(AIR, abs=1)


def test_air_stands_at_its_place_a_lesion_above_it_and_the_rest_is_covered():
    image, lung, infected = chest(lesion=140)
    seen, square = view(image, lung, 128), around(lung)
    assert seen.shape == (128, 128) and seen.dtype == np.uint8
    assert np.median(seen[view_mask(lung & ~infected, square, 128)]) == lung_view.AIR
    assert np.median(seen[view_mask(infected, square, 128)]) == lung_view.AIR + 140 - AIR
    assert seen[0, 0] == lung_view.TISSUE == 198


@given(st.integers(-40, 35))
def test_a_brighter_or_darker_picture_gives_the_same_view(offset):
    image, lung, _ = chest()
    other = (image.astype(int) + offset).clip(0, 255).astype(np.uint8)
    inside = view_mask(lung, around(lung), 96)
    assert np.array_equal(view(image, lung, 96)[inside], view(other, lung, 96)[inside])


@given(st.integers(0, 150), st.integers(0, 150), st.integers(25, 49), st.integers(25, 49), st.integers(32, 160))
def test_what_is_cut_out_comes_back_to_its_place(top, left, height, width, size):
    lung = np.zeros((200, 200), bool)
    lung[top : top + height, left : left + width] = True
    square = around(lung)
    assert square is not None and square.side >= 100
    back = square.put_back(view_mask(lung, square, size).astype(np.float32), 200) >= 0.5
    assert back.shape == lung.shape
    wrong = np.count_nonzero(back ^ lung)
    assert wrong <= (height + width) * 2 * (square.side / size + 1), "more than the rim"


def test_a_square_may_reach_beyond_the_border():
    plane = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert Square(-1, 2, 3).cut(plane).tolist() == [[2, 3, 3], [2, 3, 3], [6, 7, 7]]
    back = Square(-1, 2, 3).put_back(np.ones((3, 3), np.float32), 4)
    assert back.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_too_little_lung_shows_nothing():
    image, lung, _ = chest()
    few = np.zeros_like(lung)
    few[100, 50:90] = True
    for mask in (few, np.zeros_like(lung)):
        seen, square = view(image, mask, 64), around(mask)
        assert square is None and (seen == lung_view.TISSUE).all() and not view_mask(lung, square, 64).any()


def test_what_leaves_the_range_is_cut_off_and_an_empty_lung_covered():
    _, lung, _ = chest()
    steep = np.tile(np.arange(200, dtype=np.uint8) + 50, (200, 1))
    found = level(steep, lung)
    assert found[lung].min() < lung_view.AIR < found[lung].max() and found.dtype == np.uint8
    assert (level(steep, np.zeros_like(lung)) == lung_view.TISSUE).all()


def test_the_mask_of_a_view_is_the_nearest_pixel():
    _, lung, infected = chest()
    square = around(lung)
    assert square is not None
    assert np.array_equal(view_mask(infected, square, square.side), square.cut(infected))
    assert np.array_equal(view_mask(infected, square, 50), nearest(square.cut(infected), 50, 50))
