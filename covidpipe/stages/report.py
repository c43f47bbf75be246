"""Tables, masks and images of a cohort in, one HTML page out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from covidpipe.config import Config
from covidpipe.errors import BadInput, CovidpipeError
from covidpipe.harmonize import Transform
from covidpipe.inference.cohorts import applicable_methods, load_networks
from covidpipe.inference.looking import look
from covidpipe.io.files import read_columns, read_json, read_table, read_where, write_text
from covidpipe.io.read import read_again, read_image
from covidpipe.io.sources import image_root
from covidpipe.io.store import INDEX, open_store
from covidpipe.quantify.conformal import calibrations_of
from covidpipe.report import overlays, page
from covidpipe.report.body import without_writing
from covidpipe.schemas import IMAGES, INFECTION, MASK_INDEX, METRICS_SUMMARY, PATIENTS, RELIABILITY, SUMMARY
from covidpipe.sealed import place

log = logging.getLogger(__name__)

Masks = tuple[np.ndarray, np.ndarray]

EXAMPLES = 3  # pictures of each quality flag


def run(
    config: Config,
    cohort: str,
    images: Path,
    table: Path,
    masks: Sequence[Path],
    out: Path,
    metrics: Sequence[Path] = (),
    patients: Path | None = None,
    summary: Path | None = None,
    calibrations: Sequence[Path] = (),
    *,
    heat: bool = False,
) -> None:
    """Write the report of a cohort.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        Table `images` of the cohort.
    table : Path
        Table `infection` of the cohort.
    masks : sequence of Path
        The shards' folders, each with masks.zarr and index.parquet.
    out : Path
        The HTML file.
    metrics : sequence of Path
        Folders with a summary.parquet: measurements against truth to be shown.
    patients : Path, optional
        Table `patients` of the cohort.
    summary : Path, optional
        Table `summary` of the cohort: quantiles and classes with their intervals.
    calibrations : sequence of Path
        How far the methods are off, to be said beside their results.
    heat : bool
        Run the networks once more on the cases' images, for heat maps beside their masks.

    Raises
    ------
    BadTable
        A table is missing or broken. An image that cannot be read again leaves its picture out, with the reason.
    """
    infection = read_columns(table, INFECTION, page.OF_TABLE)
    rows = page.frame(infection)
    cases = overlays.choose_cases(rows, config.report_cases, config.seed).to_dict("records")
    examples = overlays.choose_examples(rows, min(EXAMPLES, config.report_cases), config.seed).to_dict("records")
    ids = pa.array(sorted({case["image_id"] for case in (*cases, *examples)}), pa.string())
    sources = {row["image_id"]: row for row in read_where(images, IMAGES, "image_id", ids).to_pylist()}
    found = _find_masks(masks, ids)
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    sides = [(case, overlays.SIDE_PX) for case in cases] + [(case, overlays.THUMBNAIL_PX) for case in examples]
    # by file, for a volume is opened once as long as its slices follow each other
    for case, side in sorted(sides, key=lambda one: (sources[one[0]["image_id"]]["path"], one[0]["image_id"])):
        of_case = found.get((case["image_id"], case["method"]))
        case.update(_picture(config, root, sources[case["image_id"]], of_case, side))
    if heat:
        _add_heat(config, cohort, root, [case for case in cases if case["picture"]], sources)
    seen = read_columns(images, IMAGES, page.OF_IMAGES)
    pooled = PATIENTS.schema.empty_table() if patients is None else read_columns(patients, PATIENTS, page.OF_PATIENTS)
    summaries = [(_heading(folder), *_measured(folder)) for folder in metrics]
    described = None if summary is None else read_table(summary, SUMMARY)
    off = calibrations_of(map(read_json, calibrations))
    write_text(out, page.render(config, cohort, seen, infection, pooled, cases, summaries, described, examples, off))
    log.info("report of %s: %d rows, %d pictures", cohort, len(infection), sum(bool(c["picture"]) for c in cases))


def _find_masks(folders: Sequence[Path], image_ids: pa.Array) -> dict[tuple[str, str], Masks]:
    """Lung and infection masks on the native grid by (image_id, method); only shards with a wanted image are opened."""
    found = {}
    for folder in folders:
        index = read_table(folder / INDEX, MASK_INDEX)
        rows = index.filter(pc.is_in(index["image_id"], value_set=image_ids)).to_pylist()
        if rows:
            store = open_store(folder)
            positions = [row["n"] for row in rows]
            planes = [store.read(name, positions).astype(bool) for name in ("lung_mask", "infection_mask")]
            for row, lung, infection in zip(rows, *planes, strict=True):
                transform = Transform(**{field.name: row[field.name] for field in fields(Transform)})
                native = transform.to_native(lung), transform.to_native(infection)
                found[row["image_id"], row["method"]] = native
    return found


def _picture(
    config: Config, root: Path, source: dict[str, Any], masks: Masks | None, side_px: int = overlays.SIDE_PX
) -> dict[str, str | None]:
    """The overlay of one case as `picture`, or why there is none as `missing`."""

    def missing(why: str) -> dict[str, str | None]:
        return {"picture": None, "missing": f"No picture: {why}"}

    if masks is None:
        return missing("no masks were kept for this image.")
    lung, infection = masks
    if not lung.any():
        return missing("no lung was found to crop it to.")
    try:
        image = read_image(
            place(root, source["path"]),
            source["frame"],
            modality=source["modality"],
            intensity=source["intensity"],
            limits=config.limits,
        )
    except BadInput as error:
        return missing(error.sentence)
    if image.array.shape != lung.shape:
        return missing("the file is no longer the one that was quantified.")
    grey = overlays.to_grey(image.array, image.intensity, config.harmonize.window_hu)
    grey = without_writing(grey, lung, source["modality"])
    return {"picture": overlays.data_uri(overlays.overlay(grey, lung, infection, side_px)), "missing": None}


def _add_heat(
    config: Config, cohort: str, root: Path, cases: Sequence[dict[str, Any]], sources: dict[str, dict[str, Any]]
) -> None:
    """Give each case its heat map as `heat`; without its networks there is none, and the log says so."""
    wanted = applicable_methods(config, config.cohort_methods(cohort))
    try:
        networks = load_networks(config, {case["modality"] for case in cases}, wanted)
    except CovidpipeError as error:
        log.warning("no heat maps: %s", error)
        return
    for modality in sorted({case["modality"] for case in cases}):
        readable = {}
        for image_id in dict.fromkeys(case["image_id"] for case in cases if case["modality"] == modality):
            try:
                readable[image_id] = read_again(root, sources[image_id])
            except BadInput as error:
                log.warning("no heat map of %s: %s", image_id, error.sentence)
        if not readable:
            continue
        seen = dict(
            zip(readable, look([*readable.values()], wanted[modality], networks[modality], config), strict=True)
        )
        for case in cases:
            found = seen.get(case["image_id"])
            lung = None if found is None else found.findings[case["method"]].lung_mask
            heated = None if found is None else found.heat(case["method"])
            if found is not None and lung is not None and lung.any() and heated is not None:
                grey = without_writing(found.grey, lung, modality)
                case["heat"] = overlays.data_uri(overlays.heat(grey, heated[0], lung, heated[1]))


def _measured(folder: Path) -> tuple[pa.Table, pa.Table | None]:
    """A summary, and the bins of a classifier's probabilities where it is one's."""
    bins = folder / "reliability.parquet"
    return read_table(folder / "summary.parquet", METRICS_SUMMARY), (
        read_table(bins, RELIABILITY) if bins.exists() else None
    )


def _heading(folder: Path) -> str:
    """What was measured, from the folder's place below metrics/: nothing above it, which may name a person or machine.

    >>> _heading(Path("results/metrics/cohorts/demo"))
    'cohorts / demo'
    """
    parts = folder.parts
    below = parts[len(parts) - parts[::-1].index("metrics") :] if "metrics" in parts else ()
    return " / ".join(below) or "metrics"
