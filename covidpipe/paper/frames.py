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


def margin(masks: np.ndarray) -> np.ndarray:
    """What a painter who never looks for a lesion paints: the pixels that are white in every mask.

    Parameters
    ----------
    masks : ndarray of uint8, (n, rows, columns)
        Of the training list, as exported.

    Returns
    -------
    ndarray of bool, (rows, columns)

    >>> margin(np.array([[[255, 255, 0]], [[255, 0, 200]]], np.uint8)).tolist()
    [[True, False, False]]
    """
    return np.asarray((masks > 127).all(axis=0))


def confusions(found: np.ndarray, masks: np.ndarray, scoring: str, box: tuple[slice, slice]) -> np.ndarray:
    """Pixels of each frame that are rightly and falsely called infected and background, as a scoring counts them.

    Parameters
    ----------
    found : ndarray of bool, (n, rows, columns) or (rows, columns)
        Called infected; one mask for all frames if it has no n.
    masks : ndarray of uint8, (n, rows, columns)
        As exported.
    scoring : str
        A key of `SCORINGS`.
    box : tuple of slice
        The CT inside the figure (`ct_box`).

    Returns
    -------
    ndarray of int, (n, 4)
        True positives, false positives, true negatives, false negatives: the order of `metrics.counts.Counts`.

    >>> masks = np.array([[[255, 255, 0, 100]]], np.uint8)
    >>> confusions(np.array([[True, False, True, True]]), masks, "full_frame_exact", ct_box(masks * 0)).tolist()
    [[1, 1, 0, 1]]
    """
    counts, infected = counted(masks, scoring, box)
    found = np.broadcast_to(found, masks.shape)
    cells = (found & infected, found & ~infected, ~found & ~infected, ~found & infected)
    return np.stack([(cell & counts).sum(axis=(1, 2)) for cell in cells], axis=1)
