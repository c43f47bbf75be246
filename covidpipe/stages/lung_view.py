"""The store of lung views of a harmonized one: what networks see that look at lungs alone."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import cv2
import numpy as np

from covidpipe.config import Config
from covidpipe.harmonize import Transform
from covidpipe.io.files import write_json
from covidpipe.io.store import Block, Store, creating, open_store
from covidpipe.lung_view import Square, around, view, view_mask
from covidpipe.provenance import available_cores, run_record
from covidpipe.schemas import STORE_INDEX


def run(config: Config, store: Path, size: int, out: Path) -> None:
    """Write the lung views of a harmonized store, with the same images in the same order.

    The true lungs decide what is seen. An image with too little lung to look at is blank and said to have no masks:
    it takes no part in a training or an evaluation.

    Parameters
    ----------
    config : Config
    store : Path
        Folder of the harmonized store.
    size : int
        Rows and columns of the new store.
    out : Path
        Folder for ``images.zarr``, ``index.parquet`` and ``run.json``. The index tells the native rows and columns
        that a view covers.
    """
    started = time.time()
    source = open_store(store)
    index = source.index.copy()
    squares = _squares(source)
    scale = index[["native_rows", "native_columns"]].max(axis=1) / source.size
    index["native_rows"] = index["native_columns"] = [
        max(1, round(factor * (source.size if square is None else square.side)))
        for factor, square in zip(scale, squares, strict=True)
    ]
    for name, value in {"size": size, "top": 0, "left": 0, "height": size, "width": size}.items():
        assert name in Transform.__dataclass_fields__
        index[name] = value
    seen = np.array([square is not None for square in squares], bool)
    for name in ("lung_mask", "infection_mask"):
        index[f"has_{name}"] &= seen
    arrays = dict.fromkeys(source.arrays, (size, size))
    make = functools.partial(_block, source=source, squares=squares, size=size)
    with creating(out, "images.zarr", index, STORE_INDEX, arrays, len(index), source.shard) as writer:
        writer.fill(make, [np.array(writer.positions(k)) for k in range(writer.shards)], available_cores())
        facts = {"size": size, "source_size": source.size, "images": len(index), "with_lungs": int(seen.sum())}
        write_json(writer.folder / "run.json", run_record("lung_view", seed=config.seed, started=started, **facts))


def _squares(source: Store) -> list[Square | None]:
    found: list[Square | None] = []
    for start in range(0, len(source.index), source.shard):
        positions = np.arange(start, min(start + source.shard, len(source.index)))
        found += [around(lung) for lung in source.read("lung_mask", positions) > 0]
    return found


def _block(positions: np.ndarray, source: Store, squares: list[Square | None], size: int) -> Block:
    cv2.setNumThreads(1)  # the cores are taken by the other shards
    images, lungs = source.read("image", positions), source.read("lung_mask", positions) > 0
    block = {"image": np.stack([view(image, lung, size) for image, lung in zip(images, lungs, strict=True)])}
    for name in source.arrays:
        if name != "image":
            masks = source.read(name, positions)
            block[name] = np.stack([view_mask(m, squares[n], size) for n, m in zip(positions, masks, strict=True)])
    return block
