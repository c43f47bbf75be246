"""Reading a dataset's index."""

from __future__ import annotations

import csv
from pathlib import Path

from covidpipe.errors import BadConfig


def read_index(root: Path, *wanted: str) -> list[dict[str, str]]:
    """Rows of ``index.csv`` in `root`.

    Raises
    ------
    BadConfig
        There is no index, or it lacks a wanted column.
    """
    path = root / "index.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            found = reader.fieldnames or []
    except FileNotFoundError:
        raise BadConfig(
            f"{path}: there is no such file, so the dataset is not there. Set `data` in the config, or COVIDPIPE_DATA, "
            "to the folder that holds the datasets."
        ) from None
    missing = [column for column in wanted if column not in found]
    if missing:
        raise BadConfig(
            f"{path}: wanted columns {', '.join(wanted)}; missing {', '.join(missing)}. `covidpipe datasets` tells "
            "how the folder of each dataset is laid out."
        )
    return rows
