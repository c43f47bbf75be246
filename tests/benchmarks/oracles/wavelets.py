"""The wavelet readings with PyWavelets, subband by subband, as their definitions read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pywt

AXES = (-2, -1)


def split(images: np.ndarray, wavelet: str) -> tuple[np.ndarray, np.ndarray]:
    """The subbands LL and HH; half-point symmetric, as MATLAB's default."""
    low, (_, _, high) = pywt.dwt2(images, wavelet, mode="symmetric", axes=AXES)
    return low, high


def join(low: np.ndarray | None, high: np.ndarray | None) -> np.ndarray:
    """The inverse of Haar from LL and HH alone."""
    return pywt.idwt2((low, (None, None, high)), "haar", axes=AXES)


def padded(images: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    rows, columns = images.shape[-2:]
    margins = [(0, 0)] * (images.ndim - 2) + [(0, -rows % 4), (0, -columns % 4)]
    return function(np.pad(images, margins, mode="symmetric"))[..., :rows, :columns]


def keep_diagonal(images: np.ndarray) -> np.ndarray:
    return join(*split(images, "haar"))


def paper_haar(images: np.ndarray) -> np.ndarray:
    def kept(image: np.ndarray) -> np.ndarray:
        low, high = split(image, "haar")
        return join(join(split(low, "haar")[0], None), join(None, split(high, "haar")[1]))

    return padded(images, kept)


def haar_l2_diag(images: np.ndarray) -> np.ndarray:
    return padded(images, lambda image: join(*map(keep_diagonal, split(image, "haar"))))


def haar_l1(images: np.ndarray) -> np.ndarray:
    return padded(images, keep_diagonal)


def saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + 0.5), 0, 255)


def authors_code(images: np.ndarray) -> np.ndarray:
    """Each subband goes through a transform and its inverse, as released."""

    def again(band: np.ndarray) -> np.ndarray:
        return saturated(pywt.idwt2(pywt.dwt2(band, "db4", mode="symmetric", axes=AXES), "db4", axes=AXES))

    low, high = split(images, "db4")
    return saturated(again(low) + again(high))


def authors_code_82(images: np.ndarray) -> np.ndarray:
    return authors_code(split(images, "db4")[0])


READINGS = {
    "paper_haar": paper_haar,
    "haar_l2_diag": haar_l2_diag,
    "haar_l1": haar_l1,
    "authors_code": authors_code,
    "authors_code_82": authors_code_82,
}
