"""Which controls come near a model, in words. Apart from `controls`, so that reports import little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FEW_PATIENTS = 10  # with fewer, a control may come near for want of patients; said with the verdict
# Points (0.01) by which a model must beat a control, and whether a score is better when it is larger.
POINTS = 0.05
COMPARED: dict[str, tuple[float, bool]] = {
    "accuracy": (POINTS, True),
    "balanced_accuracy": (POINTS, True),
    "roc_auc": (POINTS, True),
    "pooled_dice": (POINTS, True),
    "mean_iou": (POINTS, True),
    "mean_dice_where_present": (POINTS, True),
    "infection_percent_mean_absolute_error": (0.0, False),
}


def with_remarks(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a summary with words where a control comes near the model.

    Near is: as good or better, intervals that overlap, or less than 5 points worse (`COMPARED`). Said on the control's
    row; the model's row of the same measure says which controls it does not clearly beat, or that it beats all.

    Parameters
    ----------
    rows : sequence of dict
        Rows of METRICS_SUMMARY, of one model and its controls.

    Returns
    -------
    list of dict
    """
    models = {row["measure"]: row for row in rows if row["role"] == "model"}
    near: dict[str, list[str]] = {measure: [] for measure in COMPARED}
    compared: set[str] = set()
    told = []
    for row in rows:
        model = models.get(row["measure"])
        both = row["role"] == "control" and model is not None and None not in (row["value"], model["value"])
        if both and row["measure"] in COMPARED:
            words = _nearness(row, model)
            compared.add(row["measure"])
            if words:
                near[row["measure"]].append(row["subject"])
                row = {**row, "remark": words}
        told.append(row)
    return [
        {**row, "remark": _verdict(near[row["measure"]], row["patients"])}
        if row["role"] == "model" and row["measure"] in compared
        else row
        for row in told
    ]


def _nearness(control: dict[str, Any], model: dict[str, Any] | None) -> str | None:
    assert model is not None
    points, larger = COMPARED[control["measure"]]
    ahead = model["value"] - control["value"] if larger else control["value"] - model["value"]
    said = f"{_number(control['value'])} against the model's {_number(model['value'])}"
    if ahead <= 0:
        return f"As good as the model or better: {said}."
    known = None not in (control["low"], control["high"], model["low"], model["high"])
    if known and control["low"] <= model["high"] and model["low"] <= control["high"]:
        return f"Near the model: {said}, and the intervals overlap."
    if ahead < points:
        return f"Near the model: {said}, less than {100 * points:.0f} points apart."
    return None


def _verdict(near: Sequence[str], patients: int | None) -> str:
    if not near:
        return "Clearly better than every control."
    few = f" The test holds {patients} patients only." if patients is not None and patients < FEW_PATIENTS else ""
    return f"Not clearly better than {', '.join(sorted(near))}.{few}"


def _number(value: float) -> str:
    return f"{value:.3f}"
