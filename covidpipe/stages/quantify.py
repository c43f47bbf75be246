"""One shard of a cohort: masks in, one row for every image and method out."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe import __version__
from covidpipe.config import Config
from covidpipe.errors import BadInput, BadTable
from covidpipe.io.files import read_json, write_table
from covidpipe.io.masks import native_masks
from covidpipe.io.read import read_again
from covidpipe.io.shards import read_shard
from covidpipe.io.sources import image_root
from covidpipe.io.store import Store, open_store
from covidpipe.quantify.conformal import Calibration, Intervals, calibrations_of, patients_needed
from covidpipe.quantify.percentages import quantify_image, refusal, rejected
from covidpipe.quantify.reference import Reference, deciding_settings, references_of
from covidpipe.schemas import INFECTION, SCHEMA_VERSION

log = logging.getLogger(__name__)

References = dict[tuple[str, str], list[Reference]]  # by modality and method
Calibrations = dict[tuple[str, str], list[tuple[Calibration, Intervals]]]

# Columns that are those of the image table, and of the mask index.
OF_IMAGE = ("image_id", "patient_id", "study_id", "series_id", "slice_index", "modality", "source_sha256")
OF_INDEX = (
    *("covid_probability", "covid_positive", "split", "classifier_id", "lung_model_id", "infection_model_id"),
    *("pneumonia_probability", "pneumonia_positive", "pneumonia_model_id"),
)


def run(
    config: Config,
    cohort: str,
    images: Path,
    masks: Path,
    shard: int,
    out: Path,
    references: Sequence[Path] = (),
    calibrations: Sequence[Path] = (),
) -> None:
    """Write the rows of one shard to `out`: every image, accepted or not, times every method of the cohort.

    Images in Hounsfield units are read again: their tissue is told from the stored values, which the masks' grid and
    its 8 bits (steps of 6 HU in the usual window) have lost.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    masks : Path
        Folder that predict wrote for this shard.
    shard : int
    out : Path
    references : sequence of Path
        What the methods find in lesion-free images; without, `reference_percentile` is null.
    calibrations : sequence of Path
        How far the methods are off; without, there are no intervals.

    Raises
    ------
    BadTable
        An image that should have masks has none: predict ran with another config or image table.
    """
    rows = read_shard(images, shard, config.shard_images).to_pylist()
    store = open_store(masks)
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    healthy = references_of(map(read_json, references))
    off = {
        key: [(one, one.at(config.intervals.level)) for one in some]
        for key, some in calibrations_of(map(read_json, calibrations)).items()
    }
    told_of = _measure(store, rows, root, config, healthy, off)
    measured = {(found["image_id"], found["method"]): found for found in told_of}
    told = []
    for row in rows:
        for method in config.cohort_methods(cohort):
            common = {name: row[name] for name in OF_IMAGE} | {
                "cohort": cohort,
                "method": method,
                "pipeline_version": __version__,
                "schema_version": SCHEMA_VERSION,
            }
            if not row["accepted"]:
                told.append(common | rejected(row["reason"]))
            elif reason := refusal(config, method, row["modality"]):
                told.append(common | rejected(reason))
            elif (row["image_id"], method) in measured:
                told.append(common | measured[row["image_id"], method])
            else:
                raise BadTable(
                    f"{masks}: wanted masks of image {row['image_id']} by {method}, found none: they were made from "
                    "another image table or config. Run predict again."
                )
    table = write_table(out, told, INFECTION)
    log.info("%s, shard %d: %d rows", cohort, shard, table.num_rows)


def _measure(
    store: Store, rows: list[dict[str, Any]], root: Path, config: Config, healthy: References, off: Calibrations
) -> Iterator[dict[str, Any]]:
    """What the masks of a shard tell: columns of INFECTION, one dict for each entry of the store."""
    image = {row["image_id"]: row for row in rows}
    hounsfield = functools.lru_cache(maxsize=1)(lambda image_id: _hounsfield(root, image[image_id]))
    for entry, lung, infection in native_masks(store):
        row = image.get(entry["image_id"])
        if row is None:
            continue  # an entry of another image table: what is missing instead is told by the caller
        told = {name: entry[name] for name in ("image_id", "method", *OF_INDEX)}
        if "unreadable" in entry["reasons"]:
            yield told | rejected("unreadable")
            continue
        hu, gone = hounsfield(row["image_id"])
        found = quantify_image(
            infection,
            lung,
            _spacing(row),
            orientation=row["orientation"],
            hu=hu,
            tissue=config.tissue,
            screened_negative="screened_negative" in entry["reasons"],
            warnings=(*(row["warnings"] or ()), *gone),
        )
        percentile = _percentile(found, entry, row, config, healthy)
        yield told | found | {"reference_percentile": percentile} | _interval(found, entry, row, config, off)


def _percentile(
    found: dict[str, Any], entry: dict[str, Any], row: dict[str, Any], config: Config, healthy: References
) -> float | None:
    """Where the percentage lies among those of the same networks and settings on lesion-free images."""
    if found["infection_percent"] is None:
        return None
    settings = deciding_settings(config, entry["method"])
    for reference in healthy.get((row["modality"], entry["method"]), ()):
        if reference.fits(entry, settings):
            return reference.percentile(found["infection_percent"])
    return None


def _interval(
    found: dict[str, Any], entry: dict[str, Any], row: dict[str, Any], config: Config, off: Calibrations
) -> dict[str, Any]:
    """The columns of the interval, by how far the same networks with the same settings are off."""
    if found["infection_percent"] is None:
        return {}
    settings, level = deciding_settings(config, entry["method"]), config.intervals.level
    for calibration, intervals in off.get((row["modality"], entry["method"]), ()):
        if calibration.fits(entry, settings):
            low, high, patients = intervals.of(found["infection_percent"])
            return {
                "infection_percent_low": low,
                "infection_percent_high": high,
                "interval_status": "calibrated" if patients >= patients_needed(level) else "too_few_patients",
                "interval_level": 100 * level,
                "interval_patients": patients,
            }
    return {"interval_status": "not_calibrated"}


def _hounsfield(root: Path, row: dict[str, Any]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """An image's Hounsfield units, if it has them, and why they cannot be had if it should."""
    if row["intensity"] != "hounsfield":
        return None, ()
    try:
        array = read_again(root, row).array
    except BadInput:
        return None, ("no_longer_readable",)
    return array, ()


def _spacing(row: dict[str, Any]) -> tuple[float, float] | None:
    if row["row_spacing_mm"] is None or row["column_spacing_mm"] is None:
        return None
    return row["row_spacing_mm"], row["column_spacing_mm"]
