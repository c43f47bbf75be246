"""The harmonized grid and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize as skimage_resize

from covidpipe.harmonize import Transform, harmonize, nearest, rescale, resize

LUNG = (-1350.0, 150.0)
sides = st.integers(1, 90)


def eight_bit(array: np.ndarray, size: int) -> tuple[np.ndarray, Transform]:
    return harmonize(array, size, intensity="windowed_8bit", window_hu=LUNG)


def disc(rows: int, columns: int, radius: float) -> np.ndarray:
    row, column = np.ogrid[:rows, :columns]
    return (row + 0.5 - rows / 2) ** 2 + (column + 0.5 - columns / 2) ** 2 <= radius**2


@pytest.mark.parametrize(
    ("have", "want"),
    [((120, 120), (76, 76)), ((131, 97), (41, 50)), ((61, 83), (61, 40)), ((33, 40), (99, 121)), ((65, 64), (64, 65))],
)
def test_rescale_equals_scikit_image(have, want):
    image = np.random.default_rng(0).integers(0, 256, have).astype(float)
    theirs = skimage_resize(image, want, order=1, mode="reflect", anti_aliasing=True, preserve_range=True)
    np.testing.assert_allclose(rescale(image, *want), theirs, atol=1e-3)


@given(rows=sides, columns=sides, want_rows=sides, want_columns=sides)
@settings(max_examples=40, deadline=None)
def test_rescale_keeps_a_constant_and_the_range(rows, columns, want_rows, want_columns):
    image = np.random.default_rng(rows * 100 + columns).integers(0, 256, (rows, columns))
    rescaled = rescale(image, want_rows, want_columns)
    assert rescaled.shape == (want_rows, want_columns)
    assert rescaled.min() >= image.min() - 1e-3
    assert rescaled.max() <= image.max() + 1e-3
    np.testing.assert_allclose(rescale(np.full((rows, columns), 7), want_rows, want_columns), 7, atol=1e-4)


def test_a_fine_grid_leaves_no_moire():
    """Anti-aliased: a one-pixel checkerboard becomes even grey; without a filter it would be stripes."""
    board = (np.indices((256, 256)).sum(axis=0) % 2) * 255
    small = resize(board, 80)[4:-4, 4:-4]
    assert small.std() < 4
    assert abs(small.mean() - 127.5) < 2


@given(rows=sides, columns=sides, size=st.integers(16, 90))
@settings(max_examples=60, deadline=None)
def test_letterbox_never_crops_and_is_centered(rows, columns, size):
    transform = Transform.fit(rows, columns, size)
    assert max(transform.height, transform.width) == size
    bottom = size - transform.top - transform.height
    right = size - transform.left - transform.width
    assert min(transform.top, transform.left, bottom, right) >= 0
    assert 0 <= bottom - transform.top <= 1
    assert 0 <= right - transform.left <= 1
    # proportions kept, to half a pixel
    assert abs(transform.height - max(1, size * rows / max(rows, columns))) <= 0.5
    everything = np.ones((rows, columns), bool)
    assert transform.forward_mask(everything).sum() == transform.height * transform.width
    assert transform.to_native(transform.forward_mask(everything)).all()


@given(side=st.integers(16, 60), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_square_image_of_the_same_size_stays_itself(side, seed):
    image = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
    image[0, :2] = 0, 255
    same, transform = eight_bit(image, side)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(transform.forward_mask(image > 99), image > 99)
    np.testing.assert_array_equal(transform.to_native(image > 99), image > 99)


@given(rows=st.integers(150, 400), columns=st.integers(150, 400), size=st.integers(100, 300))
@settings(max_examples=30, deadline=None)
def test_the_area_of_a_large_disc_survives_the_way_there_and_back(rows, columns, size):
    drawn = disc(rows, columns, 0.4 * min(rows, columns))
    transform = Transform.fit(rows, columns, size)
    there = transform.forward_mask(drawn)
    assert there.sum() / (transform.height * transform.width) == pytest.approx(drawn.mean(), rel=0.03)
    back = transform.to_native(there)
    assert back.shape == drawn.shape
    assert back.dtype == bool
    assert back.sum() == pytest.approx(drawn.sum(), rel=0.03)
    assert (back & drawn).sum() / (back | drawn).sum() > 0.95


@given(rows=sides, columns=sides, size=st.integers(90, 130))
@settings(max_examples=40, deadline=None)
def test_masks_return_exactly_from_a_finer_grid(rows, columns, size):
    """Counted on the native grid, a mask that was only enlarged in between has lost nothing."""
    mask = np.random.default_rng(rows).random((rows, columns)) > 0.5
    transform = Transform.fit(rows, columns, size)
    if min(transform.height / rows, transform.width / columns) >= 1:
        np.testing.assert_array_equal(transform.to_native(transform.forward_mask(mask)), mask)


def test_nearest_is_aligned_to_pixel_centers():
    assert nearest(np.arange(4)[None], 1, 2).tolist() == [[1, 3]]
    assert nearest(np.arange(3)[None], 1, 1).tolist() == [[1]]
    assert nearest(np.arange(2)[None], 1, 4).tolist() == [[0, 0, 1, 1]]
    assert nearest(np.arange(5)[None], 1, 3).tolist() == [[0, 2, 4]]
    assert nearest(np.zeros((7, 4, 4), bool), 2, 3).shape == (7, 2, 3)


def test_nearest_equals_scikit_image():
    mask = np.random.default_rng(0).random((101, 77)) > 0.5
    theirs = skimage_resize(mask, (45, 40), order=0, mode="edge", anti_aliasing=False)
    np.testing.assert_array_equal(nearest(mask, 45, 40), theirs)


def test_hounsfield_units_are_windowed():
    ct = np.array([[-2000, -1350], [-600, 150], [3000, 0]], np.int16)
    grey, transform = harmonize(ct, 3, intensity="hounsfield", window_hu=LUNG)
    assert grey[transform.window][:, 0].tolist()[0] == 0
    same, _ = harmonize(np.array([[-1350, 150], [-600, 3000]], np.int16), 2, intensity="hounsfield", window_hu=LUNG)
    assert same.tolist() == [[0, 255], [128, 255]]


def test_other_intensities_are_stretched_and_a_constant_is_black():
    film = np.array([[100, 300], [200, 200]], np.uint16)
    grey, _ = harmonize(film, 2, intensity="radiograph", window_hu=LUNG)
    assert grey.tolist() == [[0, 255], [128, 128]]
    assert not eight_bit(np.full((5, 5), 9), 5)[0].any()


def test_padding_is_black_and_outside_the_window():
    image = np.full((40, 20), 200, np.uint8)
    image[0, 0] = 0
    grey, transform = eight_bit(image, 60)
    assert (transform.top, transform.left, transform.height, transform.width) == (0, 15, 60, 30)
    assert not grey[:, :15].any()
    assert not grey[:, 45:].any()
    assert grey[10:, 15:45].min() == 255


def test_resize_takes_one_image_or_many_and_clips():
    images = np.stack([np.full((10, 10), -4.0), np.full((10, 10), 300.0), np.full((10, 10), 12.4)])
    assert resize(images, 5).dtype == np.uint8
    assert resize(images, 5)[:, 0, 0].tolist() == [0, 255, 12]
    np.testing.assert_array_equal(resize(images[2], 10), resize(images, 10)[2])
    assert resize(images[:0], 7).shape == (0, 7, 7)


def test_the_index_columns_are_the_fields():
    transform = Transform.fit(64, 128, 96)
    assert Transform(**transform.as_dict()) == transform
