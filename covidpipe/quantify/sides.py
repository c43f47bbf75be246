"""Which lung is which: the patient's right and left lung of one picture."""

from __future__ import annotations

import cv2
import numpy as np

from covidpipe.io.orientation import standard_of

# A region of which more than this share lies across the middle, and that is wider than tall, is both lungs touching.
BOTH_SIDES = 0.10


def sides_are_told(orientation: str | None) -> bool | None:
    """True if the file says where the patient's right is, False if the usual is assumed, None in a view from the side.

    Parameters
    ----------
    orientation : str, optional
        As in the image table.

    Examples
    --------
    >>> sides_are_told("R\\\\P"), sides_are_told("RAS"), sides_are_told(None), sides_are_told("A\\\\F")
    (True, True, False, None)
    """
    if orientation is None:
        return False
    return None if "\\" in orientation and standard_of(orientation) is None else True


def split_lungs(lung_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patient's right and left lung; together they are `lung_mask`.

    A lung is what is connected, and lies where most of it lies: a lung that reaches across the middle of the picture,
    behind the heart, stays whole. Lungs that touch are parted at their narrowest column.

    Parameters
    ----------
    lung_mask : ndarray of bool, (rows, columns)
        As a radiologist sees it: column 0 is the patient's right.

    Returns
    -------
    right, left : ndarray of bool, (rows, columns)

    Examples
    --------
    >>> right, left = split_lungs(np.array([[1, 1, 0, 1]], bool))
    >>> right.tolist(), left.tolist()
    ([[True, True, False, False]], [[False, False, False, True]])
    """
    mask = lung_mask.astype(np.uint8)
    number, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    columns = mask.shape[1]
    on_right = np.bincount(labels[:, : columns // 2].ravel(), minlength=number)
    right = np.zeros(number, bool)
    parted = np.zeros(mask.shape, bool)
    for region in range(1, number):
        share = on_right[region] / stats[region, cv2.CC_STAT_AREA]
        right[region] = share >= 0.5
        wide = stats[region, cv2.CC_STAT_WIDTH] > stats[region, cv2.CC_STAT_HEIGHT]
        if wide and BOTH_SIDES < share < 1 - BOTH_SIDES:
            first = stats[region, cv2.CC_STAT_LEFT]
            here = labels[:, first : first + stats[region, cv2.CC_STAT_WIDTH]] == region
            parted[:, : first + _narrowest(here)] |= labels[:, : first + _narrowest(here)] == region
            right[region] = False
    found = right[labels] | parted
    return found, lung_mask.astype(bool) & ~found


def _narrowest(region: np.ndarray) -> int:
    """Column with the fewest pixels in the middle half of a region; of several, the one nearest to its middle."""
    width = region.shape[1]
    middle = np.arange(width // 4, width - width // 4)
    return int(min(middle, key=lambda column: (np.count_nonzero(region[:, column]), abs(column - width / 2))))
