"""What a terminal shows of a cohort at the end: the table's head, and the error against known percentages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from covidpipe.errors import BadTable
from covidpipe.io.files import file_sha256, read_frame
from covidpipe.report.page import FORMATS, MODALITY
from covidpipe.schemas import INFECTION

# Heading, column, how it is written, whether it is aligned to the right.
COLUMNS = (
    ("image", "image_id", "text", False),
    ("patient", "patient_id", "text", False),
    ("slice", "slice_index", "count", True),
    ("modality", "modality", "modality", False),
    ("method", "method", "text", False),
    ("infection_percent", "infection_percent", "percent", True),
    ("lung_px", "lung_px", "count", True),
    ("covid_probability", "covid_probability", "share", True),
    ("status", "qc_status", "text", False),
    ("reasons", "qc_reasons", "words", False),
)
TRUTH_COLUMNS = ["modality", "file", "lung_px", "infected_px", "infection_percent"]


def table_head(table: Path, rows: int = 10) -> str:
    """The first rows of an infection table and its most important columns, aligned, and a last line with its size.

    Parameters
    ----------
    table : Path
        infection.parquet
    rows : int

    Raises
    ------
    BadTable
        The file is missing or no infection table.
    """
    whole = read_frame(table, INFECTION)
    head = whole.head(rows)
    cells = [[heading, *map(FORMATS[how], head[name].tolist())] for heading, name, how, _ in COLUMNS]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, (_, _, _, right) in zip(line, widths, COLUMNS, strict=True)
        ).rstrip()
        for line in zip(*cells, strict=True)
    ]
    measured = int(whole["infection_percent"].notna().sum())
    lines.append(
        f"{len(head):,} of {len(whole):,} rows, {len(COLUMNS)} of {len(whole.columns)} columns; "
        f"{measured:,} rows have a percentage."
    )
    return "\n".join(lines)


def known_error(table: Path, truths: Path | Sequence[Path]) -> str:
    """How far an infection table lies from percentages that are known exactly: one line for each method and modality.

    Rows and files are joined by the SHA-256 of the files' bytes, so that no path is needed in the table.

    Parameters
    ----------
    table : Path
        infection.parquet
    truths : Path or sequence of Path
        The phantoms' truth.csv: modality, file (relative to its own folder, or to the modality's folder there),
        lung_px, infected_px, infection_percent.

    Raises
    ------
    BadTable
        A table is missing or has other columns, a file of the truth is missing, or no row belongs to any of them.
    """
    paths = [Path(truths)] if isinstance(truths, str | Path) else list(truths)
    truth = pd.concat([_truth(path) for path in paths], ignore_index=True)
    found = read_frame(table, INFECTION)[["source_sha256", "method", "modality", "infection_percent", "lung_px"]]
    joined = found.merge(truth, on="source_sha256", suffixes=("", "_true"))
    if joined.empty:
        raise BadTable(f"{table}: none of its images is a file of {', '.join(map(str, paths))}. Give their own truth.")
    lines = []
    for (modality, method), rows in joined.groupby(["modality", "method"], sort=True):
        told = rows[rows["infection_percent"].notna() & rows["infection_percent_true"].notna()]
        name = f"{method}, {MODALITY[str(modality)]}"
        if told.empty:  # such as khan2020 on X-rays, for which it is not defined
            continue
        error = told["infection_percent"].astype(float) - told["infection_percent_true"]
        lung = (told["lung_px"].astype(float) - told["lung_px_true"]) / told["lung_px_true"].where(
            told["lung_px_true"] > 0
        )
        without = len(rows) - len(told)
        lines.append(
            f"{name}: mean absolute error {error.abs().mean():.2f} points, bias {error.mean():+.2f}, n = {len(told)}; "
            f"lung area off by {100 * lung.abs().mean():.1f} % on average"
            + (f"; {without} more without a percentage." if without else ".")
        )
    return "\n".join(lines) or "No image has both a percentage and a known one."


def _truth(path: Path) -> pd.DataFrame:
    try:
        truth = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadTable(f"{path}: wanted the phantoms' truth as CSV, found none ({error}).") from None
    missing = [name for name in TRUTH_COLUMNS if name not in truth]
    if missing:
        raise BadTable(f"{path}: wanted the columns {', '.join(TRUTH_COLUMNS)}, {', '.join(missing)} is missing.")
    return truth[["file", "lung_px", "infection_percent"]].assign(
        source_sha256=[_hash(path.parent, m, f) for m, f in zip(truth["modality"], truth["file"], strict=True)]
    )


def _hash(folder: Path, modality: str, file: str) -> str:
    places = (folder / file, folder / modality / file)
    for place in places:
        if place.is_file():
            return file_sha256(place)
    raise BadTable(f"{folder}: the truth names {file}, found neither {places[0]} nor {places[1]}.")
