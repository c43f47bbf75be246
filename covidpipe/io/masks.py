"""Masks on the grid of the image files: what radiologists drew, and what was found in a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.errors import BadInput, BadTable
from covidpipe.harmonize import Transform
from covidpipe.io.files import read_table
from covidpipe.io.read import read_mask
from covidpipe.io.store import INDEX, Store
from covidpipe.quantify import infection_percent
from covidpipe.schemas import MASK_INDEX
from covidpipe.sealed import place

READ_AHEAD = 64  # masks in memory at a time
MASKS = ("lung", "infection")


@dataclass(frozen=True)
class Truth:
    """What the radiologists say of an image; None where they drew no such mask. Masks are bool, native grid."""

    lung: np.ndarray | None
    infection: np.ndarray | None

    @property
    def percent(self) -> float | None:
        if self.lung is None or self.infection is None:
            return None
        return infection_percent(self.infection, self.lung)

    @property
    def lesion_free(self) -> bool:
        return self.infection is not None and not self.infection.any()


def read_truth(root: Path, row: dict[str, Any]) -> Truth:
    """The radiologists' masks of an image."""
    drawn: dict[str, np.ndarray | None] = {}
    for name in MASKS:
        path = row[f"{name}_mask_path"]
        try:
            drawn[name] = None if path is None else read_mask(place(root, path), row["frame"], row["orientation"])
        except BadInput as error:
            raise BadTable(
                f"Image {row['image_id']}: wanted its {name} mask, as at ingest, but: {error.sentence} If the files "
                "changed, run ingest again; if not, restore them."
            ) from None
    return Truth(**drawn)


def mask_entries(store: Store) -> list[dict[str, Any]]:
    """The index rows of a mask store."""
    return read_table(store.folder / INDEX, MASK_INDEX).to_pylist()


def native_masks(
    store: Store, entries: Sequence[dict[str, Any]] | None = None
) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Each index row of a mask store, or of some, with its lung and infection mask on the native grid (bool)."""
    entries = mask_entries(store) if entries is None else entries
    for start in range(0, len(entries), READ_AHEAD):
        some = entries[start : start + READ_AHEAD]
        positions = [entry["n"] for entry in some]
        lungs, infections = (store.read(name, positions) > 0 for name in ("lung_mask", "infection_mask"))
        for entry, lung, infection in zip(some, lungs, infections, strict=True):
            transform = Transform(**{name: entry[name] for name in Transform.__dataclass_fields__})
            yield entry, transform.to_native(lung), transform.to_native(infection)
