"""The cohort's tables in, one HTML page out: what is counted, and in which words.

Everything is a pure function of the tables: no clock, no machine, no path, so that the same cohort gives the same
bytes. Templates are escaped by Jinja2; the one script and the one style are named by their hash in the page's content
security policy, which also forbids every network request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from covidpipe import __version__
from covidpipe.bias import bias_text
from covidpipe.config import Config
from covidpipe.metrics.nearness import COMPARED
from covidpipe.quantify.conformal import Calibration
from covidpipe.quantify.reference import MODEL_COLUMNS, deciding_settings
from covidpipe.registry import METHODS
from covidpipe.report import figures, overlays
from covidpipe.schemas import REASONS, SCHEMA_VERSION

TABLE_ROWS = 20_000  # 10,000 images by two methods: 4 MB of the page
LISTED = 500  # patients, and kinds of rejection
COURSES = 24  # patients whose course is drawn
NOTHING = "–"
MODALITY = {"ct": "CT", "xr": "X-ray"}
STATUS = ("ok", "warning", "rejected")
PATH_KEYS = {"path", "out", "results", "data"}

# The columns of the searchable table: heading, column of `infection`, how it is written. `SOME` are left out of a table
# where they tell nothing.
COLUMNS = (
    ("Infected, %", "infection_percent", "percent"),
    ("Low, %", "infection_percent_low", "percent"),
    ("High, %", "infection_percent_high", "percent"),
    ("Method", "method", "text"),
    ("Modality", "modality", "modality"),
    ("Image", "image_id", "text"),
    ("Patient", "patient_id", "text"),
    ("Slice", "slice_index", "count"),
    ("Status", "qc_status", "text"),
    ("Reasons", "qc_reasons", "words"),
    ("Lung, px", "lung_px", "count"),
    ("Infected, px", "infected_px", "count"),
    ("COVID-19", "covid_probability", "share"),
    ("Pneumonia", "pneumonia_probability", "share"),
    ("Split", "split", "text"),
)
SOME = ("infection_percent_low", "infection_percent_high", "pneumonia_probability")
# What is read of the tables: of a million images the other columns take gigabytes.
OF_TABLE = (
    *dict.fromkeys(column for _, column, _ in COLUMNS),
    *("covid_positive", "pneumonia_positive", "pneumonia_model_id", *MODEL_COLUMNS.values(), "pipeline_version"),
)
OF_IMAGES = ("image_id", "patient_id", "modality", "modality_source", "accepted", "reason", "sentence")
OF_PATIENTS = (
    *("patient_id", "study_id", "modality", "method", "images", "images_refused", "lung_px", "infection_percent"),
    *("severity_class", "days_since_first_study", "lung_ml", "infected_ml"),
)


def percent(value: float | None) -> str:
    """A percentage in words; one that is not 0 never reads as 0.

    >>> percent(12.345), percent(0.0), percent(0.01), percent(None)
    ('12.3', '0', '<0.1', '–')
    """
    if value is None or pd.isna(value):
        return NOTHING
    return "<0.1" if 0 < value < 0.05 else "0" if value == 0 else f"{value:.1f}"


def count(value: int | None) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{int(value):,}"


def share(value: float | None) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:.3f}"


def number(value: float | None) -> str:
    """A measure of unknown size with three digits that count.

    >>> number(0.91234), number(123456.0), number(None)
    ('0.912', '123456', '–')
    """
    if value is None or pd.isna(value):
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def modality(value: str | None) -> str:
    return NOTHING if value is None or pd.isna(value) else MODALITY[value]


def _text(value: str | None) -> str:
    return NOTHING if value is None or pd.isna(value) else str(value)


def _words(values: Sequence[str] | None) -> str:
    return ", ".join(values) if values is not None and len(values) else NOTHING


FORMATS: dict[str, Callable[[Any], str]] = {
    "percent": percent,
    "count": count,
    "share": share,
    "modality": modality,
    "text": _text,
    "words": _words,
}


def frame(table: pa.Table) -> pd.DataFrame:
    """A table as pandas with Arrow's types: a missing number stays missing, a count stays whole."""
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def cohort_numbers(images: pd.DataFrame) -> dict[str, Any]:
    """Images seen, accepted and rejected, patients and modalities of a table `images`."""
    accepted = images[images["accepted"]]
    kinds = accepted["modality"].value_counts()
    return {
        "seen": len(images),
        "accepted": len(accepted),
        "rejected": len(images) - len(accepted),
        "patients": images["patient_id"].nunique(),
        "without_patient": int(accepted["patient_id"].isna().sum()),
        "modalities": [(modality(m), int(kinds.get(m, 0))) for m in MODALITY if kinds.get(m, 0)],
        "guessed": int((accepted["modality_source"] == "guessed").sum()),
    }


