"""Which cells of published counts are left out, so that small groups of patients cannot be told apart.

A count from 1 to below the threshold is hidden (primary suppression). What is hidden must not follow from what is shown
by subtraction (complementary suppression): in every line that adds up to a shown total at least two cells are hidden,
and those hidden hold at least as many patients as the threshold; if not, the smallest shown count is hidden too, a zero
only where nothing else is left. Then the tables are attacked: all that is shown is solved for each small count, and
where only one answer is left, more is hidden. What remains possible, and is the publisher's to judge: that all
patients of a shown group are in one class; that tables of different methods, runs or publications are subtracted from
each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


def hidden_in_line(counts: ArrayLike, least: int) -> Mask:
    """Cells to hide in one line of counts whose total is shown.

    Parameters
    ----------
    counts : (n,) of int
    least : int
        Counts from 1 to below this are hidden; 1 hides nothing.

    Returns
    -------
    (n,) of bool

    Examples
    --------
    >>> hidden_in_line([3, 20, 9, 0], 5).tolist()
    [True, False, True, False]
    >>> hidden_in_line([1, 1, 30, 8], 5).tolist()
    [True, True, False, True]
    >>> hidden_in_line([7, 0, 5], 5).tolist()
    [False, False, False]
    """
    values = np.asarray(counts, np.int64)
    return _completed((values > 0) & (values < least), values, least)


@dataclass(frozen=True)
class Hidden:
    """What is left out of tables that cut the same patients in different ways.

    Parameters
    ----------
    totals : (classes,) of bool
    levels : mapping of covariate to (levels,) of bool
        Levels of which nothing is told, not even their size.
    cells : mapping of covariate to (levels, classes) of bool
    """

    totals: Mask
    levels: Mapping[str, Mask]
    cells: Mapping[str, Mask]


def hidden_cells(totals: ArrayLike, tables: Mapping[str, Counts], least: int) -> Hidden:
    """Cells to hide in tables of the same patients by level and class, whose sizes and totals are shown as well.

    Parameters
    ----------
    totals : (classes,) of int
        Patients of each class in all; at least `least` together.
    tables : mapping of covariate to (levels, classes) of int
        Each adds up to `totals`, and no level is empty.
    least : int

    Returns
    -------
    Hidden
    """
    whole = np.asarray(totals, np.int64)
    hidden = Hidden(
        hidden_in_line(whole, least),
        {name: hidden_in_line(table.sum(axis=1), least) for name, table in tables.items()},
        {name: (table > 0) & (table < least) for name, table in tables.items()},
    )
    for name, levels in hidden.levels.items():
        hidden.cells[name][levels] = True
    while True:
        _complete_all(hidden, whole, tables, least)
        exposed = _exposed(hidden, whole, tables, least)
        if exposed is None:
            return hidden
        _hide_more(hidden, whole, tables, *exposed)


def _complete_all(hidden: Hidden, whole: Counts, tables: Mapping[str, Counts], least: int) -> None:
    """Hide more until every line is safe, or all of it is hidden."""
    filled = np.flatnonzero(whole)  # a class without patients is told, and so are its zeros
    while True:
        before = [mask.copy() for mask in (hidden.totals, *hidden.cells.values())]
        for name, table in tables.items():
            mask = hidden.cells[name]
            for row in np.flatnonzero(~hidden.levels[name]).tolist():
                mask[row, filled] = _completed(mask[row, filled], table[row, filled], least)
            for column in filled:
                if hidden.totals[column] and not mask[:, column].any():
                    mask[_smallest(table[:, column], mask[:, column]), column] = True  # else they add up to the total
                if not hidden.totals[column]:
                    mask[:, column] = _completed(mask[:, column], table[:, column], least)
                    hidden.totals[column] = not _safe(mask[:, column], table[:, column], least)
        hidden.totals[filled] = _completed(hidden.totals[filled], whole[filled], least)
        after = (hidden.totals, *hidden.cells.values())
        if all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
            return


def _exposed(
    hidden: Hidden, whole: Counts, tables: Mapping[str, Counts], least: int
) -> tuple[str | None, int, int] | None:
    """Table, level and class of a small count that has only one answer; without table, a class's total; or None."""
    # The unknown are the totals, then every cell of every table; what is shown are equations between them.
    places = {name: np.arange(table.size).reshape(table.shape) for name, table in tables.items()}
    start = len(whole)
    for name in places:
        places[name] += start
        start += places[name].size
    equations: list[NDArray[np.float64]] = []
    values: list[int] = []

    def say(value: int, plus: ArrayLike, minus: ArrayLike = ()) -> None:
        row = np.zeros(start)
        row[np.asarray(plus, int)] = 1
        row[np.asarray(minus, int)] = -1
        equations.append(row)
        values.append(value)

    say(int(whole.sum()), np.arange(len(whole)))
    for column in np.flatnonzero(~hidden.totals).tolist():
        say(int(whole[column]), column)
    small: list[tuple[str | None, int, int, int]] = [
        (None, 0, column, column) for column, count in enumerate(whole.tolist()) if 0 < count < least
    ]
    for name, table in tables.items():
        for column in range(len(whole)):
            say(0, places[name][:, column], column)
        for row in np.flatnonzero(~hidden.levels[name]).tolist():
            say(int(table[row].sum()), places[name][row])
        for row, column in np.argwhere(~hidden.cells[name]).tolist():
            say(int(table[row, column]), places[name][row, column])
        for row, column in np.argwhere((table > 0) & (table < least)).tolist():
            small.append((name, row, column, int(places[name][row, column])))
    for which, level, of_class, place in small:
        aim = np.zeros(start)
        aim[place] = 1
        lowest, highest = (
            sign * linprog(sign * aim, A_eq=np.array(equations), b_eq=values, bounds=(0, None)).fun for sign in (1, -1)
        )
        if highest - lowest < 1 - 1e-6:
            return which, level, of_class
    return None


def _hide_more(
    hidden: Hidden, whole: Counts, tables: Mapping[str, Counts], name: str | None, row: int, column: int
) -> None:
    """Hide the smallest count that is shown in the row or the column of an exposed one, else the class's total."""
    if name is not None:
        mask, table = hidden.cells[name], tables[name]
        beside = [(row, int(other)) for other in np.flatnonzero(~mask[row] & (whole > 0))]
        beside += [(int(other), column) for other in np.flatnonzero(~mask[:, column])]
        if beside:
            mask[min(beside, key=lambda cell: (table[cell] == 0, table[cell]))] = True
            return
        if not hidden.totals[column]:
            hidden.totals[column] = True
            return
    shown = ~hidden.totals & (whole > 0)
    assert shown.any(), "all is hidden, and yet a count is exposed"
    hidden.totals[_smallest(whole, ~shown)] = True


def _safe(hidden: Mask, counts: Counts, least: int) -> bool:
    """True if nothing is hidden, or more than one cell and enough patients: subtraction then tells no small count."""
    return not hidden.any() or bool(hidden.sum() > 1 and counts[hidden].sum() >= least)


def _completed(hidden: Mask, counts: Counts, least: int) -> Mask:
    """`hidden` with the smallest shown counts added until it is safe, or nothing is left to hide."""
    hidden = hidden.copy()
    while not _safe(hidden, counts, least) and not hidden.all():
        hidden[_smallest(counts, hidden)] = True
    return hidden


def _smallest(counts: Counts, hidden: Mask) -> int:
    """Place of the smallest count that is shown, zeros last; of several the first."""
    shown = np.flatnonzero(~hidden)
    return int(min(shown, key=lambda place: (counts[place] == 0, counts[place])))
