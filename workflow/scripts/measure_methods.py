"""Measure whole methods on patients whom their networks have not learned from; write the figures, and their page.

Run from the project's root: ``python workflow/scripts/measure_methods.py --config CONFIG`` (COVIDPIPE_DATA as
everywhere; 4 minutes), where CONFIG names the networks; the image tables of the data sets must lie where it says
(``covidpipe ingest``). Unlike measure_threshold.py it has lungs that the networks found, so all errors are in it.
Nothing was chosen by these figures.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure_threshold import written

from covidpipe.config import Config, load
from covidpipe.inference.cohorts import applicable_methods, teams
from covidpipe.metrics.agreement import bias, concordance, mean_absolute_error
from covidpipe.metrics.intervals import PatientBootstrap
from covidpipe.provenance import prepare_backend
from covidpipe.quantify.conformal import Calibration, coverage
from covidpipe.stages.conformal import Judged, judged
from covidpipe.stages.score import WITHIN

SOURCES = ("medseg829", "coronacases")
LEVELS = (0.8, 0.9)
FIGURES, DOCUMENT = Path("docs/agreement.csv"), Path("docs/agreement.md")

# What is changed in the config, and what the methods are then called. Two variants of one run share its networks.
RUNS: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
    ({}, {"fusion": "fusion", "khan2020": "khan2020", "alom2020": "alom2020 `vessel_suppressed`"}),
    ({"segment": "positives"}, {"khan2020": "khan2020 `segment: positives`, as published"}),
    ({"threshold": {"local": "otsu"}}, {"alom2020": "alom2020 `otsu`"}),
    ({"threshold": {"local": "gaussian"}}, {"alom2020": "alom2020 `gaussian`"}),
    ({"threshold": {"local": "adaptive"}}, {"alom2020": "alom2020 `adaptive`, the paper's"}),
)


NETWORK = "network"  # the unit of the lines that name the networks


@dataclass(frozen=True)
class Row:
    """One measure of one variant on one group of patients."""

    variant: str
    data: str
    unit: str
    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    patients: int | None = None


def found_by(config: Config, sources: Sequence[str]) -> tuple[dict[str, list[Judged]], set[str]]:
    """What every variant finds, beside the truth; and the networks that found it."""
    told: dict[str, list[Judged]] = {}
    names_of_networks: set[str] = set()
    for change, names in RUNS:
        changed = Config.model_validate(config.model_dump() | change)
        wanted = applicable_methods(changed, names)
        for team in teams(changed, "ct", wanted):
            for one in judged(changed, "ct", sources, wanted, team):
                told.setdefault(names[one.method], []).append(one)
            names_of_networks |= {network.model_id for network in team.networks["ct"].values()}
    return told, names_of_networks


def groups_of(some: Iterable[Judged]) -> dict[str, list[Judged]]:
    """By data set and, where the networks were trained on it, by part."""
    groups: dict[str, list[Judged]] = {}
    for one in some:
        groups.setdefault(one.dataset if one.part is None else f"{one.dataset}, {one.part}", []).append(one)
    return dict(sorted(groups.items()))


def measures(variant: str, some: list[Judged]) -> Iterator[Row]:
    """Agreement by image and by patient, what is found where nothing is, and how often intervals hold."""
    for data, group in groups_of(some).items():
        told = [one for one in group if one.found_percent is not None and one.true_percent is not None]
        pairs = np.array([(one.found_percent, one.true_percent) for one in told], float)
        patients = np.array([one.patient for one in told])
        yield from agreement(variant, data, "image", pairs, patients)
        names = np.unique(patients)
        of_patients = np.array([patient_percents([one for one in told if one.patient == name]) for name in names])
        yield from agreement(variant, data, "patient", of_patients, names)
        healthy = np.array([one.found_percent for one in told if not one.true[1]], float)
        ill = len({one.patient for one in told if not one.true[1]})
        for measure, value in (
            ("percent_on_lesion_free", healthy.mean() if len(healthy) else None),
            ("share_of_lesion_free_marked", 100 * (healthy > 0).mean() if len(healthy) else None),
        ):
            yield Row(variant, data, "image", measure, value, n=len(healthy), patients=ill)
        lungs = [one for one in group if one.true_percent is not None]
        yield Row(
            variant,
            data,
            "image",
            "share_without_percent",
            100 * (len(lungs) - len(told)) / len(lungs),
            n=len(lungs),
            patients=len({one.patient for one in lungs}),
        )
    yield from held(variant, some)


def patient_percents(some: list[Judged]) -> tuple[float, float]:
    """Infected share of a patient's lungs, found and true: all slices together, as patients.parquet has it."""
    lung, infected, true_lung, true_infected = np.array([(*one.found, *one.true) for one in some]).sum(axis=0)
    negative = not lung  # all slices were screened negative, and no lung was found in them
    return 0.0 if negative else 100 * infected / lung, 100 * true_infected / true_lung


