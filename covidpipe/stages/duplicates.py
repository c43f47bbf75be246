"""Which images must not be separated, within one source or between two: copies, and a patient's."""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from covidpipe.duplicates import SIDE, Match, Signatures, near_duplicates, neighbours
from covidpipe.errors import BadTable
from covidpipe.io.files import read_table, write_table
from covidpipe.schemas import DUPLICATES, IMAGES, SIGNATURES
from covidpipe.splits import Shared, joined_groups

log = logging.getLogger(__name__)

TOLD = 20  # pairs that the log names


class Images:
    """The accepted images of one source, by image_id, with what they are recognized by."""

    def __init__(self, name: str, images: Path, signatures: Path):
        self.name = name
        table = read_table(images, IMAGES).sort_by("image_id")
        rows = table.filter(table["accepted"]).select(["image_id", "patient_id", "pixel_sha256", "modality"])
        columns: dict[str, list[Any]] = rows.to_pydict()
        self.ids, self.patients, self.pixels = (columns[k] for k in ("image_id", "patient_id", "pixel_sha256"))
        self.modality = np.array(columns["modality"], object)
        self.signatures = self._signatures(signatures)

    def _signatures(self, file: Path) -> Signatures:
        table = read_table(file, SIGNATURES).sort_by([("image_id", "ascending"), ("view", "descending")])
        place = {image_id: n for n, image_id in enumerate(self.ids)}
        missing = set(place) - set(pc.unique(table["image_id"]).to_pylist())
        if missing:
            raise BadTable(
                f"{file}: {len(missing)} accepted images of {self.name} have no signature, e.g. {min(missing)}. "
                "Only images of a declared dataset have them: run ingest again, with `dataset`."
            )
        pixels = np.frombuffer(b"".join(table["thumbnail"].to_pylist()), np.uint8)
        return Signatures(
            np.array([place[image_id] for image_id in table["image_id"].to_pylist()], np.int64),
            pixels.reshape(-1, SIDE, SIDE),
        )


def run(first: Images, second: Images | None, out: Path) -> None:
    """Write the table of pairs (DUPLICATES).

    Within one source it holds the near-duplicates that patients and equal pixels do not tell, and, of CT slices whose
    patient is unknown, the pairs that look like neighbours. Between two it holds every near-duplicate.

    Parameters
    ----------
    first : Images
    second : Images, optional
    out : Path
    """
    started = time.time()
    pairs = within(first) if second is None else between(first, second)
    write_table(out, [pair._asdict() for pair in pairs], DUPLICATES)
    counts = dict(sorted(Counter(pair.reason for pair in pairs).items()))
    what = first.name if second is None else f"{first.name} and {second.name}"
    log.info("%s: %s in %.1f s", what, counts or "no copies", time.time() - started)
    copies = [pair for pair in pairs if pair.reason != "neighbour"]
    for pair in copies[:TOLD]:
        log.info("%s", pair.sentence())
    if len(copies) > TOLD:
        log.info("... and %d more", len(copies) - TOLD)


def within(source: Images) -> list[Shared]:
    """Pairs of one source that neither patient nor pixels join."""
    unknown = np.array([patient is None for patient in source.patients], bool) & (source.modality == "ct")
    shown = unknown[source.signatures.image]
    kin = neighbours(Signatures(source.signatures.image[shown], source.signatures.thumbnail[shown]))
    known = joined_groups(source.patients, source.pixels, pairs=[(a, b) for a, b, _ in kin])
    copies = near_duplicates(source.signatures, known=(known, known))
    found = [("neighbour", match) for match in kin] + [("near_duplicate", match) for match in copies]
    return [_shared(source, source, reason, match) for reason, match in found]


def between(first: Images, second: Images) -> list[Shared]:
    """Pairs of images of two sources that are one picture."""
    copies = near_duplicates(first.signatures, second.signatures)
    return [_shared(first, second, "near_duplicate", match) for match in copies]


def _shared(first: Images, second: Images, reason: str, match: Match) -> Shared:
    ids = first.ids[match.first], second.ids[match.second]
    return Shared(first.name, ids[0], second.name, ids[1], reason, match.correlation)
