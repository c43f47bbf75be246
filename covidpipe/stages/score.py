"""A cohort that has the radiologists' masks: how far the percentages are from the truth."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Config
from covidpipe.errors import BadConfig
from covidpipe.io.files import read_table, write_json, write_table
from covidpipe.io.masks import MASKS, Truth, native_masks, read_truth
from covidpipe.io.sources import image_root
from covidpipe.io.store import open_store
from covidpipe.metrics.agreement import bias, concordance, limit_high, limit_low, mean_absolute_error
from covidpipe.metrics.intervals import ANYWHERE, SHARE, Range, bootstrap_by_group, proportion
from covidpipe.metrics.segmentation import dice_of_counts, overlap
from covidpipe.provenance import run_record
from covidpipe.schemas import IMAGES, INFECTION, METRICS_IMAGES, METRICS_SUMMARY

log = logging.getLogger(__name__)

SEEN = ("train", "validation")  # these images are told, but not summed up
# Where a measure can lie; those not named here anywhere.
WITHIN: dict[str, Range] = {
    "mean_absolute_error": (0.0, 100.0),
    "bias": (-100.0, 100.0),
    "concordance": (-1.0, 1.0),
    "percent_on_lesion_free": (0.0, 100.0),
    **{f"{mask}_dice_pooled": SHARE for mask in MASKS},
}


@dataclass(frozen=True)
class Scored:
    """One image by one method beside its truth; `lung` and `infection` are counts of `metrics.segmentation.overlap`."""

    image_id: str
    patient_id: str | None
    method: str
    split: str | None
    found: float | None
    true: float | None
    lesion_free: bool
    lung: tuple[int, int, int] | None = None
    infection: tuple[int, int, int] | None = None


def run(config: Config, cohort: str, images: Path, table: Path, masks: list[Path], out: Path) -> None:
    """Write ``images.parquet`` (METRICS_IMAGES), ``summary.parquet`` (METRICS_SUMMARY) and run.json to `out`.

    The summary leaves out the images that a method's networks were trained or validated on. Intervals are of
    patients drawn again, 95 % (`covidpipe.metrics.intervals`).

    Parameters
    ----------
    config : Config
    cohort : str
        A cohort whose source is a declared dataset with masks.
    images, table : Path
        Its ``images.parquet`` and ``infection.parquet``.
    masks : list of Path
        Folders that predict wrote.
    out : Path

    Raises
    ------
    BadConfig
        The cohort has no masks to be judged by.
    BadTable
        A mask that was there at ingest is gone.
    """
    started = time.time()
    source = read_table(images, IMAGES)
    rows = {row["image_id"]: row for row in source.to_pylist() if row["lung_mask_path"] or row["infection_mask_path"]}
    if not rows:
        raise BadConfig(
            f"Cohort `{cohort}`: wanted radiologists' masks to score it by, found none in its image table. Only a "
            "cohort with `dataset` (one that has masks, see `covidpipe datasets`) can be scored."
        )
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    truth_of = functools.lru_cache(maxsize=1)(lambda image_id: read_truth(root, rows[image_id]))
    overlaps = {
        (image_id, method): counts for folder in masks for image_id, method, counts in _overlaps(folder, rows, truth_of)
    }
    scored = [
        score(row, truth_of(row["image_id"]), overlaps.get((row["image_id"], row["method"]), {}))
        for row in read_table(table, INFECTION).to_pylist()
        if row["image_id"] in rows
    ]
    write_table(out / "images.parquet", [measure for one in scored for measure in image_measures(one)], METRICS_IMAGES)
    summary = summarize(scored, config.seed)
    write_table(out / "summary.parquet", summary, METRICS_SUMMARY)
    record = run_record("score", seed=config.seed, started=started, cohort=cohort, images=len(rows))
    write_json(out / "run.json", record)
    for row in summary:
        if row["value"] is not None:
            log.info("%s, %s: %s %.4g (n = %d)", cohort, row["subject"], row["measure"], row["value"], row["n"])


def _overlaps(
    folder: Path, rows: dict[str, dict[str, Any]], truth_of: Callable[[str], Truth]
) -> Iterator[tuple[str, str, dict[str, tuple[int, int, int]]]]:
    """Pixels shared with the truth, for every entry of a mask store; what is counted as infected lies in the lung."""
    for entry, lung, infection in native_masks(open_store(folder)):
        if entry["image_id"] in rows and "unreadable" not in entry["reasons"]:
            truth = truth_of(entry["image_id"])
            pairs = {"lung": (lung, truth.lung), "infection": (infection & lung, truth.infection)}
            counts = {name: overlap(found, true) for name, (found, true) in pairs.items() if true is not None}
            yield entry["image_id"], entry["method"], counts


def score(row: dict[str, Any], truth: Truth, counts: dict[str, tuple[int, int, int]]) -> Scored:
    """A row of the infection table beside its truth."""
    return Scored(
        row["image_id"],
        row["patient_id"],
        row["method"],
        row["split"],
        row["infection_percent"],
        truth.percent,
        truth.lesion_free,
        counts.get("lung"),
        counts.get("infection"),
    )


def image_measures(one: Scored) -> Iterator[dict[str, Any]]:
    """Rows of METRICS_IMAGES, each measure under its method's name."""
    both = one.found is not None and one.true is not None
    error = one.found - one.true if one.found is not None and one.true is not None else None
    values = {
        "true_percent": one.true,
        "infection_percent": one.found,
        "error": error,
        "absolute_error": abs(error) if both and error is not None else None,
        "lung_dice": dice_of_counts(*one.lung) if one.lung else None,
        "infection_dice": dice_of_counts(*one.infection) if one.infection else None,
    }
    for name, value in values.items():
        yield {
            "image_id": one.image_id,
            "patient_id": one.patient_id,
            "measure": f"{one.method}.{name}",
            "value": value,
        }


