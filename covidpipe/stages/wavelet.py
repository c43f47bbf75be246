"""The enhanced store of a harmonized one: the wavelet at the harmonized size, then the size a network wants."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import cv2
import numpy as np

from covidpipe.config import Config
from covidpipe.harmonize import Transform, nearest, resize
from covidpipe.io.files import write_json
from covidpipe.io.store import Block, Store, creating, open_store
from covidpipe.provenance import available_cores, run_record
from covidpipe.schemas import STORE_INDEX
from covidpipe.wavelet import enhance


def run(config: Config, store: Path, reading: str, size: int, out: Path) -> None:
    """Write the enhanced store of a harmonized one, with the same images in the same order.

    Parameters
    ----------
    config : Config
    store : Path
        Folder of the harmonized store.
    reading : str
        A key of ``covidpipe.registry.READINGS``.
    size : int
        Rows and columns of the new store.
    out : Path
        Folder for ``images.zarr``, ``index.parquet`` and ``run.json``.
    """
    started = time.time()
    source = open_store(store)
    index = source.index.copy()
    fitted = [Transform.fit(*shape, size) for shape in zip(index["native_rows"], index["native_columns"], strict=True)]
    for name in Transform.__dataclass_fields__:
        index[name] = [getattr(transform, name) for transform in fitted]
    arrays = dict.fromkeys(source.arrays, (size, size))
    make = functools.partial(_block, source=source, reading=reading, size=size)
    with creating(out, "images.zarr", index, STORE_INDEX, arrays, len(index), source.shard) as writer:
        writer.fill(make, [np.array(writer.positions(k)) for k in range(writer.shards)], available_cores())
        facts = {"reading": reading, "size": size, "source_size": source.size, "images": len(index)}
        write_json(writer.folder / "run.json", run_record("wavelet", seed=config.seed, started=started, **facts))


def _block(positions: np.ndarray, source: Store, reading: str, size: int) -> Block:
    cv2.setNumThreads(1)  # the cores are taken by the other shards
    block = {name: nearest(source.read(name, positions), size, size) for name in source.arrays if name != "image"}
    images = source.read("image", positions)
    # One image at a time: it stays in the processor's cache, and 64 at once are no faster.
    block["image"] = np.stack([resize(enhance(image, reading), size) for image in images])
    return block
