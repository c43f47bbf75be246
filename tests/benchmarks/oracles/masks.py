"""Masks and percentages with scikit-image and SciPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from skimage import measure, morphology

from covidpipe.quantify import lungs, sides

FOUR = ndimage.generate_binary_structure(2, 1)


def keep_large(mask: np.ndarray, min_px: float) -> np.ndarray:
    kept = np.zeros(mask.shape, bool)
    labels = measure.label(mask, connectivity=2)
    for region in measure.regionprops(labels):
        if region.area >= min_px:
            kept |= labels == region.label
    return kept


def fill_holes(mask: np.ndarray, max_px: float = np.inf) -> np.ndarray:
    filled = mask.copy()
    labels = measure.label(~mask, connectivity=1)
    rows, columns = mask.shape
    for region in measure.regionprops(labels):
        top, left, bottom, right = region.bbox
        if top > 0 and left > 0 and bottom < rows and right < columns and region.area <= max_px:
            filled |= labels == region.label
    return filled


def refine_lungs(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return mask
    # Beyond the image there is nothing that closing could start from, and nothing that it could take away.
    wide = np.pad(mask, lungs.CLOSING_RADIUS_PX)
    disk = morphology.disk(lungs.CLOSING_RADIUS_PX)
    grown = ndimage.binary_dilation(wide, disk)
    inner = (slice(lungs.CLOSING_RADIUS_PX, -lungs.CLOSING_RADIUS_PX),) * 2
    closed = ndimage.binary_erosion(np.pad(grown[inner], lungs.CLOSING_RADIUS_PX, constant_values=True), disk)[inner]
    largest = max(region.area for region in measure.regionprops(measure.label(closed, connectivity=2)))
    kept = keep_large(closed, lungs.SMALLEST_LUNG_SHARE * largest)
    return fill_holes(kept, lungs.LARGEST_HOLE_SHARE * kept.sum())


def lung_warnings(mask: np.ndarray) -> list[str]:
    if not mask.any():
        return []
    low, high = lungs.USUAL_AREA_SHARE
    found = [] if low <= mask.sum() / mask.size <= high else ["lung_area_unusual"]
    largest = max(measure.regionprops(measure.label(mask, connectivity=2)), key=lambda region: region.area)
    top, left, bottom, right = largest.bbox
    return found + ["single_lung"] * bool(largest.area > 0.95 * mask.sum() and bottom - top > right - left)


def split_lungs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = measure.label(mask, connectivity=2)
    right = np.zeros(mask.shape, bool)
    for region in measure.regionprops(labels):
        here = labels == region.label
        share = here[:, : mask.shape[1] // 2].sum() / region.area
        top, left, bottom, end = region.bbox
        if end - left > bottom - top and sides.BOTH_SIDES < share < 1 - sides.BOTH_SIDES:
            here[:, left + sides._narrowest(here[:, left:end]) :] = False
            right |= here
        elif share >= 0.5:
            right |= here
    return right, mask & ~right


def lesion_areas(mask: np.ndarray) -> list[int]:
    return sorted(int(region.area) for region in measure.regionprops(measure.label(mask, connectivity=2)))


def quantified(infection: np.ndarray, lung: np.ndarray, pixel_mm2: float) -> dict[str, Any]:
    """The measured columns of a row that do not depend on Hounsfield units."""

    def percent(part: np.ndarray, whole: np.ndarray) -> float | None:
        return 100 * int((part & whole).sum()) / int(whole.sum()) if whole.any() else None

    right, left = split_lungs(lung)
    areas = lesion_areas(infection & lung)
    return {
        "lung_px": int(lung.sum()),
        "infected_px": int((infection & lung).sum()),
        "infection_percent": percent(infection, lung),
        "right_lung_percent": percent(infection, right),
        "left_lung_percent": percent(infection, left),
        "lesion_count": len(areas) if lung.any() else None,
        "largest_lesion_mm2": max(areas) * pixel_mm2 if areas else None,
        "qc_reasons": sorted([*lung_warnings(lung), "side_assumed", *["no_lung"] * (not lung.any())]),
    }


def boundary_f(found: np.ndarray, truth: np.ndarray, tolerance: float) -> float | None:
    """F1 of the outlines, by the distance of each pixel to the other outline."""
    if not found.any() or not truth.any():
        return 0.0 if found.any() or truth.any() else None
    first, second = (mask & ~ndimage.binary_erosion(mask, FOUR) for mask in (found, truth))
    precision = (ndimage.distance_transform_edt(~second)[first] <= tolerance).mean()
    recall = (ndimage.distance_transform_edt(~first)[second] <= tolerance).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0
