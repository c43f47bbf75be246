"""Which cells of published counts are left out, so that small groups of patients cannot be told apart.

A count from 1 to below the threshold is hidden (primary suppression). What is hidden must not follow from what is shown
by subtraction (complementary suppression): in every line that adds up to a shown total at least two cells are hidden,
and those hidden hold at least as many patients as the threshold; if not, the smallest shown count is hidden too. Zeros
are shown. What remains possible, and is the publisher's to judge: that all patients of a shown group are in one class;
that tables of different covariates, methods, runs or publications are subtracted from each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Mask = NDArray[np.bool_]


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


def hidden_cells(
    totals: ArrayLike, tables: dict[str, NDArray[np.int64]], least: int
) -> tuple[Mask, dict[str, Mask], dict[str, Mask]]:
    """Cells to hide in tables that cut the same patients in different ways.

    Parameters
    ----------
    totals : (classes,) of int
        Patients of each class in all.
    tables : dict of str to (levels, classes) of int
        For each covariate, its patients by level and class; each adds up to `totals`.
    least : int

    Returns
    -------
    hidden_totals : (classes,) of bool
    hidden_levels : dict of str to (levels,) of bool
        Levels of which nothing is told, not even their size.
    hidden : dict of str to (levels, classes) of bool
    """
    whole = np.asarray(totals, np.int64)
    hidden_totals = hidden_in_line(whole, least)
    levels = {name: hidden_in_line(table.sum(axis=1), least) for name, table in tables.items()}
    cells = {name: (table > 0) & (table < least) | levels[name][:, None] for name, table in tables.items()}
    while True:
        before = [hidden_totals.copy(), *(mask.copy() for mask in cells.values())]
        for name, table in tables.items():
            mask = cells[name]
            for row in np.flatnonzero(~levels[name]):
                mask[row] = _completed(mask[row], table[row], least)
            for column in np.flatnonzero(whole):  # a class without patients is told: so are its zeros
                if hidden_totals[column] and not mask[:, column].any():
                    mask[_smallest(table[:, column], mask[:, column]), column] = True  # else they add up to the total
                if not hidden_totals[column]:
                    mask[:, column] = _completed(mask[:, column], table[:, column], least)
                    hidden_totals[column] = not _safe(mask[:, column], table[:, column], least)
            hidden_totals = _completed(hidden_totals, whole, least)
        after = [hidden_totals, *cells.values()]
        if all(np.array_equal(old, new) for old, new in zip(before, after, strict=True)):
            return hidden_totals, levels, cells


def _safe(hidden: Mask, counts: NDArray[np.int64], least: int) -> bool:
    """True if nothing is hidden, or more than one cell and enough patients: subtraction then tells no small count."""
    return not hidden.any() or bool(hidden.sum() > 1 and counts[hidden].sum() >= least)


def _completed(hidden: Mask, counts: NDArray[np.int64], least: int) -> Mask:
    """`hidden` with the smallest shown counts added until it is safe, or nothing is left to hide."""
    hidden = hidden.copy()
    while not _safe(hidden, counts, least) and (~hidden & (counts > 0)).any():
        hidden[_smallest(counts, hidden)] = True
    return hidden


def _smallest(counts: NDArray[np.int64], hidden: Mask) -> int:
    """Place of the smallest count above 0 that is shown; of several the first."""
    shown = np.flatnonzero(~hidden & (counts > 0))
    return int(shown[counts[shown].argmin()])
