"""Outlines: by hand on drawn masks, against brute force over all pairs of points, and against surface-distance."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import surface_distance
from hypothesis import given
from hypothesis.extra import numpy as hnp

from covidpipe.metrics import boundary as b


def drawing(*rows: str) -> np.ndarray:
    return np.array([[mark == "#" for mark in row] for row in rows])


EMPTY = drawing("......", "......", "......", "......", "......")
DOT = drawing("......", "......", "..#...", "......", "......")
SQUARE = drawing("......", ".###..", ".###..", ".###..", "......")
SHIFTED = drawing("......", "..###.", "..###.", "..###.", "......")
RING = drawing("......", ".###..", ".#.#..", ".###..", "......")
CORNER = drawing("##....", "##....", "......", "......", "......")
DIAGONAL = drawing("......", ".#....", "..#...", "......", "......")
FULL = np.ones((5, 6), bool)
DRAWN = [EMPTY, DOT, SQUARE, SHIFTED, RING, CORNER, DIAGONAL, FULL]
SPACINGS = [(1.0, 1.0), (0.75, 0.75), (2.0, 0.5)]


def cases():
    """All pairs of drawn masks, then 1,000 random ones of many densities and shapes; each with a spacing."""
    rng = np.random.default_rng(11)
    drawn = [(one, other) for one in DRAWN for other in DRAWN]
    for n in range(len(drawn) + 1000):
        shape = tuple(rng.integers(2, 10, 2))
        random = (rng.random(shape) < rng.uniform(0.05, 0.9), rng.random(shape) < rng.uniform(0.05, 0.9))
        yield *(drawn[n] if n < len(drawn) else random), SPACINGS[n % len(SPACINGS)]


def brute_boundary(mask, spacing):
    """Places of the pixels that have a side to a pixel outside, pixel by pixel."""
    around = np.pad(mask, 1).tolist()
    return [
        (i * spacing[0], j * spacing[1])
        for i in range(1, len(around) - 1)
        for j in range(1, len(around[0]) - 1)
        if around[i][j] and not (around[i - 1][j] and around[i + 1][j] and around[i][j - 1] and around[i][j + 1])
    ]


def brute_contours(mask, spacing):
    """Points between pixels and the length of the line there, corner by corner: it joins middles of unlike sides."""
    around = np.pad(mask, 1).tolist()
    points, lengths = [], []
    for i in range(len(around) - 1):
        for j in range(len(around[0]) - 1):
            a, c, d, e = around[i][j], around[i][j + 1], around[i + 1][j], around[i + 1][j + 1]
            if 0 < a + c + d + e < 4:
                points.append((i * spacing[0], j * spacing[1]))
                sides = ((a != c, (0, 0.5)), (d != e, (1, 0.5)), (a != d, (0.5, 0)), (c != e, (0.5, 1)))
                ends = [(y * spacing[0], x * spacing[1]) for unlike, (y, x) in sides if unlike]
                # all four sides: two opposite pixels, of which both corners are cut off
                lengths.append(math.dist(*ends) if len(ends) == 2 else math.hypot(*spacing))
    return points, np.array(lengths)


def nearest(one, other):
    """Distance of each point to the nearest of the other list, both ways, from all pairs."""
    apart = np.sqrt(((np.array(one)[:, None] - np.array(other)[None]) ** 2).sum(axis=2))
    return apart.min(axis=1), apart.min(axis=0)


def brute_boundary_f(found, truth, tolerance, spacing):
    if not found.any() or not truth.any():
        return None if not found.any() and not truth.any() else 0.0
    there, back = nearest(brute_boundary(found, spacing), brute_boundary(truth, spacing))
    precision, recall = (there <= tolerance).mean(), (back <= tolerance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def brute_surface(found, truth, spacing, tolerance):
    """Hausdorff 95 and surface Dice by the distance of every pair of points."""
    if not found.any() or not truth.any():
        return None, None if not found.any() and not truth.any() else 0.0
    (one, long), (other, wide) = brute_contours(found, spacing), brute_contours(truth, spacing)
    sides = list(zip(nearest(one, other), (long, wide), strict=True))
    near = sum(lengths[distance <= tolerance].sum() for distance, lengths in sides)

    def percentile(distance, lengths):
        enough = 0.95 * lengths.sum() * (1 - 1e-12)
        return next(d for d in np.unique(distance) if lengths[distance <= d].sum() >= enough)

    return max(percentile(*side) for side in sides), near / (long.sum() + wide.sum())


def test_boundary_f_by_hand():
    # rings of 8 pixels, of which 4 coincide; of the left ring, those in its left column are a column away
    assert b.boundary(SQUARE).sum() == 8 and not b.boundary(SQUARE)[2, 2]
    assert b.boundary_f(SQUARE, SHIFTED, 0) == pytest.approx(4 / 8)
    assert b.boundary_f(SQUARE, SHIFTED, 1) == 1.0
    assert b.boundary_f(SQUARE, SHIFTED, 1.9, (1.0, 2.0)) == pytest.approx(5 / 8)  # a column further is 2 mm
    # of the 18 pixels along the edge of the image three lie two pixels from the dot
    assert b.boundary_f(DOT, FULL, 1) == 0.0
    assert b.boundary_f(DOT, FULL, 2) == pytest.approx(2 * (3 / 18) / (1 + 3 / 18))
    assert b.boundary_f(EMPTY, EMPTY, 1) is None
    assert b.boundary_f(EMPTY, DOT, 1) == b.boundary_f(DOT, EMPTY, 1) == 0.0


def test_the_tolerance_holds_whole_pixels_of_odd_size():
    assert b.boundary_f(SQUARE, SHIFTED, 0.1, (0.1, 0.1)) == 1.0
    apart = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    apart[0][0, 0] = apart[1][0, 3] = True
    assert b.boundary_f(*apart, 0.3, (0.1, 0.1)) == 1.0  # 3 * 0.1 > 0.3 in binary
    assert b.surface_dice(b.contours(*apart, (0.1, 0.1)), 0.3) == 1.0


def test_surface_by_hand():
    same = b.contours(SQUARE, SQUARE)
    assert b.hausdorff(same) == 0 and b.surface_dice(same, 0) == 1
    assert same.found_length.sum() == pytest.approx(8 + 4 * math.sqrt(0.5))  # 8 straight pieces, 4 cut corners
    shifted = b.contours(SQUARE, SHIFTED)
    assert b.hausdorff(shifted) == 1 and b.surface_dice(shifted, 1) == 1
    # of the 12 points of each outline 6 coincide: 4 straight ones and 2 corners
    assert b.surface_dice(shifted, 0) == pytest.approx((4 + 2 * math.sqrt(0.5)) / (8 + 4 * math.sqrt(0.5)))
    far = b.contours(DOT, CORNER, (2.0, 0.5))
    assert b.hausdorff(far, 100) == pytest.approx(math.hypot(2 * 2.0, 2 * 0.5))  # from the image's own corner
    assert far.found_length.sum() == pytest.approx(2 * math.hypot(2.0, 0.5))  # four corners cut in half
    in_mm, in_px = b.contours(SQUARE, DOT, (0.75, 0.75)), b.contours(SQUARE, DOT)
    for one, other in zip(in_mm, in_px.scaled(0.75), strict=True):
        np.testing.assert_allclose(one, other)


def test_empty_masks():
    assert b.hausdorff(b.contours(EMPTY, EMPTY)) is b.surface_dice(b.contours(EMPTY, EMPTY), 1) is None
    for one, other in ((EMPTY, DOT), (DOT, EMPTY)):
        assert b.hausdorff(b.contours(one, other)) is None
        assert b.surface_dice(b.contours(one, other), 1) == 0


def test_against_brute_force_on_all_cases():
    for found, truth, spacing in cases():
        f = b.boundary_f(found, truth, 1.3, spacing)
        assert f == pytest.approx(brute_boundary_f(found, truth, 1.3, spacing), abs=1e-9)
        outlines = b.contours(found, truth, spacing)
        distance, share = brute_surface(found, truth, spacing, 1.3)
        assert b.hausdorff(outlines) == pytest.approx(distance, abs=1e-9)
        assert b.surface_dice(outlines, 1.3) == pytest.approx(share, abs=1e-9)


def test_against_surface_distance_on_all_cases():
    for found, truth, spacing in cases():
        if not found.any() or not truth.any():
            continue  # the library asks NumPy for a constant that is no longer there
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy's, in the library
            theirs = surface_distance.compute_surface_distances(truth, found, spacing)
        ours = b.contours(found, truth, spacing)
        wanted = surface_distance.compute_robust_hausdorff(theirs, 95)
        assert b.hausdorff(ours, 95) == pytest.approx(wanted, abs=1e-9)
        wanted = surface_distance.compute_surface_dice_at_tolerance(theirs, 1.3)
        assert b.surface_dice(ours, 1.3) == pytest.approx(wanted, abs=1e-9)


def test_the_fast_distance_is_the_exact_one():
    rng = np.random.default_rng(0)
    found, truth = np.zeros((2, 304, 304), bool)
    found[tuple(rng.integers(0, 304, (2, 40)))] = truth[tuple(rng.integers(0, 304, (2, 40)))] = True
    fast, slow = b.contours(found, truth), b.contours(found, truth, (1.0, 1.0 + 1e-13))
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


masks = hnp.arrays(bool, (6, 7))


@given(masks, masks)
def test_symmetric_bounded_and_blind_to_flips(found, truth):
    f, outlines = b.boundary_f(found, truth, 1), b.contours(found, truth)
    share, distance = b.surface_dice(outlines, 1), b.hausdorff(outlines)
    assert f is None or 0 <= f <= 1
    assert share is None or 0 <= share <= 1
    turned = [(truth, found), (found[::-1], truth[::-1]), (found[:, ::-1], truth[:, ::-1]), (found.T, truth.T)]
    for one, other in turned:
        assert b.boundary_f(one, other, 1) == pytest.approx(f)
        again = b.contours(one, other)
        assert b.surface_dice(again, 1) == pytest.approx(share)
        assert b.hausdorff(again) == pytest.approx(distance)
    if found.any():
        assert b.boundary_f(found, found, 0) == b.surface_dice(b.contours(found, found), 0) == 1
