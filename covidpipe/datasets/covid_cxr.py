"""ieee8023/covid-chestxray-dataset: 303 frontal X-rays of 170 patients with findings.

A film is labelled True if its finding names COVID-19, False if it names anything else (no finding, other pneumonia),
and not at all if nobody has read it yet ("todo").
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.records import ImageRecord


def records(root: Path) -> list[ImageRecord]:
    """One record a film."""
    return [
        ImageRecord(
            path=f"images/{row['file']}",
            patient=f"covid-cxr/{row['patientid']}",
            label=None if row["finding"] == "todo" else row["finding"].startswith("COVID-19"),
            modality="xr",
            intensity="radiograph",
        )
        for row in read_index(root, "file", "patientid", "finding")
    ]
