"""Phantom folders, CT or X-ray, as ``covidpipe phantoms`` writes them: files, masks and an ``index.csv``."""

from __future__ import annotations

from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.errors import BadConfig
from covidpipe.records import ImageRecord

COLUMNS = ("file", "patient", "study", "series", "slice_index", "label", "lung_mask", "infection_mask")
LABELS = {"": None, "0": False, "1": True, "false": False, "true": True}


def records(root: Path) -> list[ImageRecord]:
    """One record a file; empty cells are unknown.

    Raises
    ------
    BadConfig
        The index is missing or holds a wrong value.
    """
    found = []
    for row in read_index(root, *COLUMNS):
        label, index = row["label"].lower(), row["slice_index"]
        if label not in LABELS or not (index == "" or index.isdigit()):
            raise BadConfig(
                f"{root / 'index.csv'}, file {row['file']}: label `{label}` and slice_index `{index}`; wanted 0 or 1, "
                "and a whole number, or nothing."
            )
        found.append(
            ImageRecord(
                path=row["file"],
                patient=row["patient"] or None,
                study=row["study"] or None,
                series=row["series"] or None,
                slice_index=int(index) if index else None,
                label=LABELS[label],
                lesion_free=None if LABELS[label] is None else not LABELS[label],
                lung_mask_path=row["lung_mask"] or None,
                infection_mask_path=row["infection_mask"] or None,
            )
        )
    return found
