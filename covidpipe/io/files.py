"""Atomic writes and checked tables: a file is either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from covidpipe.errors import BadTable, CovidpipeError, DiskFull, NotWhole
from covidpipe.schemas import (
    SCHEMA_VERSION,
    TableSpec,
    check,
    check_columns,
    check_values,
    codebook,
    first_out_of_order,
)

if TYPE_CHECKING:  # jobs that read images have no use of it, and it takes as long to import as all else here
    import pandas as pd

# Each page has a checksum, which is verified when it is read.
PARQUET: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
# Of ten million rows a group is 0.16 % of the bytes, and the footer, which tells what patients each group holds, 0.2 %:
# a query for one patient reads the footer, or twice, and a group or two. Larger groups are scanned hardly faster
# (tests/benchmarks/table.py).
ROW_GROUP = 2**14
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"  # what Hive, and so every reader, calls a null in a folder's name


def cache_folder() -> Path:
    """Where things are kept that can be made or fetched again: ``covidpipe`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "covidpipe"


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
    except (OSError, RuntimeError) as error:
        if not _is_full(error):
            raise
        raise DiskFull(_told_full(path, partial)) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _is_full(error: Exception) -> bool:
    """True for a full disk or quota; HDF5 tells of them in words only."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _told_full(path: Path, partial: Path) -> str:
    disk = shutil.disk_usage(path.parent)
    files = [partial] if partial.is_file() else [file for file in partial.rglob("*") if file.is_file()]
    written = sum(file.stat().st_size for file in files)
    return (
        f"{path}: No space left on device: {disk.free / 2**20:.1f} MiB were free of the disk's "
        f"{disk.total / 2**20:,.0f} MiB (or a quota is reached), and more than {written / 2**20:.1f} MiB are needed "
        "for this alone. What was there stays as it was. Make room and run the same command again: it goes on from "
        "what is done."
    )


def _sync_tree(path: Path) -> None:
    for item in path.rglob("*") if path.is_dir() else ():  # folders too: they hold the names
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
    """What a JSON file holds; raise `NotWhole` where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise NotWhole(f"{path}: not whole JSON ({type(error).__name__}). Delete it and run again.") from None


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_weights(weights: Path, wanted: str, remedy: str) -> str:
    """Return the SHA-256 of a trained network's file, which must be `wanted`: nothing is opened before.

    Raises
    ------
    CovidpipeError
        It is another one; `remedy` says what would work.
    """
    found = file_sha256(weights)
    if found != wanted:
        raise CovidpipeError(
            f"{weights}: its SHA-256 is {found}, but run.json beside it says {wanted}: the file is damaged or was "
            f"replaced. {remedy}"
        )
    return found


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


def parquet_options(spec: TableSpec, told: Sequence[str] = ()) -> dict[str, Any]:
    """What pyarrow is told of a table's files, that do not hold the columns `told`.

    Statistics are kept of the columns that rows are sorted by: of others they span everything in every group, and make
    up a third of the footer.
    """
    return {**PARQUET, "write_statistics": [name for name in spec.sort_by if name not in told]}


def write_table(path: str | Path, rows: pd.DataFrame | list[dict[str, Any]] | pa.Table, spec: TableSpec) -> pa.Table:
    """Check `rows` against `spec`, sort them, and write Parquet (zstd); the same rows give the same bytes."""
    table = to_table(rows, spec)
    with replacing(path) as partial:
        pq.write_table(table.cast(with_codebook(spec)), partial, row_group_size=ROW_GROUP, **parquet_options(spec))
    return table


class RowGroups:
    """A Parquet file that grows piece by piece, in row groups of a fixed size; no more than one waits in memory.

    The bytes do not depend on where the pieces were cut.

    Parameters
    ----------
    path : Path
    spec : TableSpec
    told : sequence of str
        Columns that the file does not hold, because its folders tell them.
    """

    def __init__(self, path: Path, spec: TableSpec, told: Sequence[str] = ()) -> None:
        self.rows = 0
        whole = with_codebook(spec)
        self._schema = pa.schema([field for field in whole if field.name not in told], metadata=whole.metadata)
        self._waiting = self._schema.empty_table()
        self._writer = pq.ParquetWriter(path, self._schema, **parquet_options(spec, told))

    def __enter__(self) -> RowGroups:
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        if fault is None and len(self._waiting):
            self._writer.write_table(self._waiting.combine_chunks())
        self._writer.close()

    def add(self, piece: pa.Table) -> None:
        self.rows += len(piece)
        self._waiting = pa.concat_tables([self._waiting, piece.select(self._schema.names).cast(self._schema)])
        while len(self._waiting) >= ROW_GROUP:
            self._writer.write_table(self._waiting.slice(0, ROW_GROUP).combine_chunks())
            self._waiting = self._waiting.slice(ROW_GROUP)


def write_pieces(path: str | Path, pieces: Iterable[pa.Table], spec: TableSpec) -> int:
    """Write tables of `spec` that come in order as one Parquet file, and return its rows; little is in memory.

    Each piece is checked, and that they come in order; that the key is unique over all of them is the caller's to know.
    """
    with replacing(path) as partial, RowGroups(partial, spec) as groups:
        for piece in in_order(pieces, spec):
            groups.add(piece)
    return groups.rows


def in_order(pieces: Iterable[pa.Table], spec: TableSpec) -> Iterator[pa.Table]:
    """The pieces of a table, checked: each by itself, and that their rows come in the order of `spec`.

    Raises
    ------
    BadTable
        Names the first row that breaks the schema or the order; rows count from 0.
    """
    order, done = list(spec.sort_by), 0
    schema = pa.schema([(name, spec.schema.field(name).type) for name in order])  # whatever a file says of nulls
    last = schema.empty_table()
    for piece in pieces:
        check_values(piece, spec, done)
        here = pa.concat_tables([last, piece.select(order).cast(schema)])
        wrong = first_out_of_order(here, order)
        if wrong is not None:
            row = done - len(last) + wrong
            raise BadTable(f"Table `{spec.name}`, row {row}: wanted rows sorted by {', '.join(order)}, each once.")
        done, last = done + len(piece), here.slice(max(len(here) - 1, 0))
        yield piece


def with_codebook(spec: TableSpec) -> pa.Schema:
    """The Arrow schema of `spec` with its codebook as JSON in the metadata."""
    metadata = {**(spec.schema.metadata or {}), b"codebook": json.dumps(codebook(spec)).encode()}
    return spec.schema.with_metadata(metadata)


def read_table(path: str | Path, spec: TableSpec) -> pa.Table:
    """Read a table written by `write_table`, or the folder of a large one, and check it.

    Raises
    ------
    BadTable
        The file is missing, truncated, or holds another table.
    """
    return _checked(path, spec, list(read_pieces(path, spec)))


def read_columns(path: str | Path, spec: TableSpec, names: Sequence[str]) -> pa.Table:
    """Some columns of a table, or of the folder of a large one, checked; of the others a piece at a time is in memory.

    Raises
    ------
    BadTable
        As of `read_pieces`.
    """
    schema = pa.schema([spec.schema.field(name) for name in names])
    pieces = (piece.select(names).cast(schema) for piece in read_pieces(path, spec, checked=True))
    return pa.concat_tables([schema.empty_table(), *pieces])


def read_rows(path: str | Path, spec: TableSpec, start: int, count: int) -> pa.Table:
    """Some rows of a table in one file, checked; row groups that hold none of them are not read.

    Parameters
    ----------
    path : path
    spec : TableSpec
    start, count : int
        The rows from `start`, `count` of them or as many as there are.

    Raises
    ------
    BadTable
        The file is missing or truncated, or what is read of it is of another table.
    """
    pieces: list[pa.Table] = []
    at, first = 0, start
    with opened(Path(path)) as file:
        for group in range(file.num_row_groups):
            end = at + file.metadata.row_group(group).num_rows
            if at < start + count and start < end:
                first = first if pieces else at
                pieces.append(file.read_row_group(group))
            at = end
    return _checked(path, spec, pieces).slice(start - first, count)


def read_where(path: str | Path, spec: TableSpec, name: str, values: pa.Array) -> pa.Table:
    """Rows of a table in one file whose `name` is one of `values`, checked; of other row groups nothing else is read.

    Raises
    ------
    BadTable
        The file is missing or truncated, or what is read of it is of another table.
    """
    pieces: list[pa.Table] = []
    with opened(Path(path)) as file:
        try:
            check_columns(file.schema_arrow, spec)
        except BadTable as error:
            raise BadTable(f"{path}: {error}") from None
        for group in range(file.num_row_groups):
            wanted = pc.is_in(file.read_row_group(group, [name])[name], values)
            if pc.any(wanted).as_py():
                pieces.append(file.read_row_group(group).filter(wanted))
    return _checked(path, spec, pieces)


def _checked(path: str | Path, spec: TableSpec, pieces: Sequence[pa.Table]) -> pa.Table:
    """Pieces of a table as one that keeps to `spec`."""
    # Other programs' files may say that nulls are allowed where they are not: that is checked, and then put right.
    lenient = pa.schema([field.with_nullable(True) for field in spec.schema])
    try:
        for piece in pieces:
            check_columns(piece.schema, spec)
        table = pa.concat_tables([lenient.empty_table(), *(piece.cast(lenient) for piece in pieces)])
        check(table, spec)
    except BadTable as error:
        raise BadTable(
            f"{path}: {error} This covidpipe writes schema {SCHEMA_VERSION}: make the table anew, or say which it is."
        ) from None
    return table.cast(spec.schema)


def read_pieces(path: str | Path, spec: TableSpec, *, checked: bool = False) -> Iterator[pa.Table]:
    """The row groups of a table, one after the other; of a folder, with the columns that its folders are named after.

    Parameters
    ----------
    path : path
        A file, or the folder of a large table.
    spec : TableSpec
    checked : bool
        Values and order too, not only columns; not that a key is there once.

    Raises
    ------
    BadTable
        A file is missing or truncated, or breaks `spec`: its first wrong row is named, counted from 0 in that file.
    """
    for part in parts(path, spec):
        with opened(part.path) as file:
            pieces = (part.whole(file.read_row_group(group), spec) for group in range(file.num_row_groups))
            try:
                check_columns(part.schema(file.schema_arrow, spec), spec)
                yield from in_order(pieces, spec) if checked else pieces
            except BadTable as error:
                raise BadTable(
                    f"{part.path}: {error} This covidpipe writes schema {SCHEMA_VERSION}: make the table anew, or say "
                    "which it is."
                ) from None


def count_rows(path: str | Path, spec: TableSpec) -> int:
    """Rows of a table, from its footers alone."""
    rows = 0
    for part in parts(path, spec):
        with opened(part.path) as file:
            rows += file.metadata.num_rows
    return rows


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """An open Parquet file; raise `BadTable` where there is none, or where it is damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_footer(file.metadata, path.stat().st_size)
            yield file
    except FileNotFoundError:
        raise BadTable(f"{path}: there is no such table. Run the stage that writes it, or give another path.") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadTable(
            f"{path}: not a whole Parquet file ({error}). Is it a table at all? If so it is damaged: delete it and run "
            "again."
        ) from None


def _check_footer(footer: pq.FileMetaData, size: int) -> None:
    """Raise if a footer does not know of the rows before it: it has no checksum, and damaged it may read as empty."""
    rows = sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
    before = size - footer.serialized_size - 8  # its length and `PAR1`, which stands at the beginning too
    if rows != footer.num_rows or (footer.num_row_groups == 0 and before > 4):
        raise pa.ArrowInvalid("its footer does not fit its rows")


@dataclass(frozen=True)
class Part:
    """One file of a table, and the columns that its folders tell: ``cohort=a/modality=ct``."""

    path: Path
    told: dict[str, str | None]

    def schema(self, found: pa.Schema, spec: TableSpec) -> pa.Schema:
        """The schema of the file's rows with the columns of `told`, each where `spec` has it."""
        for name in (name for name in spec.names if name in self.told):
            found = found.insert(min(spec.names.index(name), len(found)), spec.schema.field(name))
        return found

    def whole(self, rows: pa.Table, spec: TableSpec) -> pa.Table:
        """`rows` of the file with the columns of `told`."""
        for name in (name for name in spec.names if name in self.told):
            values = pa.repeat(pa.scalar(self.told[name], pa.string()), len(rows))
            rows = rows.add_column(spec.names.index(name), spec.schema.field(name), values)
        return rows


def parts(path: str | Path, spec: TableSpec) -> list[Part]:
    """The files of a table: the one at `path`, or those in the folder `path`, in the order of their rows.

    Raises
    ------
    BadTable
        The folder holds no Parquet file, or one that does not lie in folders named after ``spec.partition_by``.
    """
    path = Path(path)
    if not path.is_dir():
        return [Part(path, {})]
    found = []
    for file in sorted(path.rglob("*.parquet")):
        folders = [folder.partition("=") for folder in file.relative_to(path).parts[:-1]]
        told = {name: None if value == NULL_FOLDER else unquote(value) for name, _, value in folders}
        if tuple(told) != spec.partition_by or not spec.partition_by:
            wanted = "/".join(f"{name}=..." for name in spec.partition_by) or "no folder"
            raise BadTable(f"{file}: wanted files of table `{spec.name}` in {wanted}. Take it out of there.")
        found.append(Part(file, told))
    if not found:
        raise BadTable(f"{path}: wanted a table, found a folder without Parquet files. Run the stage that writes it.")
    return found


def read_frame(path: str | Path, spec: TableSpec) -> pd.DataFrame:
    """Read a checked table as pandas; nullable numbers and booleans stay what they are (Arrow types)."""
    import pandas as pd

    return read_table(path, spec).to_pandas(types_mapper=pd.ArrowDtype)
