"""Khan et al.'s wavelet "enhancement", in every way their text, code and images allow it to be read.

The text says Haar, two levels, and an inverse; the released code is db4, one level that matters, and saturates. None
sharpens: the Haar readings lose detail, the authors' code doubles the contrast of the dark half and clips the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pywt
from numpy.typing import ArrayLike, NDArray

from covidpipe.errors import choose
from covidpipe.harmonize import rescale
from covidpipe.registry import READINGS

AXES = (-2, -1)


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
    return _READINGS[choose(reading, READINGS, "wavelet reading")](np.asarray(images, float)).astype(np.float32)


def _paper_haar(images: NDArray) -> NDArray:
    """LL of LL1 and HH of HH1, all else zero, inverted twice; the sum of both, as the inverse is linear."""

    def keep(low: NDArray, high: NDArray) -> tuple[NDArray, NDArray]:
        low_low, _ = _split(low, "haar")
        _, high_high = _split(high, "haar")
        return _join(low_low, None), _join(None, high_high)

    return _padded(images, lambda image: _join(*keep(*_split(image, "haar"))))


def _haar_l2_diag(images: NDArray) -> NDArray:
    """LL and HH of both LL1 and HH1."""
    return _padded(images, lambda image: _join(*map(_keep_diagonal, _split(image, "haar"))))


def _haar_l1(images: NDArray) -> NDArray:
    """LL1 and HH1."""
    return _padded(images, _keep_diagonal)


def _keep_diagonal(images: NDArray) -> NDArray:
    return _join(*_split(images, "haar"))


def _authors_code(images: NDArray) -> NDArray:
    """uint8(LL1) + uint8(HH1) of db4, as released.

    Each subband is decomposed once more and put together again with nothing left out: that gives it back, with one more
    row and column, and is kept because it sets the size.
    """
    low, high = (_saturated(pywt.idwt2(_dwt2(band, "db4"), "db4", axes=AXES)) for band in _split(images, "db4"))
    return _saturated(low + high)


def _authors_code_82(images: NDArray) -> NDArray:
    """The authors' code one level deeper, which is where db4 gives the 82 x 82 of the paper."""
    low, _ = _split(images, "db4")
    return _authors_code(low)


def _gain2_clip(images: NDArray) -> NDArray:
    """Half the size, twice the grey level, clipped: what is left of the authors' code without its wavelet."""
    rows, columns = (-(-side // 2) for side in images.shape[-2:])
    halves = [rescale(image, rows, columns) for image in images.reshape(-1, *images.shape[-2:])]
    return _saturated(2 * np.asarray(halves, float).reshape(*images.shape[:-2], rows, columns))


_READINGS: dict[str, Callable[[NDArray], NDArray]] = {
    "paper_haar": _paper_haar,
    "haar_l2_diag": _haar_l2_diag,
    "haar_l1": _haar_l1,
    "authors_code": _authors_code,
    "authors_code_82": _authors_code_82,
    "gain2_clip": _gain2_clip,
    "none": lambda images: images,
}


def _dwt2(images: NDArray, wavelet: str) -> tuple:
    return pywt.dwt2(images, wavelet, mode="symmetric", axes=AXES)  # half-point, as MATLAB's default "sym"


def _split(images: NDArray, wavelet: str) -> tuple[NDArray, NDArray]:
    """The subbands LL and HH."""
    low, (_, _, high) = _dwt2(images, wavelet)
    return low, high


def _join(low: NDArray | None, high: NDArray | None) -> NDArray:
    """The inverse of Haar from LL and HH alone; the other subbands are zero."""
    return pywt.idwt2((low, (None, None, high)), "haar", axes=AXES)


def _padded(images: NDArray, function: Callable[[NDArray], NDArray]) -> NDArray:
    """Apply a function of whole 4 x 4 blocks: other sizes are continued symmetrically, then cropped."""
    rows, columns = images.shape[-2:]
    margins = [(0, 0)] * (images.ndim - 2) + [(0, -rows % 4), (0, -columns % 4)]
    return function(np.pad(images, margins, mode="symmetric"))[..., :rows, :columns]


def _saturated(values: NDArray) -> NDArray:
    """What MATLAB's uint8 makes of numbers: rounded half away from zero, and held in 0 to 255."""
    return np.clip(np.floor(values + 0.5), 0, 255)
