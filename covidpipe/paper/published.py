"""The numbers that the papers print, as data: one cell a row, each with its place in the paper."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covidpipe.errors import BadTable

PAPERS = ("alom2020", "khan2020")
COLUMNS = (
    "source",
    "row",
    "network",
    "regime",
    "subject",
    "measure",
    "unit",
    "printed",
    "value",
    "low",
    "high",
    "n",
)


@dataclass(frozen=True)
class Cell:
    """One printed number.

    ``source`` is its place in the paper, ``row`` what the row is called there, ``network`` and ``regime`` are our words
    for it (empty where it is no network's), ``subject`` is the class of pixels or the variant, ``printed`` the number
    as it stands there, ``low`` and ``high`` its printed interval, ``n`` the images it is said to rest on.
    """

    paper: str
    source: str
    row: str
    measure: str
    printed: str
    value: float
    network: str = ""
    regime: str = ""
    subject: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit.

        >>> Cell("p", "Table 1", "r", "iou", "98.70", 98.7).rounding
        0.005
        """
        return 0.5 * 10.0 ** -len(self.printed.partition(".")[2])

    @property
    def share(self) -> float:
        """The value as a share of 1, whichever unit it is printed in."""
        return self.value / 100 if self.unit == "%" else self.value

    @property
    def share_rounding(self) -> float:
        return self.rounding / 100 if self.unit == "%" else self.rounding


@dataclass(frozen=True)
class Published:
    """All cells of one paper, to be looked up by any of their fields."""

    paper: str
    cells: tuple[Cell, ...]

    def where(self, **wanted: object) -> Iterator[Cell]:
        """Cells whose fields are `wanted`; a tuple means any of its members."""
        for cell in self.cells:
            if all(
                getattr(cell, name) in (value if isinstance(value, tuple) else (value,))
                for name, value in wanted.items()
            ):
                yield cell

    def one(self, **wanted: object) -> Cell | None:
        """The first such cell, or None."""
        return next(self.where(**wanted), None)


def released_iou(khan2020: Published) -> Cell:
    """The published infected IoU of the network whose weights Khan et al. released.

    Raises
    ------
    BadTable
        It is not among the published numbers.
    """
    cell = khan2020.one(source="Table 5", row="SA-CoV-RASeg", subject="infected", measure="iou")
    if cell is None:
        raise BadTable("config/published/khan2020.csv: wanted the infected IoU of SA-CoV-RASeg in Table 5, found none.")
    return cell


def read_published(path: str | Path) -> Published:
    """Read ``config/published/{paper}.csv``.

    Raises
    ------
    BadTable
        The file is missing, has other columns, or a cell whose `value` is no number: the first such line is named.
    """
    path = Path(path)
    return Published(path.stem, tuple(_cell(path, *line) for line in printed_lines(path, COLUMNS)))


def printed_lines(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read a list of printed numbers: each row with the number of its line in the file.

    Raises
    ------
    BadTable
        The file is missing, or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != columns:
                raise BadTable(f"{path}: wanted the columns {', '.join(columns)}, found {reader.fieldnames}.")
            return list(enumerate(reader, start=2))
    except OSError as error:
        raise BadTable(f"{path}: wanted the published numbers, and it is not readable ({error.strerror}).") from None


def _cell(path: Path, number: int, row: dict[str, str]) -> Cell:
    try:
        value = float(row["value"])
        if not math.isfinite(value):
            raise ValueError
        return Cell(
            paper=path.stem,
            value=value,
            low=float(row["low"]) if row["low"] else None,
            high=float(row["high"]) if row["high"] else None,
            n=int(row["n"]) if row["n"] else None,
            **{name: row[name] for name in ("source", "row", "network", "regime", "subject", "measure", "unit")},
            printed=row["printed"],
        )
    except (TypeError, ValueError):
        raise BadTable(f"{path}, line {number}: wanted numbers in `value`, `low`, `high` and `n`: {row}.") from None
