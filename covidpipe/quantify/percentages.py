"""Counts, areas and the percentage of one image."""

from __future__ import annotations

from typing import Any

import numpy as np

from covidpipe.config import Config, Roles, Tissue
from covidpipe.quantify.lesions import lesion_areas, tissue_px
from covidpipe.quantify.lungs import Regions, lung_warnings, regions
from covidpipe.quantify.sides import sides_are_told, split_lungs
from covidpipe.registry import METHODS

# Said of a percentage, without making it doubtful.
REMARKS = {"screened_negative", "side_assumed"}


def infection_percent(infection_mask: np.ndarray, lung_mask: np.ndarray) -> float | None:
    """Percentage of lung pixels that are infected, or None if there is no lung.

    Infection outside the lung does not count.

    Parameters
    ----------
    infection_mask, lung_mask : ndarray of bool, any equal shape

    Returns
    -------
    float or None
        0 to 100.

    Raises
    ------
    ValueError
        The masks differ in shape.

    Examples
    --------
    >>> lung = np.array([[1, 1], [1, 1]], bool)
    >>> infection_percent(np.array([[1, 0], [0, 0]], bool), lung)
    25.0
    >>> infection_percent(lung, np.zeros_like(lung)) is None
    True
    """
    lung_px, infected_px = count(infection_mask, lung_mask)
    return percent(infected_px, lung_px)


def count(infection_mask: np.ndarray, lung_mask: np.ndarray) -> tuple[int, int]:
    """Lung pixels, and infected pixels among them."""
    infection, lung = np.asarray(infection_mask, bool), np.asarray(lung_mask, bool)
    if infection.shape != lung.shape:
        raise ValueError(f"infection_mask and lung_mask must have one shape; got {infection.shape} and {lung.shape}")
    return int(np.count_nonzero(lung)), int(np.count_nonzero(infection & lung))


def percent(infected_px: int, lung_px: int) -> float | None:
    """100 x infected / lung, or None if there is no lung.

    >>> percent(1, 4), percent(0, 0)
    (25.0, None)
    """
    return 100 * infected_px / lung_px if lung_px else None


def quantify_image(
    infection_mask: np.ndarray,
    lung_mask: np.ndarray,
    spacing_mm: tuple[float, float] | None = None,
    *,
    orientation: str | None = None,
    hu: np.ndarray | None = None,
    tissue: Tissue | None = None,
    screened_negative: bool = False,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The measured columns of an image's row: counts, areas, percentages, lesions and quality.

    Parameters
    ----------
    infection_mask, lung_mask : ndarray of bool, (rows, columns)
        On the image's native grid, as a radiologist sees it: what is counted are stored pixels.
    spacing_mm : tuple of float, optional
        Row and column spacing.
    orientation : str, optional
        What the file says of how it lies, as in the image table. None: the patient's right is taken to be on the left.
    hu : ndarray, (rows, columns), optional
        The image in Hounsfield units, if it is.
    tissue : Tissue, optional
        Which units are ground glass and consolidation; by default those of an empty config.
    screened_negative : bool
        The classifier found nothing and nothing was segmented: the percentage is 0, with or without lung.
    warnings : tuple of str
        Reason codes that the image brings along.

    Returns
    -------
    dict
        Columns of the INFECTION table.
    """
    infection, lung = np.asarray(infection_mask, bool), np.asarray(lung_mask, bool)
    if screened_negative:
        infection = np.zeros_like(infection)
    found = regions(lung)
    lung_px, infected_px = count(infection, lung)
    share = 0.0 if screened_negative else percent(infected_px, lung_px)
    reasons = {*warnings, *lung_warnings(lung, found)}
    sides = sides_are_told(orientation)
    reasons |= {
        code
        for code, holds in (
            ("no_lung", lung_px == 0),
            ("screened_negative", screened_negative),
            ("side_assumed", sides is False),
        )
        if holds
    }
    infected = infection & lung
    lesions = lesion_areas(infected)
    kinds = {} if hu is None else tissue_px(hu, infected, tissue or Tissue())
    pixel_mm2 = None if spacing_mm is None else spacing_mm[0] * spacing_mm[1]
    return {
        "lung_px": lung_px,
        "infected_px": infected_px,
        "lung_mm2": None if pixel_mm2 is None else lung_px * pixel_mm2,
        "infected_mm2": None if pixel_mm2 is None else infected_px * pixel_mm2,
        "infection_percent": share,
        **({} if sides is None else _of_sides(infection, lung, found)),
        "lesion_count": None if share is None else len(lesions),
        "largest_lesion_mm2": None if pixel_mm2 is None or not len(lesions) else int(lesions.max()) * pixel_mm2,
        **{f"{kind}_percent": percent(px, lung_px) for kind, px in kinds.items()},
        "qc_status": "warning" if reasons - REMARKS else "ok",
        "qc_reasons": sorted(reasons),
    }


def _of_sides(infection: np.ndarray, lung: np.ndarray, found: Regions) -> dict[str, Any]:
    """Pixels and percentage of the patient's right and left lung."""
    told: dict[str, Any] = {}
    for side, mask in zip(("right", "left"), split_lungs(lung, found), strict=True):
        lung_px, infected_px = count(infection, mask)
        told |= {f"{side}_lung_px": lung_px, f"{side}_lung_percent": percent(infected_px, lung_px)}
    return told


def rejected(*reasons: str) -> dict[str, Any]:
    """The measured columns of a row without a percentage: null, with the reason."""
    return {"qc_status": "rejected", "qc_reasons": sorted(reasons)}


def refusal(config: Config, method: str, modality: str) -> str | None:
    """Why a method cannot quantify images of a modality with the networks of a config, or None if it can.

    Examples
    --------
    >>> refusal(Config(), "khan2020", "xr")
    'method_not_for_modality'
    >>> refusal(Config(models={}), "alom2020", "xr")
    'no_model_for_modality'
    >>> refusal(Config(), "alom2020", "xr") is None
    True
    """
    roles = METHODS[method].roles
    if modality not in roles:
        return "method_not_for_modality"
    given = config.models.get(modality, Roles())  # type: ignore[call-overload]
    return None if all(getattr(given, task) for task in roles[modality]) else "no_model_for_modality"
