"""A cohort's masks and percentages back as DICOM objects, one pair for each series and method."""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pydicom

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.errors import BadInput
from covidpipe.io.dicom_out import Slice, report, require_highdicom, segmentation
from covidpipe.io.files import file_sha256, read_table, replacing
from covidpipe.io.masks import mask_entries, native_masks
from covidpipe.io.orientation import to_stored
from covidpipe.io.shards import with_shards
from covidpipe.io.sources import image_root
from covidpipe.io.store import Store, open_store
from covidpipe.schemas import INFECTION
from covidpipe.sealed import place

log = logging.getLogger(__name__)
logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells every module that it copies

SERIES_NUMBER = 9000  # beyond those of scanners


def run(config: Config, cohort: str, out: Path) -> dict[str, int]:
    """Write ``{out}/{series_id}/{method}.seg.dcm`` and ``.sr.dcm`` for every series of DICOM images of a cohort.

    The cohort must be quantified: its shards hold the masks, and its source the images. A series that cannot be
    written is told in the log and left out.

    Parameters
    ----------
    config : Config
    cohort : str
    out : Path

    Returns
    -------
    dict
        ``segmentations`` and ``reports`` written, ``left_out`` (not written), ``not_dicom`` (images of other formats).
    """
    require_highdicom()
    counts = dict.fromkeys(("segmentations", "reports", "left_out", "not_dicom"), 0)
    # An image without a series is one of its own.
    for series, slices in groupby(
        slices_of(config, cohort, counts), key=lambda one: one.row["series_id"] or one.row["image_id"]
    ):
        methods: dict[str, list[Slice]] = {}
        for one in slices:
            methods.setdefault(one.row["method"], []).append(one)
        for n, (method, some) in enumerate(sorted(methods.items())):
            folder = out / series
            drawn = None
            try:
                drawn = segmentation(some, SERIES_NUMBER + 2 * n)
                _save(drawn, folder / f"{method}.seg.dcm")
                counts["segmentations"] += 1
                made = report(some, drawn, SERIES_NUMBER + 2 * n + 1, some[0].row["modality"])
                _save(made, folder / f"{method}.sr.dcm")
                counts["reports"] += 1
            except BadInput as error:
                log.warning("%s of series %s: %s", method, series, error.sentence)
                counts["left_out"] += 1
    log.info("%s: %s in %s", cohort, counts, out)
    return counts


def slices_of(config: Config, cohort: str, counts: dict[str, int]) -> Iterator[Slice]:
    """The DICOM images of a cohort by every method, series by series; images of other formats are counted."""
    images = paths.images(config, cohort)
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    for image, number in with_shards(images, config.shard_images):
        if not image["accepted"]:
            continue
        if image["format"] != "dicom":
            counts["not_dicom"] += 1
            continue
        store, entries, rows = _quantified(paths.shard(config, cohort, number))
        for entry, lung, infection in native_masks(store, entries.get(image["image_id"], [])):
            row = rows[image["image_id"], entry["method"]]
            if row["qc_status"] == "rejected":
                continue
            source = _header(place(root, image["path"]), image)
            if image["orientation"] is not None:
                lung, infection = (to_stored(mask, image["orientation"]) for mask in (lung, infection))
            yield Slice(source, image["frame"], row, lung, infection)


@functools.lru_cache(maxsize=4)  # a series whose slices came at different times lies in several shards
def _quantified(
    folder: Path,
) -> tuple[Store, dict[str, list[dict[str, Any]]], dict[tuple[str, str], dict[str, Any]]]:
    """Masks of a shard, their index rows by image, and its rows of the infection table by image and method."""
    store, entries = open_store(folder), defaultdict(list)
    for entry in mask_entries(store):
        entries[entry["image_id"]].append(entry)
    rows = read_table(folder / "infection.parquet", INFECTION).to_pylist()
    return store, entries, {(row["image_id"], row["method"]): row for row in rows}


def _header(path: Path, image: dict[str, Any]) -> pydicom.Dataset:
    if not path.is_file() or file_sha256(path) != image["source_sha256"]:
        raise BadInput(
            "unreadable", f"Image {image['image_id']}: its file is gone or has changed since ingest: ingest again."
        )
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def _save(made: pydicom.Dataset, path: Path) -> None:
    with replacing(path) as partial:
        made.save_as(partial, enforce_file_format=True)
