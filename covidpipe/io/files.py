"""Atomic writes and checked tables: a file is either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from covidpipe.errors import BadTable
from covidpipe.schemas import SCHEMA_VERSION, TableSpec, check, codebook

PARQUET: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}
ROW_GROUP = 2**16


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and takes the name `path`.

    Works for files and for folders. After an exception nothing is left, and an older `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        _sync_tree(partial)
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
        _sync(path.parent)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _sync_tree(path: Path) -> None:
    for item in [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else []:
        _sync(item)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def to_table(rows: pd.DataFrame | list[dict[str, Any]] | pa.Table, spec: TableSpec) -> pa.Table:
    """Give `rows` the columns, types, metadata and order of `spec`, and check them against it.

    Columns that `rows` lacks are filled with nulls where the schema allows a null.
    """
    if isinstance(rows, list):
        table = pa.Table.from_pylist(rows, schema=spec.schema)
    elif isinstance(rows, pa.Table):
        columns = [
            rows.column(f.name).cast(f.type) if f.name in rows.column_names else pa.nulls(len(rows), f.type)
            for f in spec.schema
        ]
        table = pa.Table.from_arrays(columns, schema=spec.schema)
    else:
        columns = [
            pa.Array.from_pandas(rows[f.name], type=f.type) if f.name in rows else pa.nulls(len(rows), f.type)
            for f in spec.schema
        ]
        table = pa.Table.from_arrays(columns, schema=spec.schema)
    table = table.sort_by([(name, "ascending") for name in spec.sort_by])
    check(table, spec)
    return table


def write_table(path: str | Path, rows: pd.DataFrame | list[dict[str, Any]] | pa.Table, spec: TableSpec) -> pa.Table:
    """Check `rows` against `spec`, sort them, and write Parquet (zstd); the same rows give the same bytes."""
    table = to_table(rows, spec)
    with replacing(path) as partial:
        pq.write_table(table.cast(_with_codebook(spec)), partial, **PARQUET)
    return table


def write_pieces(path: str | Path, pieces: Iterable[pa.Table], spec: TableSpec) -> int:
    """Write tables of `spec`, already in order, as one Parquet file, and return its rows; one row group is in memory.

    Row groups have a fixed size, so that the bytes do not depend on where the pieces were cut. Each piece is checked;
    that the key is unique over all of them is the caller's to know.
    """
    schema, rows, waiting = _with_codebook(spec), 0, spec.schema.empty_table()
    with replacing(path) as partial, pq.ParquetWriter(partial, schema, **PARQUET) as writer:
        for piece in pieces:
            check(piece, spec)
            waiting = pa.concat_tables([waiting, piece.cast(spec.schema)])
            while len(waiting) >= ROW_GROUP:
                writer.write_table(waiting.slice(0, ROW_GROUP).cast(schema).combine_chunks())
                waiting, rows = waiting.slice(ROW_GROUP), rows + ROW_GROUP
        writer.write_table(waiting.cast(schema).combine_chunks())
    return rows + len(waiting)


def _with_codebook(spec: TableSpec) -> pa.Schema:
    metadata = {**(spec.schema.metadata or {}), b"codebook": json.dumps(codebook(spec)).encode()}
    return spec.schema.with_metadata(metadata)


def read_table(path: str | Path, spec: TableSpec) -> pa.Table:
    """Read a table written by `write_table` and check it.

    Raises
    ------
    BadTable
        The file is missing, truncated, or holds another table.
    """
    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise BadTable(f"{path}: there is no such table.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise BadTable(f"{path}: not a whole Parquet file ({error}). Delete it and run again.") from None
    try:
        check(table, spec)
    except BadTable as error:
        raise BadTable(f"{path}: {error} (this covidpipe writes schema {SCHEMA_VERSION})") from None
    return table


def read_frame(path: str | Path, spec: TableSpec) -> pd.DataFrame:
    """Read a checked table as pandas; nullable numbers and booleans stay what they are (Arrow types)."""
    return read_table(path, spec).to_pandas(types_mapper=pd.ArrowDtype)
