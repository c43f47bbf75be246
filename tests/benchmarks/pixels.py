"""Work on pixels against the plainest code with a library, and against what the memory allows.

``python -m tests.benchmarks.pixels``. One core. Images are drawn, 304 x 304 as in Khan et al.; what the plain code is
stands in `tests.benchmarks.oracles`. A ceiling is a ratio below one: the share of it that is reached.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import cv2
import numpy as np

from covidpipe.metrics.boundary import boundary_f
from covidpipe.quantify.lungs import refine_lungs
from covidpipe.quantify.percentages import quantify_image
from covidpipe.wavelet import enhance
from tests.benchmarks.oracles import masks, wavelets
from tests.benchmarks.timing import Ratio, paired, told

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


def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    """Infection and lung masks: two lungs with vessels cut out, specks beside them, and a few lesions."""
    pairs = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        noise = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 4)
        lung, infection = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        for middle in (95, 209):
            cv2.ellipse(lung, (middle, 150), (40 + seed, 85), 0, 0, 360, 1, -1)
        for row, column in rng.integers(70, 230, (1 + seed, 2)).tolist():
            cv2.circle(infection, (column, row), 12, 1, -1)
        lung[(noise > np.quantile(noise, 0.97)) | (rng.random(lung.shape) > 0.999)] ^= 1
        pairs.append(((infection > 0) & (noise < 0.03), lung > 0))
    return pairs


def quantification() -> list[Ratio]:
    pairs = drawn()

    def ours() -> list[object]:
        return [quantify_image(infection, refine_lungs(lung), (1.0, 1.0)) for infection, lung in pairs]

    def plain() -> list[object]:
        return [masks.quantified(infection, masks.refine_lungs(lung), 1.0) for infection, lung in pairs]

    def outlines(score: Callable[[np.ndarray, np.ndarray, float], float | None]) -> list[float | None]:
        return [score(infection & lung, infection, 3.2) for infection, lung in pairs]

    return [
        alone("quantify an image / scikit-image", ours, plain),
        alone("boundary F / distance transform", lambda: outlines(boundary_f), lambda: outlines(masks.boundary_f)),
    ]


def main() -> list[Ratio]:
    cv2.setNumThreads(1)
    return told(row for part in (wavelet, quantification) for row in part())


if __name__ == "__main__":
    main()