def agreement(variant: str, data: str, unit: str, pairs: np.ndarray, patients: np.ndarray) -> Iterator[Row]:
    again = PatientBootstrap(patients)
    counts = {"n": len(pairs), "patients": len(np.unique(patients))}
    for measure, statistic in (("mean_absolute_error", mean_absolute_error), ("bias", bias)):
        interval = again.of_rows(pairs, statistic, WITHIN[measure])
        ends = (None, None) if interval is None else (interval.low, interval.high)
        yield Row(variant, data, unit, measure, statistic(pairs), *ends, **counts)
    yield Row(variant, data, unit, "concordance", concordance(pairs), **counts)


def held(variant: str, some: list[Judged]) -> Iterator[Row]:
    """How often prediction intervals hold the truth of patients, and of data sets, that they were not made from."""
    told = [one for one in some if one.found_percent is not None and one.true_percent is not None]
    numbers = {name: n for n, name in enumerate(sorted({one.patient for one in told}))}
    columns = zip(
        *((one.found_percent, one.true_percent, numbers[one.patient], one.dataset) for one in told), strict=True
    )
    calibration = Calibration({}, {}, *columns)
    for level in LEVELS:
        for row in coverage(calibration, level):
            data, unit = row["dataset"] or "all", f"without the {row['left_out']}"
            counts = {"n": row["images"], "patients": row["patients"]}
            name = f"{100 * level:.0f}"
            yield Row(variant, data, unit, f"coverage_{name}", 100 * row["coverage"], **counts)
            yield Row(variant, data, unit, f"width_{name}", row["median_width"], **counts)
            yield Row(variant, data, unit, f"unbounded_{name}", 100 * row["unbounded"], **counts)


