"""From images to patients: percentages weighted by lung area, volumes, and the numbers of one study of one patient.

A slice percentage is not a patient percentage: a tip of the lung may be all white in a patient who is hardly ill.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

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

NUMBERS = {"infection_percent", "position_mm", "study_day"} | {
    name for name in OF_TABLE if name.endswith(("_px", "_mm2", "_percent"))
}

Columns = Mapping[str, NDArray[Any]]

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
    columns = {
        name: rows[name].to_numpy(float) if name in NUMBERS else rows[name].to_numpy(object, na_value=None)
        for name in rows.columns
    }
    empty = dict.fromkeys(PATIENTS.names)
    found = []
    for keys, places in rows.groupby(KEYS, dropna=False, sort=False).indices.items():
        told = {key: None if pd.isna(word) else word for key, word in zip(KEYS, keys, strict=True)}
        # arrays, not frames: a frame for each of a million patients takes hours
        found.append(empty | told | patient_row({name: values[places] for name, values in columns.items()}))
    return found


def patient_row(rows: Columns) -> dict[str, Any]:
    """Everything that is told of one patient's study by one method.

    Parameters
    ----------
    rows : mapping of column to ndarray, (n,)
        Its rows of INFECTION, with `position_mm` and `study_day` of IMAGES; numbers are float64, NaN for null.

    Returns
    -------
    dict
        Columns of PATIENTS but for its key.
    """
    has_percent = ~np.isnan(rows["infection_percent"])
    told = {name: values[has_percent] for name, values in rows.items()}
    has_lung = told["lung_px"] > 0
    lung = {name: values[has_lung] for name, values in told.items()}
    # Pixels of different size cannot be added; without sizes they must be.
    sized = bool(has_lung.any()) and not np.isnan(lung["lung_mm2"]).any()
    unit = lung["lung_mm2"] / lung["lung_px"] if sized else np.ones(len(lung["lung_px"]))
    if sized and np.ptp(unit) <= 1e-9 * unit[0]:
        unit = np.ones(len(unit))  # of one size: whole numbers then stay whole
    area = lung["lung_px"] * unit
    share = percent_of(lung["infected_px"] * unit, area)
    is_ct = rows["modality"][0] == "ct"
    days = rows["study_day"][~np.isnan(rows["study_day"])]
    return {
        "cohort": rows["cohort"][0],
        "images": int(has_percent.sum()),
        "images_refused": int((~has_percent).sum()),
        "lung_px": int(told["lung_px"].sum()),
        "infected_px": int(told["infected_px"].sum()),
        "infection_percent": share,
        "images_warned": int((told["qc_status"] == "warning").sum()),
        "weighted_by": None if not has_lung.any() else "mm2" if sized else "px",
        **{
            f"{side}_lung_percent": weighted(lung[f"{side}_lung_percent"], lung[f"{side}_lung_px"] * unit, some=True)
            for side in ("right", "left")
        },
        **{f"{kind}_percent": weighted(lung[f"{kind}_percent"], area) for kind in ("ggo", "consolidation")},
        **_maximum(lung, area),
        "severity_class": severity_class(share) if is_ct else None,
        "days_since_first_study": int(days[0]) if len(days) else None,
        "series": len(set(told["series_id"]) - {None}),
        **(_volumes(rows) if is_ct else {}),
    }


def percent_of(infected: np.ndarray, area: np.ndarray) -> float | None:
    """100 x the sum of one over that of the other; None without lung."""
    total = float(area.sum())
    return min(100.0, 100 * float(infected.sum()) / total) if total else None


def weighted(percents: np.ndarray, area: np.ndarray, *, some: bool = False) -> float | None:
    """Mean of percentages by area; None where one is missing, unless `some` may be, or where there is no area."""
    known = ~np.isnan(percents)
    if not known.any() or not (some or known.all()):
        return None
    total = float(area[known].sum())
    return float((percents[known] * area[known]).sum() / total) if total else None


def _maximum(lung: Columns, area: np.ndarray) -> dict[str, Any]:
    """The image with the highest percentage among those with enough lung; the first of several."""
    if not len(area):
        return {}
    highest = np.where(area >= MAXIMUM_OF * area.max(), lung["infection_percent"], -1).argmax()
    return {
        "max_image_percent": float(lung["infection_percent"][highest]),
        "max_image_id": lung["image_id"][highest],
    }


def _volumes(rows: Columns) -> dict[str, Any]:
    """Volumes of one series: of those that have volumes, else of all, the one with most slices measured."""
    best: tuple[Any, ...] | None = None
    chosen: tuple[str, Volume] | None = None
    for series_id in sorted(set(rows["series_id"]) - {None}):
        members = rows["series_id"] == series_id
        volume = series_volume(*(rows[name][members] for name in ("position_mm", "lung_mm2", "infected_mm2")))
        rank = (volume.lung_ml is not None, volume.slices)
        if best is None or rank > best:
            best, chosen = rank, (series_id, volume)
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
