"""A cohort described: distribution of the percentages and severity classes, as a whole and by covariates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from covidpipe.errors import BadTable
from covidpipe.metrics.intervals import Interval, PatientBootstrap, mean_of_many, proportion, quantile_of_many
from covidpipe.quantify.disclosure import Hidden, hidden_cells, hidden_in_line
from covidpipe.registry import METHODS, SEVERITY

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
# Of more different values than these, intervals of quantiles are counted in steps: a million values need no more.
LEVELS, STEP = 4096, 0.05
PERCENT = (0.0, 100.0)
MANY = 4096  # patients; more are not drawn again and again, there are formulas
ALL, UNKNOWN, HIDDEN = "all", "unknown", "(suppressed)"
OF_TABLE = ("image_id", "patient_id", "modality", "method", "infection_percent")
OF_IMAGES = ("image_id", "patient_id", "path")

Values = tuple[str | None, ...]


class Description:
    """Rows of SUMMARY from an infection table that comes in pieces, and the patients' rows made of it.

    Of an image only a number and a code of its patient are kept.

    Parameters
    ----------
    names : tuple of str
        Covariates.
    of_patient, of_path : mapping
        Their values (one tuple each) by patient_id, and by path of a file.
    """

    def __init__(
        self,
        names: tuple[str, ...] = (),
        of_patient: Mapping[str, Values] | None = None,
        of_path: Mapping[str, Values] | None = None,
    ):
        self.names, self.of_patient, self.of_path = names, of_patient or {}, of_path or {}
        self.matched: set[str] = set()  # rows of the covariates that images were found for
        self._codes: dict[str, int] = {}  # persons: patients, and images of unknown ones
        self._values: dict[int, Values] = {}
        self._percents: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
        self._persons: dict[tuple[str, str], list[NDArray[np.int64]]] = {}

    def add(self, piece: pa.Table, images: pa.Table) -> None:
        """Take the next rows of INFECTION, and the rows of IMAGES of the same images.

        Raises
        ------
        BadTable
            Two files of one patient have different covariates.
        """
        person = {}
        for image_id, patient_id, path in zip(*(images[name].to_pylist() for name in OF_IMAGES), strict=True):
            code = self._codes.setdefault(patient_id or f"image {image_id}", len(self._codes))
            person[image_id] = code
            self._note(code, self.of_patient.get(patient_id), patient_id)
            self._note(code, self.of_path.get(path), path)
        table = piece.select(list(OF_TABLE))
        for modality, method in {*zip(table["modality"].to_pylist(), table["method"].to_pylist(), strict=True)}:
            if modality in METHODS[method].roles:
                rows = table.filter((pa.compute.field("modality") == modality) & (pa.compute.field("method") == method))
                percents = rows["infection_percent"].to_numpy().astype(float)
                codes = np.array([person[image_id] for image_id in rows["image_id"].to_pylist()], np.int64)
                self._percents.setdefault((modality, method), []).append(percents)
                self._persons.setdefault((modality, method), []).append(codes)

    def _note(self, code: int, values: Values | None, row: str) -> None:
        if values is None:
            return
        self.matched.add(row)
        if self._values.setdefault(code, values) != values:
            raise BadTable(
                f"The files of one patient have different covariates ({', '.join(self.names)}). Wanted what belongs to "
                "the patient: give one row a patient, by `patient` in place of `path`."
            )

    def rows(self, patients: list[dict[str, Any]], least: int, seed: int) -> Iterator[dict[str, Any]]:
        """Rows of SUMMARY but for the cohort's name.

        Parameters
        ----------
        patients : list of dict
            Rows of PATIENTS. One study of each is taken: the first by date, else by its identifier.
        least, seed : int
            As of `describe`.
        """
        for modality, method in sorted(self._percents):
            fixed = {"modality": modality, "method": method}
            chosen: dict[str, dict[str, Any]] = {}
            for row in patients:
                if (row["modality"], row["method"]) == (modality, method):
                    other = chosen.setdefault(row["patient_id"], row)
                    chosen[row["patient_id"]] = min(row, other, key=_first)
            studies = list(chosen.values())
            of_patients = self._group(
                np.array(
                    [np.nan if r["infection_percent"] is None else r["infection_percent"] for r in studies], float
                ),
                np.array([self._codes[row["patient_id"]] for row in studies], np.int64),
                np.array(
                    [SEVERITY.index(r["severity_class"]) if r["severity_class"] else -1 for r in studies], np.int64
                )
                if modality == "ct"
                else None,
            )
            key = modality, method
            of_images = self._group(np.concatenate(self._percents[key]), np.concatenate(self._persons[key]), None)
            for unit, group in (("patient", of_patients), ("image", of_images)):
                for row in describe(group, least, seed):
                    yield row | fixed | {"unit": unit}

    def _group(
        self, percents: NDArray[np.float64], persons: NDArray[np.int64], classes: NDArray[np.int64] | None
    ) -> Group:
        known = {code: place for place, code in enumerate(np.unique(persons).tolist())}
        places = np.array([known[code] for code in persons.tolist()], np.int64)
        levels = {}
        for number, name in enumerate(self.names):
            words = [self._values.get(code, (None,) * len(self.names))[number] or UNKNOWN for code in known]
            levels[name] = np.array(words, str)[places] if len(words) else np.array([], str)
        return Group(percents, persons, classes, levels)


def _first(row: dict[str, Any]) -> tuple[Any, ...]:
    day = row["days_since_first_study"]
    return day is None, day or 0, row["study_id"] or ""


@dataclass(frozen=True)
class Group:
    """The units of one modality and method.

    Parameters
    ----------
    percents : (n,) of float
        NaN where there is none.
    persons : (n,)
        Whose they are; an image of an unknown patient is a person of its own.
    classes : (n,) of int, optional
        Place in `SEVERITY`, -1 where there is none; None where units have no such class.
    levels : mapping of covariate to (n,) of str
        ``unknown`` where it is not known.
    """

    percents: NDArray[np.float64]
    persons: NDArray[Any]
    classes: NDArray[np.int64] | None
    levels: Mapping[str, NDArray[Any]]


def describe(group: Group, least: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of SUMMARY, but for cohort, modality, method and unit.

    Parameters
    ----------
    group : Group
    least : int
        Smallest number of patients of a cell that is told (see `covidpipe.quantify.disclosure`). A quantile is told
        where at least as many patients are expected on either side of it.
    seed : int
    """
    missing = np.isnan(group.percents)
    yield _share("without_percent", ALL, ALL, missing, group.persons, hide=_is_small(missing, group.persons, least))
    told = ~missing
    percents, persons = group.percents[told], group.persons[told]
    levels = {name: values[told] for name, values in group.levels.items()}
    names = {covariate: np.unique(values) for covariate, values in levels.items()}
    sizes = {
        covariate: np.array([len(np.unique(persons[levels[covariate] == level])) for level in known], np.int64)
        for covariate, known in names.items()
    }
    people = len(np.unique(persons))
    all_hidden = 0 < people < least
    hidden = _hidden(group, told, levels, names, sizes, 1 if all_hidden else least)
    everyone = np.ones(len(percents), bool)
    cells = [(ALL, ALL, everyone, all_hidden, hidden.totals | all_hidden)]
    for covariate, known in names.items():
        closed = hidden.levels[covariate] | all_hidden
        for n in np.flatnonzero(~closed):
            cells.append((covariate, str(known[n]), levels[covariate] == known[n], False, hidden.cells[covariate][n]))
        if closed.any():  # their names are as little told as their sizes
            cells.append(
                (covariate, HIDDEN, np.isin(levels[covariate], known[closed]), True, np.ones_like(hidden.totals))
            )
    for covariate, level, where, of_level, of_class in cells:
        yield from _distribution(covariate, level, percents[where], persons[where], least, seed, hide=of_level)
        if group.classes is not None:
            classes = group.classes[told][where]
            for place, word in enumerate(SEVERITY):
                share = _share(
                    "severity_percent", covariate, level, classes == place, persons[where], hide=bool(of_class[place])
                )
                yield share | {"severity_class": word, "severity_score": place}


