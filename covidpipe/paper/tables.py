"""The papers' tables: each printed number beside what was measured here under both protocols, controls as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from covidpipe.paper.published import Cell, Published
from covidpipe.registry import DATASETS, PROTOCOLS

Row = dict[str, Any]
Scores = Mapping[str, Mapping[str, Any]]  # rows of METRICS_SUMMARY by measure

# Our measures for those of the papers, by task; (subject, measure) of a published cell.
LABELS = {
    ("", "accuracy"): "accuracy",
    ("", "f_score"): "f_score",
    ("", "mcc"): "mcc",
    ("", "auc"): "roc_auc",
    ("", "pr_auc_trapezoid"): "pr_auc_trapezoid",
    ("", "precision"): "precision",
    ("", "specificity"): "specificity",
    ("", "sensitivity"): "sensitivity",
}
MASKS = {
    ("infected", "dice"): "pooled_dice",
    ("infected", "accuracy"): "accuracy_foreground",
    ("infected", "iou"): "pooled_iou",
    ("infected", "boundary_f"): "mean_boundary_f_where_present",
    ("background", "dice"): "pooled_dice_background",
    ("background", "accuracy"): "accuracy_background",
    ("background", "iou"): "iou_background",
    ("background", "boundary_f"): "mean_boundary_f_background",
    ("all", "global_accuracy"): "global_accuracy",
    ("all", "mean_accuracy"): "mean_accuracy",
    ("all", "mean_iou"): "mean_iou",
    ("all", "weighted_iou"): "weighted_iou",
    ("all", "mean_boundary_f"): "mean_boundary_f",
}
CONFUSION = {
    ("infected", "predicted_infected"): ("accuracy_foreground", False),
    ("infected", "predicted_background"): ("accuracy_foreground", True),
    ("background", "predicted_infected"): ("accuracy_background", True),
    ("background", "predicted_background"): ("accuracy_background", False),
}
LUNGS = {
    ("", "global_accuracy"): "global_accuracy",
    ("", "f_score"): "pooled_dice",
    ("", "dice"): "pooled_dice",
    ("", "iou"): "pooled_iou",
}
PERCENT = {
    "accuracy": "%",
    **dict.fromkeys(
        ("iou", "boundary_f", "global_accuracy", "mean_accuracy", "mean_iou", "weighted_iou", "mean_boundary_f"), "%"
    ),
}
# Proportions of pixels: their n are pixels, and the tables tell images.
OF_PIXELS = ("accuracy_foreground", "accuracy_background", "global_accuracy")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Result:
    """What one trained network scored on its test part: rows of METRICS_SUMMARY by measure, and those of controls."""

    recipe: str
    task: str
    dataset: str
    model: str
    regime: str
    protocol: str
    scores: Scores
    controls: Mapping[str, Scores] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """Which results belong to a row: task, kind of images, network, regime, and what a positive label stands for."""

    task: str
    modality: str
    network: str
    regime: str
    positive: str | None = None

    def found(self, results: Iterable[Result], protocol: str) -> Result | None:
        for result in results:
            spec = DATASETS[result.dataset]
            if (result.task, spec.modality, result.model, result.regime, result.protocol) == (
                self.task,
                self.modality,
                self.network,
                self.regime,
                protocol,
            ) and self.positive in (None, spec.positive):
                return result
        return None

    def by_protocol(self, results: Sequence[Result]) -> dict[str, Result]:
        """What was found, of the protocols under which anything was."""
        found = {protocol: self.found(results, protocol) for protocol in PROTOCOLS}
        return {protocol: result for protocol, result in found.items() if result is not None}


def khan_table(published: Published, source: str, results: Sequence[Result], label: str) -> list[Row]:
    """Rows of Table 2, 3, 4, 5 or 6 of Khan et al., of networks that it does not have and of the controls.

    Parameters
    ----------
    published : Published
    source : {"Table 2", "Table 3", "Table 4", "Table 5", "Table 6"}
    results : sequence of Result
    label : str
        Of the config's ``paper.label``.

    Returns
    -------
    list of dict
        Rows of PAPER_TABLE.
    """
    classify = source in ("Table 2", "Table 3")
    task = "classify" if classify else "segment_infection"
    measures: Mapping[tuple[str, str], Any] = LABELS if classify else CONFUSION if source == "Table 4" else MASKS
    cells = list(published.where(source=source))
    rows = [_row(cell, Wanted(task, "ct", cell.network, cell.regime), measures, results, label) for cell in cells]
    names = {(cell.network, cell.regime): cell.row for cell in cells}
    others = {
        (r.model, r.regime)
        for r in results
        if r.task == task and DATASETS[r.dataset].modality == "ct" and _belongs(source, r)
    } - set(names)
    for network, regime in sorted(others):
        wanted = Wanted(task, "ct", network, regime)
        rows += [_added(source, network, network, regime, key, wanted, measures, results, label) for key in measures]
    if classify:  # printed as an area, computed from precision and recall (INCONSISTENCIES): both stand here
        for network, regime in names:
            key = ("", "pr_auc_trapezoid")
            wanted = Wanted(task, "ct", network, regime)
            rows.append(_added(source, names[network, regime], network, regime, key, wanted, measures, results, label))
    mine = [r for r in results if r.task == task and DATASETS[r.dataset].modality == "ct" and _belongs(source, r)]
    return rows + control_rows(source, mine, measures, label)


def _belongs(source: str, result: Result) -> bool:
    """True if a network stands in a table, or would if the paper had it."""
    if source == "Table 2":
        return result.model in ("cov_ctnet", "resnet18") and result.regime != "fine_tuned"
    if source == "Table 3":
        return result.model not in ("cov_ctnet", "irrcnn") and result.regime in (
            "scratch_wavelet",
            "scratch_original",
            "fine_tuned",
        )
    if source == "Table 4":
        return result.model == "cov_raseg" and result.regime != "fine_tuned"
    return (result.regime == "fine_tuned") == (source == "Table 6")


# Rows of Alom et al. and what they are of: task, kind of images, network, regime, what a positive label stands for.
ALOM_DETECTION = {
    "pneumonia in X-rays": Wanted("classify", "xr", "irrcnn", "scratch_original", "pneumonia"),
    "COVID-19 in X-rays": Wanted("classify", "xr", "irrcnn", "scratch_original", "COVID-19"),
    "COVID-19 in CT": Wanted("classify", "ct", "irrcnn", "scratch_original", "COVID-19"),
}
ALOM_LUNGS = {
    "lungs in X-rays": Wanted("segment_lungs", "xr", "nabla3", "scratch"),
    "lungs in CT": Wanted("segment_lungs", "ct", "nabla3", "scratch"),
}


def alom_table(published: Published, name: str, results: Sequence[Result], label: str) -> list[Row]:
    """Detection or lung segmentation of Alom et al.

    Parameters
    ----------
    published : Published
    name : {"detection", "lungs"}
    results : sequence of Result
    label : str

    Returns
    -------
    list of dict
        Rows of PAPER_TABLE.
    """
    wanted_rows, measures = (ALOM_DETECTION, LABELS) if name == "detection" else (ALOM_LUNGS, LUNGS)
    rows = []
    for title, wanted in wanted_rows.items():
        cells = [c for c in published.where(row=title, network=wanted.network) if (c.subject, c.measure) in measures]
        rows += [_row(cell, wanted, measures, results, label) for cell in cells]
        printed = {(cell.subject, cell.measure) for cell in cells}
        source = cells[0].source if cells else "section 5"
        for key in [key for key in measures if key not in printed]:
            rows.append(_added(source, title, wanted.network, wanted.regime, key, wanted, measures, results, label))
        found = list(wanted.by_protocol(results).values())
        rows += [{**row, "row": f"{title}: {row['row']}"} for row in control_rows(source, found, measures, label)]
    return rows


def _row(
    cell: Cell, wanted: Wanted, measures: Mapping[tuple[str, str], Any], results: Sequence[Result], label: str
) -> Row:
    """A printed number beside ours."""
    row = printed_row(cell, label)
    our = measures.get((cell.subject, cell.measure))
    return row if our is None else filled(row, our, wanted.by_protocol(results))


def printed_row(cell: Cell, label: str) -> Row:
    """A printed number alone."""
    return {
        **unfilled(cell.source, cell.row, cell.network, cell.regime, cell.subject, cell.measure, cell.unit, label),
        "printed": cell.printed,
        "published": cell.value,
        "published_low": cell.low,
        "published_high": cell.high,
        "published_n": cell.n,
    }


def _added(
    source: str,
    title: str,
    network: str,
    regime: str,
    key: tuple[str, str],
    wanted: Wanted,
    measures: Mapping[tuple[str, str], Any],
    results: Sequence[Result],
    label: str,
) -> Row:
    """A number that the paper does not print."""
    subject, measure = key
    unit = "%" if measure.startswith("predicted") else PERCENT.get(measure, "")
    row = unfilled(source, title, network, regime, subject, measure, unit, label)
    return filled(row, measures[key], wanted.by_protocol(results))


def unfilled(
    source: str, title: str, network: str, regime: str, subject: str, measure: str, unit: str, label: str
) -> Row:
    """A row of PAPER_TABLE of a network, without numbers."""
    return {
        "source": source,
        "row": title,
        "role": "network",
        "network": network,
        "regime": regime,
        "scoring": "",
        "subject": subject,
        "measure": measure,
        "unit": unit,
        "label": label,
    }


def filled(row: Row, our: Any, results: Mapping[str, Result]) -> Row:
    """A row with our measure of it under each protocol that has a result."""
    for protocol, result in results.items():
        row |= _of_protocol(protocol, result.dataset, result.scores, our, row["unit"])
    return row


def _of_protocol(protocol: str, dataset: str, scores: Scores, our: Any, unit: str) -> Row:
    """Columns of one protocol."""
    name, complement = our if isinstance(our, tuple) else (our, False)
    score = scores.get(name)
    if score is None:
        return {}
    times = 100.0 if unit == "%" else 1.0

    def scaled(value: float | None) -> float | None:
        return None if value is None else times * (1 - value if complement else value)

    ends = [scaled(score["low"]), scaled(score["high"])]
    return {
        f"{protocol}_protocol": scaled(score["value"]),
        f"{protocol}_protocol_low": ends[1] if complement else ends[0],
        f"{protocol}_protocol_high": ends[0] if complement else ends[1],
        f"{protocol}_protocol_n": (scores["pooled_iou"] if name in OF_PIXELS else score)["n"],
        f"{protocol}_protocol_patients": score["patients"],
        f"{protocol}_protocol_dataset": dataset,
    }


def control_rows(
    source: str,
    results: Sequence[Result],
    measures: Mapping[tuple[str, str], Any],
    label: str,
    units: Mapping[str, str] = PERCENT,
) -> list[Row]:
    """The trivial controls as rows: of each protocol those that stand beside its first network."""
    rows: dict[tuple[str, str, str], Row] = {}
    for protocol in PROTOCOLS:
        first = next((result for result in results if result.protocol == protocol), None)
        if first is None:
            continue
        for control, scores in first.controls.items():
            for (subject, measure), our in measures.items():
                unit = "%" if measure.startswith("predicted") else units.get(measure, "")
                values = _of_protocol(protocol, first.dataset, scores, our, unit)
                if values:
                    row = unfilled(source, control, "", "", subject, measure, unit, label) | {"role": "control"}
                    rows.setdefault((control, subject, measure), row).update(values)
    return list(rows.values())


def frame_table_rows(source: str, frames: Sequence[Mapping[str, Any]], published: Published, label: str) -> list[Row]:
    """The authors' released weights and the border painter, in each scoring, as rows of Table 4 or 5.

    Parameters
    ----------
    source : {"Table 4", "Table 5"}
    frames : sequence of mapping
        Rows of PAPER_FRAMES.
    published : Published
    label : str
    """
    by_key = {(f["answer"], f["scoring"], f["subject"], f["measure"]): f for f in frames}
    measures = CONFUSION if source == "Table 4" else MASKS
    rows = []
    for answer, scoring in dict.fromkeys((f["answer"], f["scoring"]) for f in frames):
        for subject, measure in measures:
            complement = False
            key = (answer, scoring, subject, measure)
            if source == "Table 4":
                complement = not measure.endswith(subject)
                key = (answer, scoring, subject, "accuracy")
            found = by_key.get(key)
            if found is None:
                continue
            cell = published.one(source=source, row="SA-CoV-RASeg", subject=subject, measure=measure)
            unit = cell.unit if cell is not None else ""
            role = "released" if answer == "released weights" else "control"
            title = "SA-CoV-RASeg, released weights" if role == "released" else answer
            row = unfilled(source, title, "", "", subject, measure, unit, label) | {"role": role, "scoring": scoring}
            if role == "released" and cell is not None:
                row |= {"printed": cell.printed, "published": cell.value, "published_n": cell.n}
                row |= {"network": "cov_raseg", "regime": "scratch_attention"}
            score = {**found, "patients": None}
            our = ("x", complement)
            rows.append(row | _of_protocol("published", "khan2020", {"x": score}, our, unit))
    return rows


def beaten_by_painter(
    frames: Sequence[Mapping[str, Any]], published: Published
) -> tuple[float, list[Cell], int] | None:
    """The painter's infected IoU on exact pixels in %, the published cells below it, and how many cells there are.

    Returns
    -------
    tuple, or None
        None where the painter was not measured.
    """
    painted = next(
        (
            100 * f["value"]
            for f in frames
            if (f["answer"], f["scoring"], f["subject"], f["measure"])
            == ("border painter", "full_frame_exact", "infected", "iou")
        ),
        None,
    )
    if painted is None:
        return None
    cells = list(published.where(source=("Table 5", "Table 6"), subject="infected", measure="iou"))
    return painted, [cell for cell in cells if cell.value < painted], len(cells)


# --- For readers ----------------------------------------------------------------------------------------------------

SHOWN = ("row", "regime", "scoring", "class", "measure", "published", "published protocol", "grouped protocol")


def shown(rows: Sequence[Row]) -> list[list[str]]:
    """Rows for a page: numbers with their intervals and what they rest on, `not run` where nothing was."""
    return [
        [
            f"{row['row']}{' (control)' if row['role'] == 'control' else ''}",
            row["regime"],
            row["scoring"].replace("_", " "),
            row["subject"],
            row["measure"] + (f", {row['unit']}" if row["unit"] else ""),
            _published_text(row),
            _measured(row, "published"),
            _measured(row, "grouped"),
        ]
        for row in rows
    ]


def _published_text(row: Row) -> str:
    if row.get("published") is None:
        return "-"
    ends = "" if row.get("published_low") is None else f" ({row['published_low']:g} to {row['published_high']:g})"
    return f"{row['printed']}{ends}"


def _measured(row: Row, protocol: str) -> str:
    name = f"{protocol}_protocol"
    if row.get(f"{name}_dataset") is None:
        # of the error that is 1 - Dice nothing can be recomputed, and what is no network's cannot be run
        return "-" if row["scoring"] or not row["network"] or row["measure"] == "dice_error" else NOT_RUN
    if row.get(name) is None:
        return "undefined"
    digits = 2 if row["unit"] == "%" else 3
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    ends = "" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    n, patients = row.get(f"{name}_n"), row.get(f"{name}_patients")
    words = [f"n = {n}"] if n is not None else []
    words += [f"{patients} patients"] if patients is not None else []
    return f"{row[name]:.{digits}f}{ends}" + (f" [{', '.join(words)}]" if words else "")
