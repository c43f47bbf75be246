"""Kermany et al.: 5,856 frontal X-rays of children of 1 to 5 years, healthy or with pneumonia (before COVID-19).

Source: doi:10.17632/rscbjbr9sj.2, at the 128 x 128 that Alom et al. use. A film is labelled True if it shows pneumonia.
The folders train, val and test are an uploader's random draw, neither the published one nor by patient: they say
nothing here. The patient is read from the file's name, where healthy children have one film each and some of those are
copies of one another; near-duplicates join them.
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.records import ImageRecord


def records(root: Path) -> list[ImageRecord]:
    """One record a film."""
    return [
        ImageRecord(
            path=f"{row['split']}/{row['label']}/{row['file']}",
            patient=f"kermany/{row['patient_from_name']}",
            label=row["label"] == "PNEUMONIA",
            lesion_free=row["label"] == "NORMAL",
            modality="xr",
            intensity="radiograph",
        )
        for row in read_index(root, "split", "label", "file", "patient_from_name")
    ]
