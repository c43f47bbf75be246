"""How well two outlines agree: boundary F score, Hausdorff distance and surface Dice of masks in a plane.

Distances are in the unit of `spacing`: pixels if it is (1, 1), else millimetres. Undefined is None; the rule for empty
masks stands in `covidpipe.metrics.counts`. Every distance is exact, no chamfer and no sampling.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Spacing = tuple[float, float]
PIXELS: Spacing = (1.0, 1.0)
# A distance of three pixels of 0.1 mm is within 0.3 mm, though 3 * 0.1 > 0.3 in binary.
SLACK = 1 + 1e-9
# OpenCV's distances are float32 roots of whole numbers; below this the whole number is known again.
EXACT_SQUARE = 2**21


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's pixels that touch a pixel outside it by a side; beyond the image all is outside.

    MATLAB's ``bwperim`` with 4 neighbours.

    >>> boundary(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    around = np.pad(np.asarray(mask, bool), 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return around[1:-1, 1:-1] & ~inside


def default_tolerance(shape: tuple[int, ...]) -> float:
    """0.75 % of the image's diagonal in pixels: the default of MATLAB's ``bfscore`` (Csurka et al. 2013).

    >>> round(default_tolerance((304, 304)), 4)
    3.2244
    """
    return 0.0075 * math.hypot(*shape)


def boundary_f(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: float, spacing: Spacing = PIXELS
) -> float | None:
    """F1 of the outlines: how many boundary pixels of each mask have one of the other within `tolerance`.

    MATLAB's ``bfscore`` (Csurka, Larlus & Perronnin 2013): 2 PR / (P + R) with P the share of the found boundary that
    lies at most `tolerance` from the true one, and R the converse.

    Parameters
    ----------
    found, truth : ndarray of bool, (rows, columns)
    tolerance : float
        In the unit of `spacing`.
    spacing : tuple of float
        Distance between rows and between columns.

    Returns
    -------
    float or None
        0 to 1; None if both masks are empty.
    """
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    if not found.any() or not truth.any():
        return 0.0 if found.any() or truth.any() else None
    first, second = boundary(found), boundary(truth)
    disk = _disk(tolerance, spacing)
    precision = np.count_nonzero(first & _dilated(second, disk)) / np.count_nonzero(first)
    recall = np.count_nonzero(second & _dilated(first, disk)) / np.count_nonzero(second)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _disk(tolerance: float, spacing: Spacing) -> NDArray[np.uint8]:
    """Every step of whole pixels that is no longer than `tolerance`."""
    down, across = (np.arange(-(n := int(tolerance * SLACK / side)), n + 1) * side for side in spacing)
    return (np.hypot(down[:, None], across) <= tolerance * SLACK).astype(np.uint8)


def _dilated(mask: NDArray[np.bool_], disk: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(bool)


class Contours(NamedTuple):
    """The pieces of two outlines: how far each lies from the other outline, and how long it is.

    Parameters
    ----------
    found_distance, found_length, truth_distance, truth_length : ndarray of float
        Distances are infinite if the other mask is empty.
    """

    found_distance: NDArray[np.float64]
    found_length: NDArray[np.float64]
    truth_distance: NDArray[np.float64]
    truth_length: NDArray[np.float64]

    def scaled(self, factor: float) -> Contours:
        """The same in another unit, such as mm for pixels with square spacing."""
        return Contours(*(factor * part for part in self))


def contours(found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Spacing = PIXELS) -> Contours:
    """Outline pieces of two masks and their distances, as google-deepmind/surface-distance defines them.

    A piece lies at each corner point between pixels that are not all alike, and is as long as the marching-squares
    line through its cell of four pixel centers; its distance is to the nearest such point of the other mask. Beyond the
    image all is outside.

    Parameters
    ----------
    found, truth : ndarray of bool, (rows, columns)
    spacing : tuple of float

    Returns
    -------
    Contours
    """
    codes = [_corner_codes(mask) for mask in _cropped(np.asarray(found, bool), np.asarray(truth, bool))]
    one, other = ((code != 0) & (code != 15) for code in codes)
    lengths = _lengths(spacing)
    return Contours(
        _distances(one, other, spacing),
        lengths[codes[0][one]],
        _distances(other, one, spacing),
        lengths[codes[1][other]],
    )


def _cropped(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks without what lies around both: no distance changes."""
    either = found | truth
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not len(rows):
        return found[:0, :0], truth[:0, :0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return found[box], truth[box]


def _corner_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """For each of the (rows + 1) x (columns + 1) corners, which of its four pixels lie in the mask."""
    around = np.pad(mask, 1).astype(np.uint8)
    return around[:-1, :-1] + 2 * around[:-1, 1:] + 4 * around[1:, :-1] + 8 * around[1:, 1:]


def _lengths(spacing: Spacing) -> NDArray[np.float64]:
    """Length of the line through a cell, by its code: it joins the middles of the sides whose ends differ."""
    down, across = spacing
    diagonal = math.hypot(down, across)
    lengths = np.full(16, diagonal / 2)  # one pixel unlike the other three
    lengths[[0, 15]] = 0
    lengths[[3, 12]] = across
    lengths[[5, 10]] = down
    lengths[[6, 9]] = diagonal  # two corners are cut off
    return lengths


def _distances(points: NDArray[np.bool_], others: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.float64]:
    """Distance of each of `points` to the nearest of `others`."""
    if not others.any():
        return np.full(np.count_nonzero(points), np.inf)
    if spacing[0] == spacing[1] and sum(side**2 for side in points.shape) < EXACT_SQUARE:
        rough = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.sqrt(np.rint(rough[points].astype(np.float64) ** 2)) * spacing[0]
    return ndimage.distance_transform_edt(~others, sampling=spacing)[points]


def hausdorff(outlines: Contours, percent: float = 95) -> float | None:
    """Robust Hausdorff distance: the larger of the two directions' percentiles, pieces weighed by their length.

    As in google-deepmind/surface-distance; others pool both directions and do not weigh, which differs by a fraction
    of a pixel.

    Returns
    -------
    float or None
        In the unit of the outlines' spacing; None if a mask is empty.
    """
    if not len(outlines.found_distance) or not len(outlines.truth_distance):
        return None
    return max(
        _percentile(outlines.found_distance, outlines.found_length, percent),
        _percentile(outlines.truth_distance, outlines.truth_length, percent),
    )


def _percentile(distance: NDArray[np.float64], length: NDArray[np.float64], percent: float) -> float:
    order = np.lexsort((length, distance))
    reached = np.cumsum(length[order]) / np.sum(length[order])
    return float(distance[order][min(int(np.searchsorted(reached, percent / 100)), len(order) - 1)])


def surface_dice(outlines: Contours, tolerance: float) -> float | None:
    """Share of both outlines' length that lies at most `tolerance` from the other one (Nikolov et al. 2018).

    Returns
    -------
    float or None
        0 to 1; None if both masks are empty.
    """
    total = outlines.found_length.sum() + outlines.truth_length.sum()
    if total == 0:
        return None
    within = (
        outlines.found_length[outlines.found_distance <= tolerance * SLACK].sum()
        + outlines.truth_length[outlines.truth_distance <= tolerance * SLACK].sum()
    )
    return float(within / total)
