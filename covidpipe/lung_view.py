"""The lungs as a network sees them: cut out, the rest covered, grey levels told from that of air-filled lung.

What an infected lung looks like is a contrast: denser than the lung around it, at most as dense as the chest wall. The
grey levels of a picture are not: windows, exports and breaths move them, and a network trained on a few patients
remembers theirs. The level of air-filled lung is therefore read off each slice and put at a fixed place, and the square
around the lungs takes the place of the field of view. All of it is our reading; no paper does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from covidpipe.harmonize import nearest, rescale
from covidpipe.quantify.lungs import box_of

SMALLEST_LUNG_PX = 300  # on a grid of about 300 x 300: less has no levels to speak of
MARGIN = 0.15  # of the lungs' longer side, around them
SMALLEST_SIDE = 0.5  # of the grid: the apex of a lung is not blown up to the size of a chest
AIR_PERCENTILE = 10  # of the lung's grey levels: air-filled even where three quarters are infected
# Where air-filled lung is put, and what covers the rest: soft tissue, as far above as 900 HU are in a lung window of
# 1500 HU. Contrast stays as it is: where a window or CLAHE has flattened the tissue, lungs that were stretched to meet
# it would show noise as disease.
AIR = 45
TISSUE = AIR + 255 * 900 // 1500
RIM_PX = 2  # beyond the lungs is still seen; the rest is covered by tissue, for no lesion is there
SMOOTH_SHARE = 0.015  # of the side, blurred before a percentile is taken: noise has no say in it


@dataclass(frozen=True)
class Square:
    """A square of a grid, which may reach beyond its border (pixels of the grid)."""

    top: int
    left: int
    side: int

    def cut(self, plane: NDArray) -> NDArray:
        """The square out of (size, size): (side, side), the border repeated beyond it."""
        rows, columns = (np.clip(np.arange(start, start + self.side), 0, len(plane) - 1) for start in self._start)
        return plane[rows[:, None], columns]

    def put_back(self, plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
        """A plane of any size that shows the square, on the whole grid (size, size), linearly; 0 around it."""
        whole = np.zeros((size, size), np.float32)
        cut = cv2.resize(plane, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        inside = [slice(max(start, 0), min(start + self.side, size)) for start in self._start]
        of_cut = [slice(part.start - start, part.stop - start) for part, start in zip(inside, self._start, strict=True)]
        whole[tuple(inside)] = cut[tuple(of_cut)]
        return whole

    @property
    def _start(self) -> tuple[int, int]:
        return self.top, self.left


def around(lung: NDArray[np.bool_]) -> Square | None:
    """The square around the lungs with a margin; None where there is too little lung to look at.

    Parameters
    ----------
    lung : ndarray of bool, (size, size)

    Examples
    --------
    >>> lung = np.zeros((100, 100), bool)
    >>> lung[20:60, 10:90] = True
    >>> around(lung)
    Square(top=-6, left=4, side=92)
    """
    if np.count_nonzero(lung) < SMALLEST_LUNG_PX:
        return None
    side = round(max(_longest(lung) * (1 + MARGIN), SMALLEST_SIDE * len(lung)))
    top, left = ((part.start + part.stop - side) // 2 for part in box_of(lung))
    return Square(top, left, side)


def air_level(image: NDArray[np.uint8], lung: NDArray[np.bool_]) -> float:
    """Grey level of air-filled lung.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    lung : ndarray of bool, (rows, columns)
        Not empty.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), SMOOTH_SHARE * _longest(lung))
    return float(np.percentile(smooth[lung], AIR_PERCENTILE))


def level(image: NDArray[np.uint8], lung: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Put air-filled lung at its place, and cover what is not lung by soft tissue.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    lung : ndarray of bool, (rows, columns)
        If it is empty, all is covered.

    Returns
    -------
    ndarray of uint8, (rows, columns)
        `AIR` is air-filled lung, and `TISSUE` stands wherever there is no lung.
    """
    if not lung.any():
        return np.full_like(image, TISSUE)
    moved = np.clip(np.rint(image.astype(np.float32) + (AIR - air_level(image, lung))), 0, 255).astype(np.uint8)
    moved[~_grown(lung, RIM_PX)] = TISSUE
    return moved


def view(image: NDArray[np.uint8], lung: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """What the network is shown of a slice: the square `around` the lungs, its grey levels as by `level`.

    Parameters
    ----------
    image : ndarray of uint8, (rows, rows)
        On the common grid, with any window.
    lung : ndarray of bool, (rows, rows)
        What is infected counts as lung.
    size : int
        Rows and columns of the view.

    Returns
    -------
    ndarray of uint8, (size, size)
    """
    square = around(lung)
    if square is None:
        return np.full((size, size), TISSUE, np.uint8)
    return np.rint(rescale(square.cut(level(image, lung)), size, size)).astype(np.uint8)


def view_mask(mask: NDArray[np.uint8], square: Square | None, size: int) -> NDArray[np.uint8]:
    """A mask of the slice as the view shows it, (size, size), by the nearest pixel; empty without a square."""
    return np.zeros((size, size), mask.dtype) if square is None else nearest(square.cut(mask), size, size)


def _longest(mask: NDArray[np.bool_]) -> int:
    return max(part.stop - part.start for part in box_of(mask))


def _grown(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)) > 0
