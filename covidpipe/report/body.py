"""What lies outside of the body is not shown: names are burned in there."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import convex_hull_image

LETTER_STROKE_PX = 3  # thinner things do not join writing to a body
RIM = 0.01  # of the longer side: skin that is darker than the body


def without_writing(grey: NDArray[np.uint8], lung_mask: NDArray[np.bool_], modality: str) -> NDArray[np.uint8]:
    """Blacken everything outside of the body.

    The body is the largest bright region (Otsu's level) together with the lungs; of
    a film, whose dark parts belong to the body as well, the convex hull of these. Our reading; writing on the body
    itself is not found.

    Parameters
    ----------
    grey : ndarray of uint8, shape (rows, columns)
    lung_mask : ndarray of bool, shape (rows, columns)
    modality : {"ct", "xr"}

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)  # noise is neither writing nor a hole in the body
    level, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    stroke = np.ones((LETTER_STROKE_PX + 2, LETTER_STROKE_PX + 2), np.uint8)
    bright = cv2.morphologyEx((smooth > level).astype(np.uint8), cv2.MORPH_OPEN, stroke)
    regions, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
    body = lung_mask.copy()
    if regions > 1:
        body |= labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    rim = 2 * max(1, round(RIM * max(grey.shape))) + 1
    grown = cv2.dilate(body.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim)))
    whole = convex_hull_image(grown > 0) if modality == "xr" else _filled(grown)
    return np.where(whole, grey, np.uint8(0))


def _filled(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask with everything that its outer edges enclose."""
    edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, edges, -1, 1, cv2.FILLED)
    return filled > 0