def _hidden(
    group: Group,
    told: NDArray[np.bool_],
    levels: Mapping[str, NDArray[Any]],
    names: Mapping[str, NDArray[Any]],
    sizes: Mapping[str, NDArray[np.int64]],
    least: int,
) -> Hidden:
    """What `hidden_cells` says of the classes; of units without classes, what `hidden_in_line` says of the levels."""
    if group.classes is None:
        lines = {covariate: hidden_in_line(size, least) for covariate, size in sizes.items()}
        nothing = np.zeros(len(SEVERITY), bool)
        return Hidden(
            nothing, lines, {name: np.zeros((len(line), len(SEVERITY)), bool) for name, line in lines.items()}
        )
    classes = group.classes[told][:, None] == np.arange(len(SEVERITY))
    tables = {
        covariate: np.stack([classes[levels[covariate] == level].sum(axis=0) for level in known])
        for covariate, known in names.items()
        if len(known)
    }
    return hidden_cells(classes.sum(axis=0), tables, least)


def _is_small(mask: NDArray[np.bool_], persons: NDArray[Any], least: int) -> bool:
    """True if those marked, or those not marked, are some patients but too few."""
    return any(0 < len(np.unique(persons[part])) < least for part in (mask, ~mask))


def _row(measure: str, covariate: str, level: str, *, hide: bool, **told: Any) -> dict[str, Any]:
    return {"measure": measure, "covariate": covariate, "level": level, "suppressed": hide} | ({} if hide else told)


