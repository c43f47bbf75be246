"""Khan et al.'s segmentation files are exported figures: which pixels of them count decides the score."""

from __future__ import annotations

import numpy as np

SCORINGS = {
    "full_frame_exact": "the whole figure, white border included; only pixels whose mask is exactly 0 or 255, as "
    "MATLAB's pixel labels are read",
    "full_frame": "the whole figure, white border included; infected where the mask exceeds 127",
    "inside_ct": "inside the axes, the CT alone; infected where the mask exceeds 127",
}


EDGE = 1  # px: the outermost ring of the CT is resampled together with the border and neither one nor the other


def ct_box(masks: np.ndarray) -> tuple[slice, slice]:
    """The rectangle that the CT fills inside the exported figures.

    Parameters
    ----------
    masks : ndarray of uint8, (n, rows, columns)
        Masks as exported: the border is white in all of them, and no lesion is.

    Returns
    -------
    tuple of slice
        Rows and columns, without a ring of `EDGE` pixels. Tick labels stand in the border, so a row or column counts
        where most of it is no border.

    >>> masks = np.full((2, 8, 9), 255, np.uint8); masks[:, 1:6, 1:7] = 0
    >>> ct_box(masks)
    (slice(2, 5, None), slice(2, 6, None))
    """
    free = ~(masks > 127).all(axis=0)
    box = []
    for axis in (1, 0):
        pixels = free.sum(axis=axis)
        within = np.flatnonzero(pixels > pixels.max() / 2)
        box.append(slice(int(within[0]) + EDGE, int(within[-1]) + 1 - EDGE))
    return box[0], box[1]


def counted(mask: np.ndarray, scoring: str, box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of a mask a scoring counts, and which of them are infected.

    Parameters
    ----------
    mask : ndarray of uint8, (..., rows, columns)
    scoring : str
        A key of `SCORINGS`.
    box : tuple of slice
        The CT inside the figure (`ct_box`).

    Returns
    -------
    counts, infected : ndarray of bool, the shape of `mask`
    """
    if scoring == "full_frame_exact":
        return (mask == 0) | (mask == 255), mask == 255
    counts = np.ones(mask.shape, bool)
    if scoring == "inside_ct":
        counts[...] = False
        counts[(..., *box)] = True
    return counts, mask > 127
