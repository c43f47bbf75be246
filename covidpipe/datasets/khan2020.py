"""The files that Khan et al. released: 829 axial CT slices as exported figures, 370 of them with infection masks.

They are the slices of ``medseg829`` (every one is found there again), turned by 90 degrees and mirrored, inside a white
margin with tick labels. Image and mask are given as released, margin and all: in the masks the margin is white, so it
counts as infected lung, which is what the published scores rest on (`covidpipe.paper.frames` tells the CT from it).
Never train on one of the two and test on the other; the split refuses it.

The authors give no patients, so slices that look like neighbours are kept together. Their list of training and test
masks is the split of the protocol ``published``. "Healthy" means a slice without lesions, of a patient with COVID-19.
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.errors import BadConfig
from covidpipe.records import ImageRecord

IMAGES = {"infected": "Corona_CT_", "healthy": "Healty_CT_"}  # sic
MASK = "CoronaFinal1_D1_"
LISTS = {"train": "segmentation/train_masks", "test": "segmentation/test_masks"}


def records(root: Path) -> list[ImageRecord]:
    """One record a slice, by folder and number.

    Raises
    ------
    BadConfig
        A folder is missing.
    """
    masks = {
        number: (path, part) for part, folder in LISTS.items() for number, path in _numbered(root, folder, MASK).items()
    }
    found = []
    for kind, prefix in IMAGES.items():
        for number, path in sorted(_numbered(root, f"ct/{kind}", prefix).items()):
            mask, part = masks.get(number, (None, None)) if kind == "infected" else (None, None)
            found.append(
                ImageRecord(
                    path=path,
                    label=kind == "infected",
                    lesion_free=kind == "healthy",
                    infection_mask_path=mask,
                    published_part=part,
                    modality="ct",
                    intensity="windowed_8bit",
                )
            )
    return found


def _numbered(root: Path, folder: str, prefix: str) -> dict[int, str]:
    """Files of a folder, relative to `root`, by the number in their names."""
    if not (root / folder).is_dir():
        raise BadConfig(
            f"{root / folder}: there is no such folder, so the dataset is not there. Set `data` in the config, or "
            "COVIDPIPE_DATA, to the folder that holds the datasets."
        )
    return {
        int(path.stem.removeprefix(prefix)): f"{folder}/{path.name}" for path in (root / folder).glob(f"{prefix}*.jpg")
    }
