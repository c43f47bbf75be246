"""What a terminal shows of a cohort at the end: the table's head."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from covidpipe.io.files import read_pieces
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
        infection.parquet, or the folder of a large table.
    rows : int

    Raises
    ------
    BadTable
        The file is missing or no infection table.
    """
    first, whole, measured = INFECTION.schema.empty_table(), 0, 0
    for piece in read_pieces(table, INFECTION):
        first = pa.concat_tables([first, piece.slice(0, rows - len(first)).cast(INFECTION.schema)])
        whole, measured = whole + len(piece), measured + len(piece) - piece["infection_percent"].null_count
    head = first.to_pandas(types_mapper=pd.ArrowDtype)
    cells = [[heading, *map(FORMATS[how], head[name].tolist())] for heading, name, how, _ in COLUMNS]
    widths = [max(map(len, column)) for column in cells]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, (_, _, _, right) in zip(line, widths, COLUMNS, strict=True)
        ).rstrip()
        for line in zip(*cells, strict=True)
    ]
    lines.append(
        f"{len(head):,} of {whole:,} rows, {len(COLUMNS)} of {len(INFECTION.columns)} columns; "
        f"{measured:,} rows have a percentage."
    )
    return "\n".join(lines)