def _share(
    measure: str, covariate: str, level: str, mask: NDArray[np.bool_], persons: NDArray[Any], *, hide: bool
) -> dict[str, Any]:
    k, n = int(np.count_nonzero(mask)), len(mask)
    interval = None if hide else proportion(mask, persons)
    return _row(
        measure,
        covariate,
        level,
        hide=hide,
        value=100 * k / n if n else None,
        low=interval and 100 * interval.low,
        high=interval and 100 * interval.high,
        interval=interval and interval.how,
        n=n,
        k=k,
        patients=len(np.unique(persons)),
    )


def _distribution(
    covariate: str,
    level: str,
    percents: NDArray[np.float64],
    persons: NDArray[Any],
    least: int,
    seed: int,
    *,
    hide: bool,
) -> Iterator[dict[str, Any]]:
    """Mean and quantiles of the percentages of one cell, with intervals by resampling patients, of many by formulas."""
    size: dict[str, Any] = {"n": len(percents), "patients": len(np.unique(persons))}
    known = len(percents) > 0 and not hide
    mean: dict[str, Any] = {"value": None}
    if known:
        of_mean, of_quantile = _intervals(percents, persons, size["patients"], seed)
        mean = {"value": float(percents.mean()), **_ends(of_mean)}
    yield _row("infection_percent_mean", covariate, level, hide=hide, **mean, **size)
    for share in QUANTILES:
        # so many patients lie beyond it; below the least, the quantile is nearly one patient's own number
        few = min(share, 1 - share) * size["patients"] < least and least > 1
        quantile: dict[str, Any] = {"value": None}
        if known and not few:
            quantile = {"value": float(np.quantile(percents, share)), **_ends(of_quantile(share))}
        yield _row(f"infection_percent_p{100 * share:.0f}", covariate, level, hide=hide or few, **quantile, **size)


def _intervals(
    percents: NDArray[np.float64], persons: NDArray[Any], patients: int, seed: int
) -> tuple[Interval | None, Callable[[float], Interval | None]]:
    """The interval of the mean, and what gives that of a quantile: draws of patients, or formulas if there are many."""
    if patients > MANY:
        return mean_of_many(percents, persons, PERCENT), functools.partial(quantile_of_many, percents, persons)
    again = PatientBootstrap(persons, seed=seed)
    sums = np.stack([percents, np.ones(len(percents))], axis=1)
    values, codes = _levels(percents)
    return (
        again.of_sums(sums, lambda found: found[:, 0] / found[:, 1], PERCENT),
        lambda share: again.of_levels(codes, functools.partial(_quantiles, values, share=share), PERCENT),
    )


def _ends(interval: Interval | None) -> dict[str, Any]:
    return {} if interval is None else {"low": interval.low, "high": interval.high, "interval": interval.how}


def _levels(percents: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different values, ascending, and which of them each percentage is."""
    values, codes = np.unique(percents, return_inverse=True)
    if len(values) > LEVELS:
        values, codes = np.unique(np.rint(percents / STEP) * STEP, return_inverse=True)
    return values, codes


def _quantiles(values: NDArray[np.float64], counts: NDArray[Any], share: float) -> NDArray[np.float64]:
    """The quantile of each draw, interpolated as `numpy.quantile` does.

    Parameters
    ----------
    values : (levels,) of float, ascending
    counts : (draws, levels) of int
        How often each value was drawn.
    share : float
    """
    upto = counts.cumsum(axis=1)
    place = (upto[:, -1] - 1) * share
    below, above = (values[(upto > edge(place)[:, None]).argmax(axis=1)] for edge in (np.floor, np.ceil))
    return below + (place - np.floor(place)) * (above - below)
