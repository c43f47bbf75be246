"""From images to patients: percentages weighted by lung area, volumes, and the numbers of one study of one patient.

A slice percentage is not a patient percentage: a tip of the lung may be all white in a patient who is hardly ill.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from covidpipe.quantify.severity import severity_class
from covidpipe.quantify.volumes import Volume, series_volume
from covidpipe.schemas import PATIENTS

KEYS = ["patient_id", "study_id", "modality", "method"]
OF_TABLE = (
    *("cohort", *KEYS, "series_id", "image_id", "qc_status", "infection_percent"),
    *("lung_px", "infected_px", "lung_mm2", "infected_mm2"),
    *("right_lung_px", "left_lung_px", "right_lung_percent", "left_lung_percent"),
    *("ggo_percent", "consolidation_percent"),
)
OF_IMAGES = ("image_id", "position_mm", "study_day")

# A slice with less lung than this share of the patient's largest is not asked for its percentage: it says little.
MAXIMUM_OF = 0.1


class Patients:
    """Rows of PATIENTS from an infection table that comes in pieces, sorted as its schema says: one patient is held.

    Examples
    --------
    >>> Patients().rows()
    []
    """

    def __init__(self) -> None:
        self._done: list[dict[str, Any]] = []
        self._waiting: pd.DataFrame | None = None

    def add(self, piece: pa.Table, images: pa.Table) -> None:
        """Take the next rows.

        Parameters
        ----------
        piece : pyarrow.Table
            Rows of INFECTION.
        images : pyarrow.Table
            Rows of IMAGES, of these images at least.
        """
        rows = piece.select(list(OF_TABLE)).to_pandas()
        rows = rows[rows["patient_id"].notna()]
        more = images.select(list(OF_IMAGES)).to_pandas()
        rows = rows.merge(more, on="image_id", how="left", validate="many_to_one")
        if self._waiting is not None:
            rows = pd.concat([self._waiting, rows], ignore_index=True)
        if len(rows):
            last = rows["patient_id"] == rows["patient_id"].iloc[-1]
            self._done += _rows(rows[~last])
            self._waiting = rows[last].reset_index(drop=True)

    def rows(self) -> list[dict[str, Any]]:
        """Rows of PATIENTS of all that was taken."""
        return self._done + ([] if self._waiting is None else _rows(self._waiting))


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    groups = rows.groupby(KEYS, dropna=False, sort=False)
    empty = dict.fromkeys(PATIENTS.names)
    return [
        {**empty, **{key: None if pd.isna(word) else word for key, word in zip(KEYS, keys, strict=True)}}
        | patient_row(group)
        for keys, group in groups
    ]


def patient_row(rows: pd.DataFrame) -> dict[str, Any]:
    """Everything that is told of one patient's study by one method.

    Parameters
    ----------
    rows : pandas.DataFrame
        Its rows of INFECTION, with `position_mm` and `study_day` of IMAGES.

    Returns
    -------
    dict
        Columns of PATIENTS but for its key.
    """
    told = rows[rows["infection_percent"].notna()]
    lung = told[told["lung_px"] > 0]
    # Pixels of different size cannot be added; without sizes they must be.
    sized = bool(len(lung)) and bool(lung["lung_mm2"].notna().all())
    unit = (lung["lung_mm2"] / lung["lung_px"]).to_numpy(float) if sized else np.ones(len(lung))
    if sized and np.ptp(unit) <= 1e-9 * unit[0]:
        unit = np.ones(len(lung))  # of one size: whole numbers then stay whole
    area = lung["lung_px"].to_numpy(float) * unit
    infected = lung["infected_px"].to_numpy(float) * unit
    share = percent_of(infected, area)
    is_ct = rows["modality"].iloc[0] == "ct"
    day = rows["study_day"].dropna()
    return {
        "cohort": rows["cohort"].iloc[0],
        "images": len(told),
        "images_refused": len(rows) - len(told),
        "lung_px": int(told["lung_px"].sum()),
        "infected_px": int(told["infected_px"].sum()),
        "infection_percent": share,
        "images_warned": int((told["qc_status"] == "warning").sum()),
        "weighted_by": None if not len(lung) else "mm2" if sized else "px",
        **{
            f"{side}_lung_percent": weighted(lung[f"{side}_lung_percent"], lung[f"{side}_lung_px"] * unit, some=True)
            for side in ("right", "left")
        },
        **{f"{kind}_percent": weighted(lung[f"{kind}_percent"], area) for kind in ("ggo", "consolidation")},
        **_maximum(lung, area),
        "severity_class": severity_class(share) if is_ct else None,
        "days_since_first_study": int(day.iloc[0]) if len(day) else None,
        "series": int(told["series_id"].nunique()),
        **(_volumes(rows) if is_ct else {}),
    }


def percent_of(infected: np.ndarray, area: np.ndarray) -> float | None:
    """100 x the sum of one over that of the other; None without lung."""
    total = float(area.sum())
    return min(100.0, 100 * float(infected.sum()) / total) if total else None


def weighted(percents: pd.Series, area: Any, *, some: bool = False) -> float | None:
    """Mean of percentages by area; None where one is missing, unless `some` may be, or where there is no area."""
    values, weights = percents.to_numpy(float), np.asarray(area, float)
    known = ~np.isnan(values)
    if not known.any() or not (some or known.all()):
        return None
    total = float(weights[known].sum())
    return float((values[known] * weights[known]).sum() / total) if total else None


def _maximum(lung: pd.DataFrame, area: np.ndarray) -> dict[str, Any]:
    """The image with the highest percentage among those with enough lung; the first of several."""
    if not len(lung):
        return {}
    enough = lung[area >= MAXIMUM_OF * area.max()]
    highest = enough.loc[enough["infection_percent"].idxmax()]
    return {"max_image_percent": float(highest["infection_percent"]), "max_image_id": highest["image_id"]}


def _volumes(rows: pd.DataFrame) -> dict[str, Any]:
    """Volumes of one series: of those that have volumes, else of all, the one with most slices measured."""
    best: tuple[Any, ...] | None = None
    chosen: tuple[str, Volume] | None = None
    for series_id, members in rows[rows["series_id"].notna()].groupby("series_id", sort=True):
        volume = series_volume(members["position_mm"], members["lung_mm2"], members["infected_mm2"])
        rank = (volume.lung_ml is not None, volume.slices)
        if best is None or rank > best:
            best, chosen = rank, (str(series_id), volume)
    if chosen is None:
        return {"volume_status": "no_spacing"}
    series, volume = chosen
    return {
        "volume_status": volume.status,
        "volume_series_id": series,
        "volume_slices": volume.slices,
        "volume_slices_missing": volume.missing,
        "slice_spacing_mm": volume.spacing_mm,
        "lung_ml": volume.lung_ml,
        "infected_ml": volume.infected_ml,
        "lung_covered": volume.covered,
    }
