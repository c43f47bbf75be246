"""Tables for programs that do not read Parquet: CSV and Excel workbooks, written piece by piece."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from covidpipe.errors import UsageError
from covidpipe.io.files import count_rows, read_pieces, replacing
from covidpipe.io.validate import of_version
from covidpipe.schemas import TableSpec, codebook

SHEET_ROWS = 1_048_576  # of a worksheet, its heading included
# What makes a spreadsheet take a cell for a formula (OWASP, CSV injection), full-width forms included.
FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"


def to_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Words and lists of words as cells that no spreadsheet takes for a formula; numbers and truth values as they are.

    The words of a list are joined by "; ". A cell that begins like a formula gets an apostrophe before it, which
    spreadsheets know as the sign of text.

    Examples
    --------
    >>> to_text(pa.chunked_array([["=1+1", "-5", "ok", None]])).to_pylist()
    ["'=1+1", "'-5", 'ok', None]
    >>> to_text(pa.chunked_array([[["no_lung", "duplicate"], []]])).to_pylist()
    ['no_lung; duplicate', '']
    >>> to_text(pa.chunked_array([[-5.0]])).to_pylist()
    [-5.0]
    """
    if pa.types.is_list(values.type):
        values = pc.binary_join(values, "; ")
    if not pa.types.is_string(values.type):
        return values
    return pc.if_else(pc.match_substring_regex(values, FORMULA), pc.binary_join_element_wise("'", values, ""), values)


def export(table: Path, spec: TableSpec, form: str, out: Path) -> int:
    """Write a table as ``csv`` or ``xlsx`` and return its rows; a null is an empty cell.

    Parameters
    ----------
    table : Path
        A file of `spec`, or the folder of a large one.
    spec : TableSpec
    form : {"csv", "xlsx"}
    out : Path

    Raises
    ------
    BadTable
        The table is missing or broken.
    UsageError
        A worksheet cannot hold so many rows.
    """
    spec, _ = of_version(table, spec)
    writers: dict[str, Callable[[Path, TableSpec, Path], int]] = {"csv": _write_csv, "xlsx": _write_xlsx}
    with replacing(out) as partial:
        return writers[form](table, spec, partial)


def _cells(piece: pa.Table) -> pa.Table:
    return pa.table({name: to_text(piece[name]) for name in piece.column_names})


def _csv_cells(piece: pa.Table) -> pa.Table:
    """Cells with truth values as ``TRUE`` and ``FALSE``: R knows no others, and everybody else knows these."""
    cells = _cells(piece)
    return pa.table(
        {
            name: pc.if_else(cells[name], "TRUE", "FALSE") if pa.types.is_boolean(cells[name].type) else cells[name]
            for name in cells.column_names
        }
    )


def _write_csv(table: Path, spec: TableSpec, out: Path) -> int:
    rows = 0
    with pa.csv.CSVWriter(out, _csv_cells(spec.schema.empty_table()).schema) as writer:
        for piece in read_pieces(table, spec, checked=True):
            writer.write_table(_csv_cells(piece))
            rows += len(piece)
    return rows


def _write_xlsx(table: Path, spec: TableSpec, out: Path) -> int:
    import xlsxwriter

    rows = count_rows(table, spec)
    if rows >= SHEET_ROWS:
        raise UsageError(
            f"{table}: {rows:,} rows, and a worksheet holds {SHEET_ROWS - 1:,}. Export csv, or read the Parquet file "
            "and keep the rows that you need."
        )
    with xlsxwriter.Workbook(out, {"constant_memory": True}) as book:
        # A fixed date: the same table gives the same bytes.
        book.set_properties({"created": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)})
        _write_sheet(book, spec.name, spec.names, read_pieces(table, spec, checked=True))
        explained = pa.Table.from_pylist(codebook(spec))
        _write_sheet(book, "codebook", explained.column_names, [explained])
    return rows


def _write_sheet(book: Any, name: str, columns: list[str], pieces: Iterable[pa.Table]) -> None:
    sheet, row = book.add_worksheet(name), 0
    bold = book.add_format({"bold": True})
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, len(columns) - 1, 18)
    for column, heading in enumerate(columns):
        sheet.write_string(0, column, heading, bold)
    for piece in pieces:
        for values in zip(*(column.to_pylist() for column in _cells(piece).columns), strict=True):
            row += 1
            for column, value in enumerate(values):
                if isinstance(value, str):
                    sheet.write_string(row, column, value)  # never as a formula, a number or a link
                elif isinstance(value, bool):
                    sheet.write_boolean(row, column, value)
                elif value is not None:
                    sheet.write_number(row, column, value)
    sheet.autofilter(0, 0, row, len(columns) - 1)
