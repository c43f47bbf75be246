"""From areas of slices to volumes, where the slices of a series stand at known places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Status = Literal["regular", "bridged", "no_spacing", "irregular", "missing_slices"]

# A gap may differ from a whole number of slices by this share of one: positions are rounded in headers.
UNEVEN = 0.1
MISSING_AT_MOST = 0.1  # of the slices between the first and the last
ENDS = 0.05  # of the largest lung area: less than this in the outermost slices, and the lung ends inside the series


@dataclass(frozen=True)
class Volume:
    """Volumes of one series; None with the `status` that says why.

    Parameters
    ----------
    status : str
        ``regular``: evenly spaced and complete. ``bridged``: at most a tenth of the slices is missing, and each takes
        half of its area from either neighbor. ``no_spacing``: pixel spacing or positions are not known, or there are
        fewer than two slices. ``irregular``: places that are no multiples of the spacing, or taken twice.
        ``missing_slices``: more than a tenth is missing.
    slices, missing : int
        Slices that were measured, and those that lie between or beside them and were not.
    spacing_mm : float, optional
    lung_ml, infected_ml : float, optional
    covered : bool, optional
        True if the lung ends inside the series; if not, the volumes are those of the part that was imaged.
    """

    status: Status
    slices: int
    missing: int | None = None
    spacing_mm: float | None = None
    lung_ml: float | None = None
    infected_ml: float | None = None
    covered: bool | None = None


def series_volume(position_mm: ArrayLike, lung_mm2: ArrayLike, infected_mm2: ArrayLike) -> Volume:
    """Volumes of a series: each slice stands for the space up to half-way to its neighbors.

    Parameters
    ----------
    position_mm, lung_mm2, infected_mm2 : (n,) of float
        Of every slice of the series; the areas are NaN where a slice was refused. A slice without lung has areas of 0.

    Returns
    -------
    Volume

    Examples
    --------
    >>> series_volume([0, 5, 10], [0, 2000, 0], [0, 500, 0])
    Volume(status='regular', slices=3, missing=0, spacing_mm=5.0, lung_ml=10.0, infected_ml=2.5, covered=True)
    """
    places = np.asarray(position_mm, float)
    areas = np.stack([np.asarray(lung_mm2, float), np.asarray(infected_mm2, float)])
    measured = ~np.isnan(areas).any(axis=0)
    slices = int(measured.sum())
    if slices < 2 or np.isnan(places).any():
        return Volume("no_spacing", slices)
    everywhere = np.diff(np.unique(places))
    spacing = float(np.median(everywhere)) if len(everywhere) else 0.0
    order = np.argsort(places[measured], kind="stable")
    heights, areas = places[measured][order], areas[:, measured][:, order]
    gaps = np.diff(heights)
    if spacing <= 0 or (gaps <= 0).any():
        return Volume("irregular", slices)
    steps = np.rint(gaps / spacing)
    if (np.abs(gaps / spacing - steps) > UNEVEN).any() or (steps < 1).any():
        return Volume("irregular", slices, spacing_mm=spacing)
    missing = round((places.max() - places.min()) / spacing) + 1 - slices
    if missing > MISSING_AT_MOST * (slices + missing):
        return Volume("missing_slices", slices, missing, spacing)
    reach = np.concatenate([[spacing], gaps, [spacing]])
    lung_ml, infected_ml = (areas * (reach[:-1] + reach[1:]) / 2).sum(axis=1) / 1000
    largest = areas[0].max()
    return Volume(
        "bridged" if missing else "regular",
        slices,
        missing,
        spacing,
        float(lung_ml),
        float(infected_ml),
        bool(max(areas[0][0], areas[0][-1]) < ENDS * largest) if largest > 0 else None,
    )
