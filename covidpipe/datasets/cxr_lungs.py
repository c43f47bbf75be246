"""Montgomery and Shenzhen X-rays with lung masks (NLM): the 704 pairs of Alom et al.

The sets give one film a person, so the file is the patient.
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.records import ImageRecord


def records(root: Path) -> list[ImageRecord]:
    """One record a film; none has COVID-19 (the films are older), and so none a label. Half show tuberculosis."""
    return [
        ImageRecord(
            path=f"images/{row['file']}",
            patient=f"cxr-lungs/{Path(row['file']).stem}",
            lesion_free=row["tb_label"] == "0",
            lung_mask_path=f"masks/{row['file']}",
            modality="xr",
            intensity="radiograph",
        )
        for row in read_index(root, "file", "tb_label")
    ]
