"""Masks that were found in a shard, back on the grid of the image files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from covidpipe.harmonize import Transform
from covidpipe.io.files import read_table
from covidpipe.io.store import INDEX, Store
from covidpipe.schemas import MASK_INDEX

READ_AHEAD = 64  # masks in memory at a time


def native_masks(store: Store) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Each index row of a mask store, with its lung and infection mask on the image's native grid (bool)."""
    entries = read_table(store.folder / INDEX, MASK_INDEX).to_pylist()
    for start in range(0, len(entries), READ_AHEAD):
        some = entries[start : start + READ_AHEAD]
        positions = [entry["n"] for entry in some]
        lungs, infections = (store.read(name, positions) > 0 for name in ("lung_mask", "infection_mask"))
        for entry, lung, infection in zip(some, lungs, infections, strict=True):
            transform = Transform(**{name: entry[name] for name in Transform.__dataclass_fields__})
            yield entry, transform.to_native(lung), transform.to_native(infection)
