"""MedSeg COVID-19 dataset 2: 829 axial CT slices of 9 volumes, in an 8-bit lung window.

Source: doi:10.6084/m9.figshare.13521509, used by Khan et al. A slice is labelled infected if its infection mask has a
pixel. Volumes 2 and 3 are one scan, reconstructed in thick and in thin slices: every slice of volume 2 lies in volume 3
too (r = 0.95 and more). A volume is told as a patient all the same; splits find the copies and join the two.
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.datasets.index import read_index
from covidpipe.records import ImageRecord


def records(root: Path) -> list[ImageRecord]:
    """One record a slice; a volume is a patient and a series."""
    return [
        ImageRecord(
            path=f"ct/{row['file']}",
            patient=f"medseg829/{row['volume']}",
            series=f"medseg829/{row['volume']}",
            slice_index=int(row["slice"]) - 1,
            label=row["infected"] == "1",
            lesion_free=row["infected"] == "0",
            lung_mask_path=f"lung/{row['file']}",
            infection_mask_path=f"infection/{row['file']}",
            modality="ct",
            intensity="windowed_8bit",
        )
        for row in read_index(root, "file", "volume", "slice", "infected")
    ]