def summarize(scored: list[Scored], seed: int) -> list[dict[str, Any]]:
    """Rows of METRICS_SUMMARY: for each method, over the images that its networks had not seen.

    ``always_zero`` is the control that calls every image healthy: a method that does not beat it tells nothing.
    """
    rows: list[dict[str, Any]] = []
    for method in sorted({one.method for one in scored}):
        unseen = [one for one in scored if one.method == method and one.split not in SEEN]
        judged = [one for one in unseen if one.true is not None]
        told = [one for one in judged if one.found is not None]
        healthy = [one for one in unseen if one.lesion_free and one.found is not None]
        pairs = np.array([(one.found, one.true) for one in told], float).reshape(-1, 2)
        zero = np.array([(0, one.true) for one in judged], float).reshape(-1, 2)
        for subject, measure, some, values, statistic in (
            (method, "mean_absolute_error", told, pairs, mean_absolute_error),
            (method, "bias", told, pairs, bias),
            (method, "concordance", told, pairs, concordance),
            (method, "limit_low", told, pairs, limit_low),
            (method, "limit_high", told, pairs, limit_high),
            (method, "percent_on_lesion_free", healthy, np.array([one.found for one in healthy], float), _mean),
            (f"always_zero for {method}", "mean_absolute_error", judged, zero, mean_absolute_error),
        ):
            rows.append(_summary(subject, measure, some, values, statistic, seed))
        for name in MASKS:
            some = [one for one in unseen if getattr(one, name) is not None]
            counts = np.array([getattr(one, name) for one in some], np.int64).reshape(-1, 3)
            rows.append(_summary(method, f"{name}_dice_pooled", some, counts, _pooled_dice, seed))
        k, n = len(judged) - len(told), len(judged)
        without = np.array([one.found is None for one in judged], bool)
        low, high, how = proportion(without, _groups(judged)) or (None, None, None)
        rows.append(
            {
                "subject": method,
                "measure": "share_without_percent",
                "value": k / n if n else None,
                "low": low,
                "high": high,
                "n": n,
                "k": k,
                "patients": _patients(judged),
                "interval": how,
            }
        )
    return rows


def _summary(
    subject: str,
    measure: str,
    some: list[Scored],
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float | None],
    seed: int,
) -> dict[str, Any]:
    within = WITHIN.get(measure, ANYWHERE)
    found = bootstrap_by_group(values, _groups(some), statistic, seed=seed, within=within)
    low, high, how = found or (None, None, None)
    return {
        "subject": subject,
        "measure": measure,
        "value": statistic(values),
        "low": low,
        "high": high,
        "n": len(some),
        "patients": _patients(some),
        "interval": how,
        "role": "control" if subject.startswith("always_zero") else None,
    }


def _groups(some: list[Scored]) -> np.ndarray:
    """The patient of each image; an image of an unknown patient stands for itself."""
    return np.array([one.patient_id or one.image_id for one in some], str)


def _patients(some: list[Scored]) -> int | None:
    return len({one.patient_id for one in some}) if all(one.patient_id for one in some) else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _pooled_dice(counts: np.ndarray) -> float | None:
    both, found, true = (int(total) for total in counts.sum(axis=0))
    return dice_of_counts(both, found, true)
