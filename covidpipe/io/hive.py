"""A table too large for one file: a folder of files, in folders named after what they hold (hive)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from covidpipe import paths
from covidpipe.io.files import NULL_FOLDER, RowGroups, in_order, replacing
from covidpipe.schemas import TableSpec


def infection_in(folder: Path) -> Path:
    """The infection table in a cohort's `folder`: the file, or the folder of files, whichever is there."""
    large = paths.infection(folder, large=True)
    return large if large.is_dir() else paths.infection(folder, large=False)


def write_dataset(folder: str | Path, pieces: Iterable[pa.Table], spec: TableSpec, file_rows: int) -> int:
    """Write tables of `spec` that come in order as a folder of Parquet files, and return their rows.

    ``folder/cohort=a/modality=ct/infection-00000.parquet``: a folder for each value of the columns that
    ``spec.partition_by`` names, which the files then do not hold; every reader of such folders gives them back. Rows
    come in the order of `spec` in each of them. The same rows give the same bytes, wherever the pieces were cut.

    Parameters
    ----------
    folder : path
    pieces : iterable of pyarrow.Table
    spec : TableSpec
    file_rows : int
        Rows of a file, at most.

    Raises
    ------
    BadTable
        A row breaks the schema or the order.
    """
    files: Counter[Path] = Counter()
    growing: dict[Path, RowGroups] = {}
    rows = 0
    with replacing(folder) as partial, ExitStack() as stack:
        partial.mkdir()
        for piece in in_order(pieces, spec):
            rows += len(piece)
            for place, part in _sorted_out(piece, spec):
                while len(part):
                    if place not in growing or growing[place].rows == file_rows:
                        (partial / place).mkdir(parents=True, exist_ok=True)
                        path = partial / place / f"{spec.name}-{files[place]:05d}.parquet"
                        growing[place] = stack.enter_context(RowGroups(path, spec, spec.partition_by))
                        files[place] += 1
                    fits = part.slice(0, file_rows - growing[place].rows)
                    growing[place].add(fits)
                    part = part.slice(len(fits))
    return rows


def _sorted_out(piece: pa.Table, spec: TableSpec) -> Iterator[tuple[Path, pa.Table]]:
    """The rows of a piece by the folder that they belong to."""
    names = list(spec.partition_by)
    for values in piece.select(names).group_by(names).aggregate([]).to_pylist():
        place = Path(*(f"{name}={NULL_FOLDER if v is None else quote(v, safe='')}" for name, v in values.items()))
        part = piece
        for name, value in values.items():
            same = pc.is_null(part[name]) if value is None else pc.equal(part[name], value)
            part = part.filter(same)
        yield place, part
