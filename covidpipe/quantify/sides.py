"""Which lung is which: the patient's right and left lung of one picture."""

from __future__ import annotations

import numpy as np

from covidpipe.io.orientation import standard_of
from covidpipe.quantify.lungs import Regions, regions

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


def split_lungs(lung_mask: np.ndarray, found: Regions | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The patient's right and left lung; together they are `lung_mask`.

    A lung is what is connected, and lies where most of it lies: a lung that reaches across the middle of the picture,
    behind the heart, stays whole. Lungs that touch are parted at their narrowest column.

    Parameters
    ----------
    lung_mask : ndarray of bool, (rows, columns)
        As a radiologist sees it: column 0 is the patient's right.
    found : Regions, optional
        Its regions, if they are known already.

    Returns
    -------
    right, left : ndarray of bool, (rows, columns)

    Examples
    --------
    >>> right, left = split_lungs(np.array([[1, 1, 0, 1]], bool))
    >>> right.tolist(), left.tolist()
    ([[True, True, False, False]], [[False, False, False, True]])
    """
    found = regions(lung_mask) if found is None else found
    labels, number = found.labels, len(found.areas)
    middle = max(0, lung_mask.shape[1] // 2 - found.box[1].start)  # all columns from here on are the box's
    on_right = np.bincount(labels[:, :middle].ravel(), minlength=number)
    right = np.zeros(number, bool)
    parted = np.zeros(labels.shape, bool)
    for region in range(1, number):
        share = on_right[region] / found.areas[region]
        right[region] = share >= 0.5
        if not BOTH_SIDES < share < 1 - BOTH_SIDES:
            continue
        _, first, height, width = found.bounds(region)
        if width > height:
            here = labels[:, first : first + width] == region
            border = _narrowest(here)
            parted[:, first : first + border] |= here[:, :border]
            right[region] = False
    of_right = np.zeros(lung_mask.shape, bool)
    of_right[found.box] = right[labels] | parted
    return of_right, lung_mask.astype(bool) & ~of_right


def _narrowest(region: np.ndarray) -> int:
    """Column with the fewest pixels in the middle half of a region; of several, the one nearest to its middle."""
    width = region.shape[1]
    middle = np.arange(width // 4, width - width // 4)
    return int(min(middle, key=lambda column: (np.count_nonzero(region[:, column]), abs(column - width / 2))))
