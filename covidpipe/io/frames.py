"""Khan et al.'s released frames and masks, as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from covidpipe.errors import BadConfig

WEIGHTS = "cov_raseg_authors_weights.npz"


def read_masks(root: Path, part: str) -> tuple[list[int], np.ndarray]:
    """Numbers and masks of the authors' list `part`, ``train`` or ``test``: uint8 (n, 304, 304), ordered by number.

    Raises
    ------
    BadConfig
        There are none.
    """
    folder = root / "segmentation" / f"{part}_masks"
    files = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("*.jpg")}
    if not files:
        raise BadConfig(
            f"{folder}: wanted the authors' {part} masks, found none. `covidpipe fetch khan2020` says more."
        )
    numbers = sorted(files)
    return numbers, np.stack([np.asarray(PIL.Image.open(files[number]).convert("L")) for number in numbers])


def read_frame(root: Path, number: int) -> np.ndarray:
    """One infected slice as exported, uint8 (304, 304, 3)."""
    return np.asarray(PIL.Image.open(root / "ct" / "infected" / f"Corona_CT_{number}.jpg").convert("RGB"))
