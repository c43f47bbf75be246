"""Which file an image is: the one place where paths are opened for people, on request."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from covidpipe.config import Config
from covidpipe.io.files import read_pieces, replacing
from covidpipe.io.sources import image_root
from covidpipe.schemas import IMAGES
from covidpipe.sealed import place

COLUMNS = ("image_id", "patient_id", "source_sha256")


def run(config: Config, cohort: str, images: Path, out: Path) -> int:
    """Write a CSV of ids and files that only its owner may read, and return its rows.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    out : Path

    Raises
    ------
    BadConfig
        The paths were sealed with another key.
    """
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    rows = 0
    with (
        replacing(out) as partial,
        os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
            "w",
            newline="",
            encoding="utf-8",
            errors="surrogateescape",
        ) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "path"])
        for piece in read_pieces(images, IMAGES):
            for row in piece.select([*COLUMNS, "path"]).to_pylist():
                writer.writerow([*(row[name] for name in COLUMNS), place(root, row["path"])])
                rows += 1
    return rows
