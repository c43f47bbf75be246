"""Small tables three times over: Parquet for programs, CSV for spreadsheets and R, Markdown for readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from covidpipe.io.files import write_table, write_text
from covidpipe.schemas import TableSpec


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    r"""A table in GitHub's Markdown; None is an empty cell.

    >>> markdown_table(["a", "b"], [[1, None], ["x|y", 0.25]])
    '| a | b |\n|---|---|\n| 1 |  |\n| x\\|y | 0.25 |\n'
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(
        f"|{'|'.join(line)}|\n" if line[0] == "---" else f"| {' | '.join(_cell(value) for value in line)} |\n"
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", r"\|").replace("\n", " ")


def write_three(
    stem: Path,
    rows: list[dict[str, Any]],
    spec: TableSpec,
    heading: str,
    shown: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
) -> pa.Table:
    """Write `rows` as ``{stem}.parquet``, ``.csv`` and ``.md``, checked against `spec`.

    Parameters
    ----------
    stem : Path
        Path without an ending.
    rows : list of dict
    spec : TableSpec
    heading : str
        Markdown that stands above the table.
    shown : (columns, rows), optional
        What the Markdown shows; None: all columns.

    Returns
    -------
    pyarrow.Table
        The rows in their order.
    """
    table = write_table(stem.with_name(f"{stem.name}.parquet"), rows, spec)
    write_text(stem.with_name(f"{stem.name}.csv"), table.to_pandas().to_csv(index=False, lineterminator="\n"))
    columns, lines = shown or (table.column_names, [list(row.values()) for row in table.to_pylist()])
    body = markdown_table(columns, lines)
    write_text(stem.with_name(f"{stem.name}.md"), f"{heading.rstrip()}\n\n{body}")
    return table
