"""Infected regions by a threshold inside the lung (Alom et al. 2020), in variants that were measured side by side.

``adaptive`` is the paper's: only its idea is published. How far each variant is from radiologists' masks, and how much
"infection" it finds where there is none, is measured by workflow/scripts/measure_threshold.py: see docs/threshold.md
and `covidpipe.bias`.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.filters import threshold_otsu

from covidpipe.config import Threshold
from covidpipe.quantify.lungs import box_of, disk, fill_holes, keep_large

# Grey levels are whole: a pixel that equals the mean of its neighbors must not pass because of how sums are rounded.
ROUNDING = 1e-6


def adaptive_threshold(image: np.ndarray, lung_mask: np.ndarray, settings: Threshold) -> np.ndarray:
    """Mark the lung pixels that are brighter than the lung: around them, or in the whole picture.

    With ``adaptive`` or ``gaussian`` the level is the mean of *lung* pixels in a window (a normalized convolution): the
    mediastinum and the chest wall never enter it. With ``otsu`` and ``vessel_suppressed`` it is the one level that
    divides the lung's pixels best in two. The lung's rim is left out, because a mask's edge is always bright. Then
    specks are opened away, small regions dropped and holes filled.

    Vessels and the hilum are brighter than the lung around them on healthy images too, and a lesion larger than the
    window raises its own local mean. ``vessel_suppressed`` therefore drops regions that are nowhere as thick as a
    lesion, and lets those that stay grow back into bright lung, the rim included: lesions lie along the pleura.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
        Harmonized image; brighter is denser, on CT and on X-ray.
    lung_mask : ndarray of bool, (rows, columns)
    settings : Threshold

    Returns
    -------
    ndarray of bool, (rows, columns)
        A part of `lung_mask`.
    """
    found = np.zeros(lung_mask.shape, bool)
    # All happens within the lung's box; what opening and distances look at lies at most this far around it.
    around = max(settings.opening_radius, 2) + 1
    rows, columns = box_of(lung_mask)
    box = (
        slice(max(0, rows.start - around), rows.stop + around),
        slice(max(0, columns.start - around), columns.stop + around),
    )
    found[box] = _marked(image[box], lung_mask[box], settings, window(image.shape, settings))
    return found


def _marked(image: np.ndarray, lung_mask: np.ndarray, settings: Threshold, side: int) -> np.ndarray:
    """`adaptive_threshold` of all that is given, with a window of `side` pixels."""
    lung = lung_mask.astype(np.uint8)
    # beyond the image there is no lung: the default border would keep the rim of a lung that is cut off there
    inner = cv2.erode(lung, disk(settings.erode_lung_px), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not inner.any():
        return inner
    bright = image > local_value(image, inner, settings, side) + settings.offset + ROUNDING
    found = inner & bright
    if settings.opening_radius:
        found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, disk(settings.opening_radius)) > 0
    if settings.local == "vessel_suppressed":
        found = keep_thick(fill_holes(found) & inner, settings.vessel_radius_px)
        found = grow(keep_large(found, settings.min_object_px), bright & lung_mask, settings.regrow_px)
        return fill_holes(found) & lung_mask
    found = keep_large(found, settings.min_object_px)
    return fill_holes(found) & inner


def window(shape: tuple[int, ...], settings: Threshold) -> int:
    """Side of the local window in an image of this shape: odd, so that it has a center."""
    return max(3, round(settings.window_share * max(shape)) | 1)


def local_value(
    image: np.ndarray, inner: np.ndarray, settings: Threshold, side: int | None = None
) -> np.ndarray | float:
    """What each pixel is compared with: mean or Gaussian mean of the lung in its window, or Otsu's one value.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    inner : ndarray of bool, (rows, columns)
        Lung pixels that count.
    settings : Threshold
    side : int, optional
        Of the window, where `image` is a part of another; None: as is due to it.

    Returns
    -------
    ndarray of float64, (rows, columns), or float
        Defined where `inner` is true.
    """
    if settings.local in ("otsu", "vessel_suppressed"):
        values = image[inner]
        # one grey level alone has no two classes
        return float(threshold_otsu(values)) if values.min() < values.max() else float(values.max())
    side = side or window(image.shape, settings)
    smooth = _gaussian if settings.local == "gaussian" else _box
    weight, total = smooth(inner.astype(np.float64), side), smooth(np.where(inner, image, 0).astype(np.float64), side)
    return np.divide(total, weight, out=np.zeros_like(total), where=inner)


def keep_thick(mask: np.ndarray, radius: float) -> np.ndarray:
    """Drop 8-connected regions in which no disk of `radius` pixels fits: vessels, fissures, walls of airways.

    Parameters
    ----------
    mask : ndarray of bool, (rows, columns)
    radius : float
        Compared with the distance to the nearest pixel outside of the region; 0 keeps all.

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    inside = mask.astype(np.uint8)
    number, labels = cv2.connectedComponents(inside, connectivity=8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    keep = np.zeros(number, bool)
    keep[labels[depth >= max(radius, ROUNDING)]] = True
    return keep[labels]


def grow(mask: np.ndarray, within: np.ndarray, steps: int) -> np.ndarray:
    """`mask` with what touches it inside `within`, `steps` pixels far (a geodesic dilation).

    Parameters
    ----------
    mask, within : ndarray of bool, (rows, columns)
    steps : int

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    square = np.ones((3, 3), np.uint8)
    for _ in range(steps):
        mask = mask | ((cv2.dilate(mask.astype(np.uint8), square) > 0) & within)
    return mask


def _box(values: np.ndarray, side: int) -> np.ndarray:
    return cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)


def _gaussian(values: np.ndarray, side: int) -> np.ndarray:
    # a window of six standard deviations holds 99.7 % of the weight in each direction
    return cv2.GaussianBlur(values, (side, side), side / 6, borderType=cv2.BORDER_CONSTANT)
