"""Khan et al.'s wavelet "enhancement", in every way their text, code and images allow it to be read.

The text says Haar, two levels, and an inverse; the released code is db4, one level that matters, and saturates. None
sharpens: the Haar readings lose detail, the authors' code doubles the contrast of the dark half and clips the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pywt
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from covidpipe.errors import choose
from covidpipe.harmonize import rescale
from covidpipe.registry import READINGS


def enhance(images: ArrayLike, reading: str = "paper_haar") -> NDArray[np.float32]:
    """Enhance grey images.

    Parameters
    ----------
    images : (n, rows, columns) or (rows, columns) of uint8 or float, 0 to 255
    reading : str
        A key of ``covidpipe.registry.READINGS``.

    Returns
    -------
    float32, grey levels
        ``paper_haar``, ``haar_l2_diag``, ``haar_l1`` and ``none`` are linear, keep the shape and are not clipped: they
        may leave 0 to 255 a little. ``authors_code`` and ``gain2_clip`` give about half the rows and columns
        (304 -> 156, 304 -> 152), ``authors_code_82`` about a quarter (304 -> 82), in whole grey levels from 0 to 255.

    Raises
    ------
    UsageError
        No reading has this name.

    References
    ----------
    Khan et al. 2020, section 3.1, and the code and images released with it.

    Examples
    --------
    >>> enhance(np.array([[1, 2], [3, 4]]), "haar_l1").tolist()
    [[2.5, 2.5], [2.5, 2.5]]
    """
    return _READINGS[choose(reading, READINGS, "wavelet reading")](_numbers(images)).astype(np.float32, copy=False)


def _paper_haar(images: NDArray) -> NDArray:
    """LL of LL1 and HH of HH1, all else zero, inverted twice; the sum of both, as the inverse is linear."""
    return _projected(images, ((1, 1, 1, 1), (1, -1, -1, 1)))


def _haar_l2_diag(images: NDArray) -> NDArray:
    """LL and HH of both LL1 and HH1."""
    return _projected(images, ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1)))


def _haar_l1(images: NDArray) -> NDArray:
    """LL1 and HH1."""
    return _projected(images, ((1, 1), (1, -1)))


def _projected(images: NDArray, patterns: Sequence[tuple[int, ...]]) -> NDArray:
    """What Haar's transform and its inverse leave of an image if only some subbands are kept, in closed form.

    A subband that is kept is a pattern s of signs, down and across. Each block B of as many rows and columns as s has
    signs becomes the sum of s (s^T B s) s^T / len(s)^2 over the patterns. Sizes that are no whole blocks of 4 x 4 are
    continued symmetrically, then cropped.

    Whole grey levels are exact in float32; all else is computed in float64.
    """
    kind = np.float32 if images.dtype == np.uint8 else np.float64
    rows, columns = images.shape[-2:]
    result = np.empty(images.shape, kind)
    batch = images.reshape(-1, rows, columns)
    # One image at a time: what is between stays in the processor's cache.
    for image, whole in zip(batch, result.reshape(batch.shape), strict=True):
        if rows % 4 or columns % 4:
            image = np.pad(image, ((0, -rows % 4), (0, -columns % 4)), mode="symmetric")
            whole[...] = _of_blocks(image.astype(kind), patterns)[:rows, :columns]
        else:
            _of_blocks(image.astype(kind), patterns, whole)
    return result


def _of_blocks(image: NDArray, patterns: Sequence[tuple[int, ...]], result: NDArray | None = None) -> NDArray:
    """`_projected` of one image of whole blocks, written to `result`."""
    result = np.empty_like(image) if result is None else result
    side = len(patterns[0])
    height, width = image.shape[0] // side, image.shape[1]
    columns = list(zip(*patterns, strict=True))  # the signs of each row of a block; rows with equal ones are one sum
    sums: dict[tuple[int, ...], NDArray] = {}
    for row, signs in zip(_rows_of_blocks(image, side), columns, strict=True):
        sums[signs] = cv2.add(sums[signs], row) if signs in sums else row
    parts = []
    for number, pattern in enumerate(patterns):
        down = _signed_sum(list(sums.values()), [signs[number] for signs in sums])
        runs = down.reshape(height, width // side, side)  # each run of pixels is a vector for OpenCV
        parts.append(cv2.transform(runs, _across(pattern, image.dtype)).reshape(height, width))
    done: dict[tuple[int, ...], NDArray] = {}
    for row, signs in zip(_rows_of_blocks(result, side), columns, strict=True):
        if signs in done:
            row[...] = done[signs]
        else:
            done[signs] = _signed_sum(parts, signs, row)
    return result


def _rows_of_blocks(image: NDArray, side: int) -> list[NDArray]:
    """First rows of all blocks, second rows of all blocks, ...: views of `image`."""
    width = image.shape[1]
    wide = image.reshape(-1, side * width)
    return [wide[:, start : start + width] for start in range(0, side * width, width)]


@functools.lru_cache(maxsize=16)
def _across(pattern: tuple[int, ...], kind: np.dtype) -> NDArray:
    """The matrix s s^T / len(s)^2."""
    return np.outer(pattern, pattern).astype(kind) / len(pattern) ** 2


def _signed_sum(arrays: list[NDArray], signs: Sequence[int], result: NDArray | None = None) -> NDArray:
    """arrays[0] +- arrays[1] +- ..., by the signs; the first one is 1."""
    total = arrays[0]
    for array, sign in zip(arrays[1:], signs[1:], strict=True):
        total = (cv2.add if sign > 0 else cv2.subtract)(total, array, result)
    return total


def _authors_code(images: NDArray) -> NDArray:
    """uint8(LL1) + uint8(HH1) of db4, as released.

    There each subband is decomposed once more and put together again with nothing left out. That gives it back; a side
    of odd length gets one more pixel, a copy of the last, which is what sets the size.
    """
    low, high = (_saturated(_even(band)) for band in _db4_split(images))
    return _saturated(low + high)


def _authors_code_82(images: NDArray) -> NDArray:
    """The authors' code one level deeper, which is where db4 gives the 82 x 82 of the paper."""
    low, _ = _db4_split(images)
    return _authors_code(low)


