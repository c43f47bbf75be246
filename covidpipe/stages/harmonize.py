"""Accepted images and the radiologists' masks, on one grid, in one store."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from covidpipe.config import Config
from covidpipe.errors import BadInput, BadTable
from covidpipe.harmonize import Transform, harmonize
from covidpipe.io.files import read_table, write_json
from covidpipe.io.read import read_image, read_mask
from covidpipe.io.sources import image_root
from covidpipe.io.store import Block, creating
from covidpipe.provenance import available_cores, run_record
from covidpipe.schemas import IMAGES, STORE_INDEX
from covidpipe.sealed import place

STORE_SHARD = 64
MASKS = ("lung_mask", "infection_mask")


def run(config: Config, name: str, images: Path, size: int, out: Path, workers: int | None = None) -> None:
    """Write the harmonized store of a dataset or cohort.

    Parameters
    ----------
    config : Config
    name : str
        A dataset or a cohort of the config.
    images : Path
        Its ``images.parquet``; the accepted rows are taken in their stored order.
    size : int
        Rows and columns of the store.
    out : Path
        Folder for ``images.zarr``, ``index.parquet`` and ``run.json``.
    workers : int, optional
        Shards in work at a time; by default one a core.

    Raises
    ------
    BadTable
        A file that was read at ingest is gone or has changed.
    """
    started = time.time()
    table = read_table(images, IMAGES)
    table = table.filter(table["accepted"])
    index = [
        {
            "n": n,
            "image_id": row["image_id"],
            **Transform.fit(row["rows"], row["columns"], size).as_dict(),
            "label": row["label"],
            **{f"has_{mask}": row[f"{mask}_path"] is not None for mask in MASKS},
        }
        for n, row in enumerate(table.to_pylist())
    ]
    root = image_root(config.source_root(name), images.parent / "unpacked")
    make = functools.partial(_block, root=root, size=size, window_hu=config.harmonize.window_hu)
    arrays = dict.fromkeys(("image", *MASKS), (size, size))
    with creating(out, "images.zarr", index, STORE_INDEX, arrays, len(table), STORE_SHARD) as writer:
        # take copies the rows; a slice would send the whole table to every worker.
        rows = [table.take(pa.array(writer.positions(number))) for number in range(writer.shards)]
        # A process takes as long to start as a shard to be made: none for less than two shards.
        workers = max(1, min(workers or writer.shards // 2, available_cores()))
        writer.fill(make, rows, workers, processes=True)
        facts = {"name": name, "size": size, "images": len(table)}
        write_json(writer.folder / "run.json", run_record("harmonize", seed=config.seed, started=started, **facts))


def _block(rows: pa.Table, root: Path, size: int, window_hu: tuple[float, float]) -> Block:
    """One shard. Kind by kind, not image by image, so that a volume with many slices is opened once."""
    cv2.setNumThreads(1)  # the cores are taken by the other shards
    block = {name: np.zeros((len(rows), size, size), np.uint8) for name in ("image", *MASKS)}
    listed = rows.to_pylist()
    transforms = []
    for n, row in enumerate(listed):
        with _expecting(row, "image"):
            image = read_image(
                place(root, row["path"]), row["frame"], modality=row["modality"], intensity=row["intensity"]
            )
            if image.array.shape != (row["rows"], row["columns"]):
                raise BadInput("unreadable", _now(image.array.shape))
        block["image"][n], transform = harmonize(image.array, size, intensity=row["intensity"], window_hu=window_hu)
        transforms.append(transform)
    for name in MASKS:
        for n, row in enumerate(listed):
            if (path := row[f"{name}_path"]) is not None:
                with _expecting(row, name):
                    mask = read_mask(place(root, path), row["frame"], row["orientation"])
                    if mask.shape != (row["rows"], row["columns"]):
                        raise BadInput("unreadable", _now(mask.shape))
                block[name][n] = transforms[n].forward_mask(mask)
    return block


def _now(shape: tuple[int, ...]) -> str:
    return f"It has {' x '.join(map(str, shape))} pixels now."


@contextlib.contextmanager
def _expecting(row: dict[str, Any], what: str) -> Iterator[None]:
    """Turn a file that fails after ingest into an error that names the image, not the path, and the way out."""
    try:
        yield
    except BadInput as error:
        raise BadTable(
            f"Image {row['image_id']}: wanted its {what} of {row['rows']} x {row['columns']} pixels, as at ingest, "
            f"but: {error.sentence} If the files changed, run ingest again; if not, restore them."
        ) from error
