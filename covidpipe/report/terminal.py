"""What a terminal shows of a cohort at the end: the table's head."""

from __future__ import annotations

from pathlib import Path

from covidpipe.io.files import read_frame
from covidpipe.report.page import FORMATS
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
