"""COVID-19-CT-Seg: 234 axial CT slices of 6 patients (Ma et al., doi:10.5281/zenodo.3757476), 8-bit, CLAHE by slice.

The volumes were thinned by the uploader, so a slice's place in its series is its order here, not its original number.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.records import ImageRecord


def records(root: Path) -> list[ImageRecord]:
    """One record a slice; a volume is a patient and a series."""
    seen: Counter[str] = Counter()
    found = []
    for row in sorted(read_index(root, "file", "volume", "infection_px"), key=lambda row: row["file"]):
        volume = f"coronacases/{row['volume']}"
        found.append(
            ImageRecord(
                path=f"ct/{row['file']}",
                patient=volume,
                series=volume,
                slice_index=seen[volume],
                label=int(row["infection_px"]) > 0,
                lesion_free=int(row["infection_px"]) == 0,
                lung_mask_path=f"lung/{row['file']}",
                infection_mask_path=f"infection/{row['file']}",
                modality="ct",
                intensity="windowed_8bit",
            )
        )
        seen[volume] += 1
    return found
