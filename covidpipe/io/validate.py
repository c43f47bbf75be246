"""Is a table what its schema says? One row group in memory at a time, and eight bytes for each row's key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from covidpipe.errors import BadTable
from covidpipe.io.files import opened, parts, read_pieces
from covidpipe.schemas import INFECTION, SCHEMA_VERSION, TABLES, TableSpec, repeated


@dataclass(frozen=True)
class Validated:
    """A table without faults: which one, how large, and the version of the columns that it has."""

    spec: TableSpec
    rows: int
    files: int
    schema_version: str


def validate(path: Path, spec: TableSpec) -> Validated:
    """Check a table, in one file or in the folder of a large one, against its schema.

    Columns, their order and types; each value's range and words; that nulls stand only where they mean something; that
    rows are sorted, and each key is there once. A table of an older schema is held to the columns that it has.

    Parameters
    ----------
    path : Path
    spec : TableSpec
        What the table should be.

    Raises
    ------
    BadTable
        The first fault: file, column and row (from 0, in its file), what was found and what was wanted.
    """
    spec, version = of_version(path, spec)
    hashes = np.concatenate(
        [np.empty(0, np.uint64), *(_hashes(piece, spec) for piece in read_pieces(path, spec, checked=True))]
    )
    rows = len(hashes)
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if len(twice):
        _tell_repeated(path, spec, twice)
    return Validated(spec, rows, len(parts(path, spec)), version)


def of_version(path: Path, spec: TableSpec) -> tuple[TableSpec, str]:
    """`spec` as a table that was written with an older schema has it, and that schema's version."""
    found = parts(path, spec)[0]
    with opened(found.path) as file:
        schema = found.schema(file.schema_arrow, spec)
    version = (schema.metadata or {}).get(b"schema_version", SCHEMA_VERSION.encode()).decode()
    if version != SCHEMA_VERSION and schema.names == spec.names[: len(schema)]:
        spec = replace(spec, columns=spec.columns[: len(schema)])  # columns are only ever appended
    return spec, version


def table_named(path: Path) -> TableSpec:
    """The table that a file says it is; `INFECTION` if it does not say, as after another program wrote it.

    Raises
    ------
    BadTable
        There is no such file, or it is no whole Parquet file.
    """
    with opened(parts(path, INFECTION)[0].path) as file:
        name = (file.schema_arrow.metadata or {}).get(b"table", b"").decode()
    return TABLES.get(name, INFECTION)


def _hashes(piece: pa.Table, spec: TableSpec) -> np.ndarray:
    """64 bits for each row's key, equal where the keys are."""
    words = [pc.fill_null(pc.cast(piece[name], pa.string()), "\0") for name in spec.key]
    joined = pc.binary_join_element_wise(*words, "\0").to_numpy()
    return pd.util.hash_array(joined, categorize=False)


def _tell_repeated(path: Path, spec: TableSpec, twice: np.ndarray) -> None:
    """Raise for a key that really is there twice: two keys may have one hash by chance."""
    suspects = pa.concat_tables(
        piece.filter(pa.array(np.isin(_hashes(piece, spec), twice))) for piece in read_pieces(path, spec)
    )
    if suspects.select(list(spec.key)).group_by(list(spec.key)).aggregate([]).num_rows < len(suspects):
        raise BadTable(f"{path}: {repeated(suspects, spec)}")