def _gain2_clip(images: NDArray) -> NDArray:
    """Half the size, twice the grey level, clipped: what is left of the authors' code without its wavelet."""
    rows, columns = (-(-side // 2) for side in images.shape[-2:])
    halves = [rescale(image, rows, columns) for image in images.reshape(-1, *images.shape[-2:])]
    return _saturated(2 * np.asarray(halves, float).reshape(*images.shape[:-2], rows, columns))


def _numbers(images: ArrayLike) -> NDArray:
    """8 bits as they are, anything else in double precision."""
    array = np.asarray(images)
    return array if array.dtype == np.uint8 else array.astype(float)


_READINGS: dict[str, Callable[[NDArray], NDArray]] = {
    "paper_haar": _paper_haar,
    "haar_l2_diag": _haar_l2_diag,
    "haar_l1": _haar_l1,
    "authors_code": _authors_code,
    "authors_code_82": _authors_code_82,
    "gain2_clip": _gain2_clip,
    "none": lambda images: images,
}


def _db4_split(images: NDArray) -> tuple[NDArray, NDArray]:
    """The subbands LL and HH of db4: A X A^T with the analysis matrices of rows and columns, 8 numbers a row."""
    down, across = (_db4_matrices(side) for side in images.shape[-2:])
    bands = []
    for of_rows, of_columns in zip(down, across, strict=True):
        band = np.empty((*images.shape[:-2], of_rows.shape[0], of_columns.shape[0]))
        flat = images.reshape(-1, *images.shape[-2:])
        for image, target in zip(flat, band.reshape(-1, *band.shape[-2:]), strict=True):
            target[...] = (of_columns @ (of_rows @ image.astype(float)).T).T
        bands.append(band)
    return bands[0], bands[1]


@functools.lru_cache(maxsize=8)
def _db4_matrices(side: int) -> list[sparse.csr_array]:
    """Low and high pass of db4 for a signal of `side` numbers, as PyWavelets does it."""
    unit = np.eye(side)
    return [sparse.csr_array(part) for part in pywt.dwt(unit, "db4", mode="symmetric", axis=0)]  # MATLAB's "sym"


def _even(images: NDArray) -> NDArray:
    """The last row and column twice where their number is odd."""
    margins = [(0, 0)] * (images.ndim - 2) + [(0, side % 2) for side in images.shape[-2:]]
    return np.pad(images, margins, mode="edge")


def _saturated(values: NDArray) -> NDArray:
    """What MATLAB's uint8 makes of numbers: rounded half away from zero, and held in 0 to 255."""
    return np.clip(np.floor(values + 0.5), 0, 255)
