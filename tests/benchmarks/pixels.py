"""Work on pixels against the plainest code with a library, and against what the memory allows.

``python -m tests.benchmarks.pixels``. One core. Images are drawn, 304 x 304 as in Khan et al.; what the plain code is
stands in `tests.benchmarks.oracles`. A ceiling is a ratio below one: the share of it that is reached.
"""

from __future__ import annotations

import functools
import time

import cv2
import numpy as np

from covidpipe.wavelet import enhance
from tests.benchmarks.oracles import wavelets
from tests.benchmarks.timing import Ratio, paired

IMAGES, SIDE = 32, 304

alone = functools.partial(paired, clock=time.process_time)


def wavelet() -> list[Ratio]:
    """An image at a time, as the pipeline does."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
    whole, target = images.astype(np.float32), np.empty(images.shape, np.float32)

    def ours(reading: str) -> None:
        for image in images:
            enhance(image, reading)

    def plain(reading: str) -> None:
        for image in images:
            wavelets.READINGS[reading](image.astype(float)).astype(np.float32)

    rows = [
        alone(f"wavelet {reading} / PyWavelets", lambda r=reading: ours(r), lambda r=reading: plain(r), n=5)
        for reading in wavelets.READINGS
    ]
    return [
        *rows,
        alone("wavelet paper_haar / memory copy", lambda: ours("paper_haar"), lambda: np.copyto(target, whole), n=15),
    ]


def main() -> list[Ratio]:
    cv2.setNumThreads(1)
    rows = []
    for part in (wavelet,):
        for row in part():
            rows.append(row)
            print(f"{row.what:<44} {row.speedup:8.2f} ({row.low:.2f} to {row.high:.2f}, n = {row.n})", flush=True)
    return rows


if __name__ == "__main__":
    main()
