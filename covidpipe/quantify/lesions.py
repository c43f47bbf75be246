"""Infected regions of one picture: how many, how large, and of what density."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covidpipe.config import Tissue
from covidpipe.quantify.lungs import regions


def lesion_areas(infection_mask: np.ndarray) -> NDArray[np.int64]:
    """Pixels of each separate infected region; regions that touch at a corner are one.

    Parameters
    ----------
    infection_mask : ndarray of bool, (rows, columns)

    Returns
    -------
    ndarray of int64, (regions,)
        In the order in which the regions are met from the top.

    Examples
    --------
    >>> lesion_areas(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], bool)).tolist()
    [2, 1]
    """
    return regions(infection_mask).areas[1:]


def tissue_px(hu: np.ndarray, infection_mask: np.ndarray, tissue: Tissue) -> dict[str, int]:
    """Infected pixels that are ground glass, and those that are consolidation.

    What is infected but neither, such as thin veils below the lower end or contrast medium above the upper one, is in
    neither count: the two need not add up to the infected pixels.

    Parameters
    ----------
    hu : ndarray, (rows, columns)
        Hounsfield units of the stored pixels; not those of a resized or windowed image.
    infection_mask : ndarray of bool, (rows, columns)
        Infected lung.
    tissue : Tissue
        The units, lower end included and upper end not.

    Returns
    -------
    dict of str to int
        ``ggo`` and ``consolidation``.

    Examples
    --------
    >>> tissue_px(np.array([[-751, -750, -301, -300, 49, 50]]), np.ones((1, 6), bool), Tissue())
    {'ggo': 2, 'consolidation': 2}
    """
    values = hu[infection_mask]
    ranges = {"ggo": tissue.ground_glass_hu, "consolidation": tissue.consolidation_hu}
    return {kind: int(np.count_nonzero((values >= low) & (values < high))) for kind, (low, high) in ranges.items()}
