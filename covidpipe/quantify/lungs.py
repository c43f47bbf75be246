"""Lung masks: morphological refinement, and what looks odd about them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# A lung of a slice is at least this share of the largest region. Both lungs may be joined in one region, and a fissure,
# a vessel or an effusion may split one: so a share decides, not a number of regions.
SMALLEST_LUNG_SHARE = 0.10
CLOSING_RADIUS_PX = 2
# A lesion that the network left out of the lung is a hole to fill. A ring of lung around the mediastinum is not: larger
# holes stay open.
LARGEST_HOLE_SHARE = 0.10
USUAL_AREA_SHARE = (0.05, 0.60)


def disk(radius: int) -> np.ndarray:
    """Round structuring element, uint8 (2 radius + 1, 2 radius + 1).

    >>> disk(1).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


@dataclass(frozen=True)
class Regions:
    """The 8-connected regions of a mask, in the smallest box that holds them all.

    Parameters
    ----------
    box : (slice, slice)
        Rows and columns of the mask.
    labels : ndarray of int32, the box's shape
        0 outside of the mask, else the number of a region from 1.
    areas : ndarray of int64, (regions + 1,)
        Pixels by label.
    """

    box: tuple[slice, slice]
    labels: NDArray[np.int32]
    areas: NDArray[np.int64]

    def bounds(self, label: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of a region, within the box."""
        left, top, width, height = cv2.boundingRect((self.labels == label).view(np.uint8))
        return top, left, height, width


def regions(mask: np.ndarray) -> Regions:
    """The regions of a mask, (rows, columns) of bool.

    OpenCV's connected components with statistics take four times as long as without, and most of a mask is empty.
    """
    box = box_of(mask)
    inside = mask[box].astype(np.uint8)
    if not inside.size:
        return Regions(box, np.zeros(inside.shape, np.int32), np.zeros(1, np.int64))
    return Regions(box, *_labelled(inside, 8))


def _labelled(inside: NDArray[np.uint8], connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    number, labels = cv2.connectedComponents(inside, connectivity=connectivity)
    return np.asarray(labels, np.int32), np.bincount(labels.ravel(), minlength=number)


def box_of(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box that holds a mask; empty if it is.

    >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (slice(1, 2, None), slice(1, 3, None))
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def keep_large(mask: np.ndarray, min_px: float) -> np.ndarray:
    """Drop 8-connected regions of fewer than `min_px` pixels.

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
    min_px : float

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    return _kept(mask, regions(mask), min_px)


def _kept(mask: np.ndarray, found: Regions, min_px: float) -> np.ndarray:
    keep = found.areas >= min_px
    keep[0] = False  # the background
    if keep[1:].all():
        return mask.astype(bool)
    large = np.zeros(mask.shape, bool)
    large[found.box] = keep[found.labels]
    return large


def fill_holes(mask: np.ndarray, max_px: float = np.inf) -> np.ndarray:
    """Fill background regions that do not touch the border and have at most `max_px` pixels.

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
    max_px : float

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    filled = mask.astype(bool)
    box = box_of(filled)
    if not filled[box].size:
        return filled
    # A rim, in which all that is outside joins.
    outside = cv2.copyMakeBorder((~filled[box]).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    # 4-connected, so that a diagonal step of the rim closes a hole, as it joins an 8-connected region
    number, labels = cv2.connectedComponents(outside, connectivity=4)
    if number > 2:
        inner = labels[1:-1, 1:-1]
        fill = np.bincount(inner.ravel(), minlength=number) <= max_px
        fill[[0, labels[0, 0]]] = False  # the mask itself, and what is outside
        filled[box] |= fill[inner]
    return filled


def refine_lungs(mask: np.ndarray) -> np.ndarray:
    """Morphological refinement of a lung mask: close, keep the large regions, fill the holes.

    Small gaps are closed (disk of radius 2), regions smaller than a tenth of the largest are dropped, and holes of at
    most a tenth of the remaining area are filled. Nothing is ever added away from the mask.

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
        On the harmonized grid, about 300 x 300.

    Returns
    -------
    ndarray of bool, (rows, columns)

    References
    ----------
    Alom et al. 2020, section 3.3 (lung mask, morphological operations, large regions kept). The numbers are ours.
    """
    if not mask.any():
        return mask.astype(bool)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disk(CLOSING_RADIUS_PX)) > 0
    found = regions(closed)
    kept = _kept(closed, found, SMALLEST_LUNG_SHARE * found.areas[1:].max())
    return fill_holes(kept, LARGEST_HOLE_SHARE * np.count_nonzero(kept))


def lung_warnings(mask: np.ndarray, found: Regions | None = None) -> list[str]:
    """Reason codes of what is odd about a lung mask.

    ``lung_area_unusual``: less than 5 % or more than 60 % of the image. ``single_lung``: one region holds more than
    95 % of the lung and is taller than wide. (Two lungs that touch are one region as well, but wider than tall, on an
    axial slice as on a frontal film; the rule depends neither on the field of view nor on the patient's position.)

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
        On the native grid.
    found : Regions, optional
        Its regions, if they are known already.

    Returns
    -------
    list of str
        Empty for a mask without lung: that has a reason of its own.
    """
    found = regions(mask) if found is None else found
    lung_px = int(found.areas[1:].sum())
    if lung_px == 0:
        return []
    odd = []
    low, high = USUAL_AREA_SHARE
    if not low <= lung_px / mask.size <= high:
        odd.append("lung_area_unusual")
    largest = 1 + int(found.areas[1:].argmax())
    if found.areas[largest] > 0.95 * lung_px:
        _, _, height, width = found.bounds(largest)
        if height > width:
            odd.append("single_lung")
    return odd
