"""The Zarr store against bytes in one plain file: ``python -m tests.benchmarks.store``.

Noisy pictures of 304 x 304, which compress as CT slices do. A plain file has no checksum and is not compressed: it is
the ceiling, and ratios are the share of it that is reached.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from covidpipe.harmonize import Transform
from covidpipe.io.store import open_store, write_store
from covidpipe.schemas import STORE_INDEX
from tests.benchmarks.timing import Ratio, paired

IMAGES, SIDE, SHARD = 256, 304, 64
alone = functools.partial(paired, clock=time.process_time)


def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 12)
    noise = rng.normal(0, 4, (IMAGES, SIDE, SIDE))
    return np.clip(smooth / smooth.std() * 60 + 100 + noise, 0, 255).astype(np.uint8)


def main() -> list[Ratio]:
    images = pictures()
    index = [
        {"n": n, "image_id": f"{n:016x}", **Transform.fit(SIDE, SIDE, SIDE).as_dict(), "label": None}
        | {"has_lung_mask": False, "has_infection_mask": False}
        for n in range(IMAGES)
    ]
    order = np.random.default_rng(1).permutation(IMAGES)
    with tempfile.TemporaryDirectory() as scratch:
        store, plain = Path(scratch, "store"), Path(scratch, "plain.bin")

        def write() -> None:
            blocks = ({"image": images[first : first + SHARD]} for first in range(0, IMAGES, SHARD))
            write_store(store, "images.zarr", index, STORE_INDEX, blocks, {"image": (SIDE, SIDE)}, IMAGES, SHARD)

        def write_plainly() -> None:
            with plain.open("wb") as file:
                images.tofile(file)
                os.fsync(file.fileno())

        write()
        write_plainly()
        opened, mapped = open_store(store), np.memmap(plain, np.uint8, "r", shape=images.shape)
        rows = [
            alone("store: write / a plain file", write, write_plainly),
            alone(
                "store: read in order / a memory map",
                lambda: opened.read("image", np.arange(IMAGES)),
                lambda: np.array(mapped),
            ),
            alone(
                "store: one image at random / a memory map",
                lambda: [opened.read("image", [n]) for n in order[:64]],
                lambda: [np.array(mapped[n]) for n in order[:64]],
            ),
        ]
        rows.append(
            alone(
                "store: 64 images at random, together / a memory map",
                lambda: opened.read("image", order[:64]),
                lambda: np.array(mapped[order[:64]]),
            )
        )
        share = sum(file.stat().st_size for file in store.rglob("*") if file.is_file()) / images.nbytes
    for one in rows:
        print(f"{one.what:<52} {one.speedup:8.3f} ({one.low:.3f} to {one.high:.3f}, n = {one.n})", flush=True)
    print(
        f"{share:.0%} of the bytes; of processor time: {images.nbytes / 1e6 / rows[0].ours_s:.0f} MB/s written, "
        f"{IMAGES / rows[1].ours_s:.0f} images/s in order, {64 / rows[2].ours_s:.0f} at random"
    )
    return rows


if __name__ == "__main__":
    main()
