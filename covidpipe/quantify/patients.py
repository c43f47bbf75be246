"""From images to patients: the slices' percentages weighted by lung area."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe.quantify.percentages import percent

PATIENT = ["cohort", "patient_id", "study_id", "modality", "method"]
COUNTS = ("images", "images_refused", "lung_px", "infected_px")


def patient_counts(piece: pa.Table) -> pa.Table:
    """Images and pixels of each known patient in a part of the infection table."""
    piece = piece.filter(pc.is_valid(piece["patient_id"]))
    told = pc.is_valid(piece["infection_percent"])
    columns = {
        "images": told,
        "images_refused": pc.invert(told),
        "lung_px": pc.if_else(told, piece["lung_px"], 0),
        "infected_px": pc.if_else(told, piece["infected_px"], 0),
    }
    keys = piece.select(PATIENT)
    for name, values in columns.items():
        keys = keys.append_column(name, pc.cast(values, pa.int64()))
    return _summed(keys)


def patient_rows(counts: list[pa.Table]) -> list[dict[str, Any]]:
    """Rows of PATIENTS from the counts of all parts."""
    if not counts:
        return []
    rows = _summed(pa.concat_tables(counts)).to_pylist()
    return [row | {"infection_percent": percent(row["infected_px"], row["lung_px"])} for row in rows]


def _summed(table: pa.Table) -> pa.Table:
    summed = table.group_by(PATIENT).aggregate([(name, "sum") for name in COUNTS])
    return summed.rename_columns([name.removesuffix("_sum") for name in summed.column_names])
