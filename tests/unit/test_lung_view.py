"""Lungs cut out of a slice, their grey levels told relative to air and tissue, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidpipe import lung_view
from covidpipe.harmonize import nearest
from covidpipe.lung_view import Square, around, levels, view, view_mask

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


def test_the_two_levels_are_read_off_the_slice():
    image, lung, _ = chest()
    assert levels(image, lung) == pytest.approx((AIR, TISSUE), abs=1)


def test_air_and_tissue_stand_at_their_places_and_a_lesion_between_them():
    image, lung, infected = chest(lesion=140)
    seen, square = view(image, lung, 128), around(lung)
    assert seen.shape == (128, 128) and seen.dtype == np.uint8
    place = lambda mask: np.median(seen[view_mask(mask, square, 128)])  # noqa: E731
    of = lambda step: 255 * (step + lung_view.BELOW) / (lung_view.BELOW + lung_view.ABOVE)  # noqa: E731
    assert place(lung & ~infected) == pytest.approx(of(0), abs=2)
    assert place(infected) == pytest.approx(of(0.5), abs=2)
    assert seen[0, 0] == lung_view.TISSUE == round(of(1)), "what is far from the lungs is covered"


@given(st.floats(0.35, 1.0), st.integers(0, 60))
def test_another_window_gives_the_same_view(factor, offset):
    """A linear change of grey levels is undone, but for what rounding to 8 bits takes away."""
    image, lung, _ = chest()
    other = np.rint(np.minimum(image * factor + offset, 255)).astype(np.uint8)
    if image.max() * factor + offset > 255:
        return
    seen, again = view(image, lung, 96), view(other, lung, 96)
    inside = view_mask(lung, around(lung), 96)
    assert np.abs(seen[inside].astype(int) - again[inside]).max() <= 4


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


def test_a_flat_image_has_levels_too():
    """A padded or saturated slice: no division by nothing, and every value in range."""
    _, lung, _ = chest()
    for grey in (0, 255):
        flat = np.full(lung.shape, grey, np.uint8)
        air, tissue = levels(flat, lung)
        assert tissue - air >= lung_view.LEAST_CONTRAST
        assert view(flat, lung, 64).shape == (64, 64)


def test_the_mask_of_a_view_is_the_nearest_pixel():
    _, lung, infected = chest()
    square = around(lung)
    assert square is not None
    assert np.array_equal(view_mask(infected, square, square.side), square.cut(infected))
    assert np.array_equal(view_mask(infected, square, 50), nearest(square.cut(infected), 50, 50))