def rejections(images: pd.DataFrame) -> list[dict[str, Any]]:
    """For each reason, most frequent first: its sentence, how many images, and what was found in them.

    The files' own sentences name no path and no person; equal ones are counted together.
    """
    rejected = images[~images["accepted"]]
    listed = []
    for reason, group in rejected.groupby("reason"):
        sentences = group["sentence"].value_counts()
        found = sorted(sentences.items(), key=lambda item: (-item[1], item[0]))
        listed.append({"reason": reason, "sentence": REASONS[reason], "count": len(group), "found": found})
    return sorted(listed, key=lambda row: (-row["count"], row["reason"]))


def method_results(
    infection: pd.DataFrame,
    config: Config,
    summary: pd.DataFrame | None = None,
    calibrations: Mapping[tuple[str, str], Sequence[Calibration]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """One entry for each modality and method that fit together: numbers, figures, and how wrong the method is.

    Parameters
    ----------
    infection : DataFrame
    config : Config
    summary : DataFrame, optional
        Table `summary` of the cohort, for intervals and classes.
    calibrations : mapping of (modality, method) to sequence of Calibration
        How far methods are off, by networks and settings.
    """
    groups = [
        (m, method, rows)
        for (m, method), rows in infection.groupby(["modality", "method"], sort=True)
        if m in METHODS[method].roles
    ]
    upper = figures.upper_bound(_floats(infection["infection_percent"]))
    return [
        _method_result(m, method, rows, upper)
        | {"wrong": _how_wrong(config, m, method, rows, calibrations.get((m, method), ()))}
        | described(summary, m, method)
        for m, method, rows in groups
    ]


def _how_wrong(config: Config, m: str, method: str, rows: pd.DataFrame, calibrations: Sequence[Calibration]) -> str:
    """What was measured of the networks and settings that made `rows`, and of the threshold alone if there is one."""
    settings = deciding_settings(config, method)
    used = rows[list(MODEL_COLUMNS.values())].drop_duplicates().dropna(how="all")
    made_by = used.astype(object).where(used.notna(), None).to_dict("records")
    told = "How far the whole method is off with these networks and settings was not measured."
    for one in calibrations if made_by else ():
        if all(one.fits(found, settings) for found in made_by):
            told = one.in_words()
            break
    return f"{told} {bias_text(config, m)}" if method == "alom2020" else told


def _floats(values: pd.Series) -> np.ndarray:
    return values.dropna().to_numpy(dtype=float)


def _method_result(m: str, method: str, rows: pd.DataFrame, upper: float) -> dict[str, Any]:
    values = _floats(rows["infection_percent"])
    screened = rows["covid_positive"].dropna()
    negative = int((~screened.astype(bool)).sum())
    pneumonia = rows["pneumonia_positive"].dropna()
    screened_zero = int((rows["qc_reasons"].explode() == "screened_negative").sum())
    above = values[values > 0]
    zero = len(values) - len(above) - screened_zero
    segments = (
        ("fate-above", "infected lung found", len(above)),
        ("fate-zero", "segmented, nothing found", zero),
        ("fate-screened", "screened negative", screened_zero),
        ("fate-none", "no percentage", len(rows) - len(values)),
    )
    name = f"{method}, {modality(m)}"
    told = "; ".join(f"{words} {n:,}" for _, words, n in segments)
    status = rows["qc_status"].value_counts()
    return {
        "method": method,
        "modality": modality(m),
        "reference": METHODS[method].reference,
        "images": len(rows),
        "measured": len(values),
        "mean": float(values.mean()) if len(values) else None,
        "median": float(np.median(values)) if len(values) else None,
        "quartiles": np.quantile(values, (0.25, 0.75)).tolist() if len(values) else None,
        "highest": float(values.max()) if len(values) else None,
        "screened": len(screened),
        "negative": negative,
        "asked_for_pneumonia": len(pneumonia),
        "with_pneumonia": int(pneumonia.astype(bool).sum()),
        "status": [(s, int(status.get(s, 0))) for s in STATUS],
        "segments": segments,
        "fates": figures.fates(segments, f"What became of the images of {name}: {told}."),
        "above": len(above),
        "distribution": figures.distribution(
            above,
            upper,
            f"Histogram of the infected share of the lung by {name}: {len(above):,} images above 0 %"
            + (f", median of these {np.median(above):.1f} %." if len(above) else "."),
        ),
    }


def described(summary: pd.DataFrame | None, m: str, method: str) -> dict[str, Any]:
    """What table `summary` says of a modality and method as a whole: quantiles with intervals, classes of patients.

    Where a figure cannot be drawn its entry is None; `hidden` tells if cells were withheld for being small.
    """
    nothing: dict[str, Any] = {"intervals": None, "severity": None, "persons": None, "hidden": False}
    if summary is None:
        return nothing
    rows = summary[(summary["modality"] == m) & (summary["method"] == method) & (summary["covariate"] == "all")]
    told = rows[rows["value"].notna()]
    name = f"{method}, {modality(m)}"
    spread = [
        (QUANTILE_WORDS[row["measure"]], row["value"], _known(row["low"]), _known(row["high"]))
        for row in told[told["unit"] == "image"].to_dict("records")
        if row["measure"] in QUANTILE_WORDS
    ]
    spread.sort(key=lambda row: list(QUANTILE_WORDS.values()).index(row[0]))
    classes = told[(told["unit"] == "patient") & (told["measure"] == "severity_percent")].sort_values("severity_score")
    shares = [
        (row["severity_class"], row["value"], _known(row["low"]), _known(row["high"]), int(row["k"]))
        for row in classes.to_dict("records")
    ]
    if spread:
        ends = [end for _, value, _, high in spread for end in (value, high) if end is not None]
        words = "; ".join(_with_interval(*row) for row in spread)
        nothing["intervals"] = figures.intervals(
            spread, figures.upper_bound(np.array(ends)), f"Infected share of the lung by {name}, over images: {words}."
        )
        nothing["persons"] = int(told[told["unit"] == "image"]["patients"].max())
    if shares:
        ends = [end for _, value, _, high, _ in shares for end in (value, high) if end is not None]
        words = "; ".join(f"class {_with_interval(*row[:4])}, {row[4]:,} patients" for row in shares)
        nothing["severity"] = figures.shares(
            shares, figures.upper_bound(np.array(ends)), f"Patients in each severity class by {name}: {words}."
        )
    return nothing | {"hidden": bool(rows["suppressed"].any())}


# Measures of table `summary` that are drawn, in their order, and how they are called on the page.
QUANTILE_WORDS = {
    "infection_percent_mean": "mean",
    "infection_percent_p10": "lowest tenth",
    "infection_percent_p25": "lower fourth",
    "infection_percent_p50": "median",
    "infection_percent_p75": "upper fourth",
    "infection_percent_p90": "highest tenth",
}


def _known(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _with_interval(words: str, value: float, low: float | None, high: float | None) -> str:
    return f"{words} {value:.1f} %" + ("" if low is None or high is None else f" ({low:.1f} to {high:.1f} %)")


def courses(patients: pa.Table) -> dict[str, Any]:
    """Patients with percentages on more than one day, those that changed most first: a small chart each.

    Parameters
    ----------
    patients : pyarrow.Table
        Rows of `schemas.PATIENTS`.

    Returns
    -------
    dict
        ``drawn``: patient, modality, days, change (from first to last day, in points, of the method that changed most)
        and chart; ``total``: how many patients have a course; ``methods``: those drawn.
    """
    keys, day, value = ["patient_id", "modality", "method"], "days_since_first_study", "infection_percent"
    told = _fitting(patients).select([*keys, day, value]).drop_null()
    days = told.group_by(keys).aggregate([(day, "min"), (day, "max")])
    several = days.filter(pc.less(days[f"{day}_min"], days[f"{day}_max"])).select(keys)
    points: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    for row in told.join(several, keys, join_type="left semi").to_pylist():
        of_method = points.setdefault((row["patient_id"], row["modality"]), {})
        of_method.setdefault(row["method"], []).append((row[day], row[value]))
    found = []
    for (patient, m), of_method in points.items():
        lines = [(method, sorted(values)) for method, values in sorted(of_method.items())]
        changes = [values[-1][1] - values[0][1] for _, values in lines]
        found.append((patient, m, lines, max(changes, key=abs)))
    found.sort(key=lambda one: (-abs(one[3]), one[0], one[1]))
    shown = found[:COURSES]
    upper = figures.upper_bound(np.array([v for _, _, lines, _ in shown for _, values in lines for _, v in values]))
    drawn = [_course(*one, upper=upper) for one in shown]
    return {"drawn": drawn, "total": len(found), "methods": sorted({method for one in shown for method, _ in one[2]})}


def _course(
    patient: str, m: str, lines: list[tuple[str, list[tuple[int, float]]]], change: float, *, upper: float
) -> dict[str, Any]:
    days = max(values[-1][0] for _, values in lines)
    told = "; ".join(
        f"{method}: " + ", ".join(f"day {day} {percent(value)} %" for day, value in values) for method, values in lines
    )
    chart = figures.course(
        [(f"line-{method}", values) for method, values in lines], days, upper, f"Course of patient {patient}. {told}."
    )
    return {"patient": patient, "modality": modality(m), "days": days, "change": change, "chart": chart}


def agreements(infection: pd.DataFrame) -> list[dict[str, Any]]:
    """For each modality and pair of methods with images in common: the scatter and how far they lie apart."""
    measured = infection[infection["infection_percent"].notna()]
    listed = []
    for m, rows in measured.groupby("modality", sort=True):
        wide = rows.pivot(index="image_id", columns="method", values="infection_percent").sort_index()
        for first, second in combinations(sorted(wide.columns), 2):
            both = wide[[first, second]].dropna().to_numpy(dtype=float)
            if len(both):
                x, y = both.T
                told = f"{second} against {first} for {len(both):,} {modality(m)} images, with the line of equality."
                listed.append(
                    {
                        "modality": modality(m),
                        "first": first,
                        "second": second,
                        "images": len(both),
                        "drawn": min(len(both), figures.SCATTER_POINTS),
                        "difference": float((y - x).mean()),
                        "apart": float(np.abs(y - x).mean()),
                        "within": float((np.abs(y - x) <= 5).mean() * 100),
                        "scatter": figures.agreement(x, y, (first, second), figures.upper_bound(both), told),
                    }
                )
    return listed


def quality_flags(
    infection: pd.DataFrame, rejected_ids: set[str], examples: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """How often each reason code stands on an accepted image, by method, and pictures of some (`flag`, `picture`)."""
    rows = infection[~infection["image_id"].isin(rejected_ids)]
    methods = sorted(rows["method"].unique())
    pairs = rows[["method", "qc_reasons"]].explode("qc_reasons").dropna()
    counts = pairs.groupby(["qc_reasons", "method"]).size()
    flags = [
        {
            "reason": reason,
            "sentence": REASONS.get(reason, ""),
            "counts": [int(counts.get((reason, m), 0)) for m in methods],
            "examples": [case for case in examples if case["flag"] == reason and case["picture"]],
        }
        for reason in sorted(pairs["qc_reasons"].unique())
    ]
    return {"methods": methods, "flags": sorted(flags, key=lambda flag: (-sum(flag["counts"]), flag["reason"]))}


def patient_rows(patients: pa.Table) -> pa.Table:
    """Rows of a table `patients` whose method fits the modality, the highest percentage first, those without last."""
    order = [("infection_percent", "descending")]
    order += [(name, "ascending") for name in ("patient_id", "study_id", "modality", "method")]
    return _fitting(patients).sort_by(order)


def _fitting(rows: pa.Table) -> pa.Table:
    """Rows whose method is for their modality."""
    fitting = pa.array([f"{method} {m}" for method, definition in METHODS.items() for m in definition.roles])
    return rows.filter(pc.is_in(pc.binary_join_element_wise(rows["method"], rows["modality"], " "), value_set=fitting))


def image_rows(infection: pd.DataFrame) -> dict[str, Any]:
    """Headings and formatted cells of the searchable table: the highest percentages first, `TABLE_ROWS` at most."""
    columns = [c for c in COLUMNS if c[1] not in SOME or infection[c[1]].notna().any()]
    ordered = infection.sort_values(
        ["infection_percent", "image_id", "method"], ascending=[False, True, True], na_position="last"
    ).head(TABLE_ROWS)
    cells = [[FORMATS[how](value) for value in ordered[name].tolist()] for _, name, how in columns]
    return {
        "headings": [(heading, how in ("percent", "count", "share")) for heading, _, how in columns],
        "rows": [list(row) for row in zip(*cells, strict=True)],
        "total": len(infection),
    }


def against_truth(heading: str, summary: pa.Table, bins: pa.Table | None) -> dict[str, Any]:
    """A measurement against truth: its rows, and the reliability diagram of a classifier.

    Of the controls only the measures are shown by which they are compared with the model; the table has them all.
    """
    rows = [row for row in frame(summary).to_dict("records") if row["role"] != "control" or row["measure"] in COMPARED]
    drawn = [] if bins is None else bins.to_pylist()
    # without its temperature a network is what nobody is shown
    temperatures = {row["temperature"] for row in drawn}
    used = [row for row in drawn if row["temperature"] != 1 or temperatures == {1.0}]
    told = "; ".join(f"{row['mean_probability']:.2f} said, {row['share']:.2f} so" for row in used)
    diagram = figures.reliability(used, f"Reliability diagram: {told}.") if used else None
    return {"heading": heading, "rows": rows, "reliability": diagram}


def models_used(infection: pd.DataFrame) -> list[dict[str, Any]]:
    """Every model that took part: its part, its id, for which modality and method, on how many images."""
    parts = (
        *(("classifier_id", "screening"), ("lung_model_id", "lungs"), ("infection_model_id", "infection")),
        ("pneumonia_model_id", "pneumonia"),
    )
    return [
        {"part": part, "model": model, "modality": modality(m), "method": method, "images": len(rows)}
        for column, part in parts
        for (model, m, method), rows in infection.groupby([column, "modality", "method"], sort=True)
    ]


def public_config(config: Config, cohort: str) -> str:
    """The config as YAML, with every path as `…`, for a folder's name may name a person.

    What the study does not use is left out: other cohorts, schedules of no recipe, where ImageNet weights come from.
    """

    def without_paths(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: "…" if key in PATH_KEYS and isinstance(item, str) else without_paths(item)
                for key, item in value.items()
            }
        return value

    settings = config.model_dump(mode="json")
    settings["datasets"] = dict.fromkeys(settings["datasets"], "…")
    settings["cohorts"] = {name: item for name, item in settings["cohorts"].items() if name == cohort}
    followed = {recipe.schedule for recipe in config.training.values()}
    settings["schedules"] = {name: item for name, item in settings["schedules"].items() if name in followed}
    del settings["pretrained"]
    return yaml.safe_dump(without_paths(settings), sort_keys=False, allow_unicode=True)


def render(
    config: Config,
    cohort: str,
    images: pa.Table,
    infection: pa.Table,
    patients: pa.Table,
    cases: Sequence[dict[str, Any]],
    metrics: Sequence[tuple[str, pa.Table, pa.Table | None]] = (),
    summary: pa.Table | None = None,
    examples: Sequence[dict[str, Any]] = (),
    calibrations: Mapping[tuple[str, str], Sequence[Calibration]] = MappingProxyType({}),
) -> str:
    """Write the page.

    Parameters
    ----------
    config : Config
    cohort : str
    images, infection, patients : pyarrow.Table
        The cohort's tables, of the columns of `schemas.IMAGES`, `schemas.INFECTION` and `schemas.PATIENTS` those in
        `OF_IMAGES`, `OF_TABLE` and `OF_PATIENTS`.
    cases : sequence of dict
        For each case its row's values (image_id, method, modality, infection_percent, lung_px, chosen) and `picture`
        (a data URI and nothing in `missing`) or `missing` (why there is no picture); some have `heat`, too.
    metrics : sequence of (str, pyarrow.Table, pyarrow.Table or None)
        Of each measurement against truth: heading, `schemas.METRICS_SUMMARY` and, if of a classifier, RELIABILITY.
    summary : pyarrow.Table, optional
        The cohort described, as `schemas.SUMMARY` declares it.
    examples : sequence of dict
        Images that carry a reason code, like `cases`, with the code as `flag`.
    calibrations : mapping of (modality, method) to sequence of Calibration
        How far methods are off, by networks and settings.

    Returns
    -------
    str
        One HTML document that loads nothing from anywhere.
    """
    seen, found = frame(images), frame(infection)
    script, style = source("report.js"), source("report.css")
    results = method_results(found, config, None if summary is None else frame(summary), calibrations)
    pooled = patient_rows(patients)
    return (
        environment()
        .get_template("cohort.html.j2")
        .render(
            cohort=cohort,
            script=script,
            style=style,
            script_hash=sha256(script),
            style_hash=sha256(style),
            numbers=cohort_numbers(seen),
            rejections=rejections(seen),
            results=results,
            methods=sorted({result["method"] for result in results}),
            agreements=agreements(found),
            quality=quality_flags(found, set(seen.loc[~seen["accepted"], "image_id"]), examples),
            courses=courses(patients),
            cases=cases,
            heated=any("heat" in case for case in cases),
            ramp=overlays.ramp_uri(),
            patients=pooled.slice(0, LISTED).to_pylist(),
            patients_total=len(pooled),
            table=image_rows(found),
            metrics=[against_truth(*measured) for measured in metrics],
            models=models_used(found),
            version=__version__,
            made_by=sorted(found["pipeline_version"].unique()),
            schema_version=SCHEMA_VERSION,
            seed=config.seed,
            min_cell=config.summary.min_cell,
            config_yaml=public_config(config, cohort),
        )
    )


def environment() -> jinja2.Environment:
    """Of all pages: words are escaped, and a name that is not known is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("covidpipe.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, count=count, number=number, modality=modality, dash=_text)
    return made


def source(name: str) -> str:
    """A file that lies beside the templates."""
    made = environment()
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def sha256(text: str) -> str:
    """As a content security policy names a script or a style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
