"""Lung masks: morphological refinement, and what looks odd about them."""

from __future__ import annotations

import cv2
import numpy as np

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
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_px
    keep[0] = False  # the background
    return keep[labels]


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
    outside = (~mask).astype(np.uint8)
    # 4-connected, so that a diagonal step of the rim closes a hole, as it joins an 8-connected region
    _, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= max_px
    for rim in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        fill[rim] = False
    fill[0] = False  # the mask itself
    return mask | fill[labels]


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
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed.astype(np.uint8), connectivity=8)
    largest = stats[1:, cv2.CC_STAT_AREA].max()
    kept = keep_large(closed, SMALLEST_LUNG_SHARE * largest)
    return fill_holes(kept, LARGEST_HOLE_SHARE * np.count_nonzero(kept))


def lung_warnings(mask: np.ndarray) -> list[str]:
    """Reason codes of what is odd about a lung mask.

    ``lung_area_unusual``: less than 5 % or more than 60 % of the image. ``single_lung``: one region holds more than
    95 % of the lung and is taller than wide. (Two lungs that touch are one region as well, but wider than tall, on an
    axial slice as on a frontal film; the rule depends neither on the field of view nor on the patient's position.)

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
        On the native grid.

    Returns
    -------
    list of str
        Empty for a mask without lung: that has a reason of its own.
    """
    lung_px = np.count_nonzero(mask)
    if lung_px == 0:
        return []
    found = []
    low, high = USUAL_AREA_SHARE
    if not low <= lung_px / mask.size <= high:
        found.append("lung_area_unusual")
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    if largest[cv2.CC_STAT_AREA] > 0.95 * lung_px and largest[cv2.CC_STAT_HEIGHT] > largest[cv2.CC_STAT_WIDTH]:
        found.append("single_lung")
    return found