def tables(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """The generated parts of docs/agreement.md, by name, from the lines of docs/agreement.csv."""
    cell = {(row["variant"], row["data"], row["unit"], row["measure"]): row for row in rows}
    variants = list(dict.fromkeys(row["variant"] for row in rows if row["unit"] != NETWORK))
    networks = [row["variant"] for row in rows if row["unit"] == NETWORK]
    parts = list(dict.fromkeys(row["data"] for row in rows if row["unit"] == "image"))
    data = "; ".join(
        f"{part}: {cell[variants[0], part, 'image', 'share_without_percent']['n']} slices with lung, "
        f"{cell[variants[0], part, 'image', 'share_without_percent']['patients']} patients"
        for part in parts
    )
    return {
        "data": f"{data}. Networks: {', '.join(networks)}.",
        "images": "\n".join(_agreement(cell, variants, parts, "image")),
        "patients": "\n".join(_agreement(cell, variants, parts, "patient")),
        "lesion_free": "\n".join(_lesion_free(cell, variants, parts)),
        "intervals": "\n".join(_intervals(cell, variants)),
    }


Cells = dict[tuple[str, str, str, str], dict[str, str]]


def _agreement(cell: Cells, variants: list[str], parts: list[str], unit: str) -> Iterator[str]:
    yield f"| method | data | {unit}s | MAE | bias | CCC |"
    yield "|---|---|---|---|---|---|"
    for variant in variants:
        for part in parts:
            error, off, ccc = (
                cell[variant, part, unit, name] for name in ("mean_absolute_error", "bias", "concordance")
            )
            yield (
                f"| {variant} | {part} | {error['n']} | {_number(error['value'])}{_ends(error)} | "
                f"{_number(off['value'], '+.2f')}{_ends(off, '+.2f')} | {_number(ccc['value'], '.3f')} |"
            )


def _lesion_free(cell: Cells, variants: list[str], parts: list[str]) -> Iterator[str]:
    yield "| method | data | slices without a lesion | found on them | marked at all | slices without a percentage |"
    yield "|---|---|---|---|---|---|"
    for variant in variants:
        for part in parts:
            found, marked, missing = (
                cell[variant, part, "image", name]
                for name in ("percent_on_lesion_free", "share_of_lesion_free_marked", "share_without_percent")
            )
            shares = (f"{_number(row['value'])}{' %' if row['value'] else ''}" for row in (found, marked, missing))
            yield f"| {variant} | {part} | {found['n']} | {' | '.join(shares)} |"


def _intervals(cell: Cells, variants: list[str]) -> Iterator[str]:
    yield "| method | made from | judged | patients | covered at 80 % | width | covered at 90 % | width |"
    yield "|---|---|---|---|---|---|---|---|"
    for variant in variants:
        for (name, data, unit, measure), row in cell.items():
            if name == variant and measure == "coverage_80":
                told = []
                for level in ("80", "90"):
                    covered, width, unbounded = (
                        cell[variant, data, unit, f"{what}_{level}"]["value"]
                        for what in ("coverage", "width", "unbounded")
                    )
                    nothing = float(unbounded) == 100
                    told += ["too few patients", "100"] if nothing else [f"{float(covered):.1f} %", _number(width)]
                origin = f"the other {unit.removeprefix('without the ')}s"
                yield f"| {variant} | {origin} | {data} | {row['patients']} | {' | '.join(told)} |"


def _number(value: str, form: str = ".2f") -> str:
    return format(float(value), form) if value else "-"


def _ends(row: dict[str, str], form: str = ".2f") -> str:
    return f" ({_number(row['low'], form)} to {_number(row['high'], form)})" if row["low"] else ""


def read_figures(path: Path = FIGURES) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_figures(rows: list[Row], path: Path = FIGURES) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(row).items()}
            )


def write_images(told: dict[str, list[Judged]], path: Path) -> None:
    """A row an image and variant: counts of pixels, found and true."""
    rows = [
        {
            "variant": variant,
            **{key: value for key, value in asdict(one).items() if key not in ("found", "true")},
            **{f"{kind}_{what}_px": getattr(one, kind)[n] for kind in ("found", "true") for n, what in WHAT},
            "found_percent": one.found_percent,
            "true_percent": one.true_percent,
        }
        for variant, some in told.items()
        for one in some
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


WHAT = ((0, "lung"), (1, "infected"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="says which networks, and where image tables lie")
    parser.add_argument("--images", type=Path, default=Path("results/agreement/images.parquet"), help="a row an image")
    given = parser.parse_args()
    config = load(given.config)
    prepare_backend(config.seed)
    told, networks = found_by(config, SOURCES)
    write_images(told, given.images)
    rows = [row for variant, some in told.items() for row in measures(variant, some)]
    write_figures([*(Row(name, "", NETWORK, "model_id", None) for name in sorted(networks)), *rows])
    parts = tables(read_figures())
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), parts), encoding="utf-8")
    print(parts["images"], parts["intervals"], sep="\n\n")


if __name__ == "__main__":
    main()
