"""What a training needs to go on after it was killed: one file, replaced whole at the end of each epoch."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.io.files import replacing

log = logging.getLogger(__name__)

Arrays = Mapping[str, Sequence[np.ndarray]]


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch: arrays in named lists, and facts that JSON can hold."""

    arrays: Arrays
    facts: dict[str, Any]


class Checkpoints:
    """Keeps the newest checkpoint of one training.

    Parameters
    ----------
    folder : Path
        Made if it is not there. It must outlive a failed job: Snakemake deletes what a failed job should have written.
    key : str
        Fingerprint of all that decides the result: config, data, code. A checkpoint of another key is left where it
        is, for the case that the change is taken back, and is not resumed from.
    """

    def __init__(self, folder: str | Path, key: str):
        self.folder = Path(folder)
        self.path = self.folder / f"{key[:16]}.npz"
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self.folder.glob(".*.partial"):  # of a process that was killed while writing
            unfinished.unlink()

    def load(self) -> Checkpoint | None:
        """The newest checkpoint of this key, or None; says in the log what is left aside and why."""
        if self.path.exists():
            try:
                return _read(self.path)
            except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
                log.warning("%s is damaged (%s): training starts at the first epoch", self.path, error)
                return None
        for other in sorted(self.folder.glob("*.npz")):
            log.warning(
                "%s was left by another config, data or code: it is set aside, training starts at the first epoch",
                other,
            )
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; killed at any moment, the disk holds the old one or the new one, whole."""
        named: dict[str, Any] = {
            f"{kind}/{i:05d}": array for kind, arrays in checkpoint.arrays.items() for i, array in enumerate(arrays)
        }
        facts = np.frombuffer(json.dumps(checkpoint.facts).encode(), np.uint8)
        with replacing(self.path) as partial, partial.open("wb") as file:
            np.savez(file, facts=facts, **named)


def _read(path: Path) -> Checkpoint:
    arrays: dict[str, list[np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as found:
        for name in sorted(found.files):
            if name != "facts":
                arrays.setdefault(name.split("/")[0], []).append(found[name])
        return Checkpoint(arrays, json.loads(found["facts"].tobytes()))
