"""Any image on one square 8-bit grid, and the way back: windowing, anti-aliased resizing, letterboxing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transform:
    """Where a native image lies on the harmonized grid (all in pixels).

    Parameters
    ----------
    native_rows, native_columns : int
        Shape of the image as stored.
    size : int
        Rows and columns of the harmonized grid.
    top, left, height, width : int
        The rectangle of the harmonized grid that the image covers; the rest is padding.
    """

    native_rows: int
    native_columns: int
    size: int
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, rows: int, columns: int, size: int) -> Transform:
        """The letterbox of a `rows` x `columns` image: proportions kept, centered, nothing cropped.

        >>> Transform.fit(100, 200, 50)
        Transform(native_rows=100, native_columns=200, size=50, top=12, left=0, height=25, width=50)
        """
        scale = size / max(rows, columns)
        height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
        return cls(rows, columns, size, (size - height) // 2, (size - width) // 2, height, width)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the harmonized grid that the image covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def forward_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A native mask on the harmonized grid, (size, size), by the nearest pixel; False in the padding."""
        assert mask.shape == (self.native_rows, self.native_columns), f"{mask.shape} is not the native shape of {self}"
        harmonized = np.zeros((self.size, self.size), bool)
        harmonized[self.window] = nearest(mask, self.height, self.width)
        return harmonized

    def to_native(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A harmonized mask on the native grid, (native_rows, native_columns), by the nearest pixel."""
        assert mask.shape == (self.size, self.size), f"{mask.shape} is not the harmonized shape of {self}"
        return nearest(mask[self.window], self.native_rows, self.native_columns)

    def as_dict(self) -> dict[str, int]:
        """The columns of a store's index."""
        return asdict(self)


def harmonize(
    array: NDArray, size: int, *, intensity: str, window_hu: tuple[float, float]
) -> tuple[NDArray[np.uint8], Transform]:
    """Bring one image to the square 8-bit grid.

    Parameters
    ----------
    array : (rows, columns) of numbers
    size : int
        Rows and columns wanted.
    intensity : {"hounsfield", "windowed_8bit", "radiograph"}
        Hounsfield units are windowed; anything else is stretched from its own minimum to its own maximum.
    window_hu : (float, float)
        The Hounsfield units that become 0 and 255.

    Returns
    -------
    (size, size) of uint8, Transform
        Padding is 0.
    """
    rows, columns = array.shape
    transform = Transform.fit(rows, columns, size)
    image = array.astype(np.float32)
    low, high = window_hu if intensity == "hounsfield" else (float(image.min()), float(image.max()))
    grey = np.clip((image - low) * (255 / (high - low)), 0, 255) if high > low else np.zeros_like(image)
    harmonized = np.zeros((size, size), np.uint8)
    harmonized[transform.window] = np.rint(rescale(grey, transform.height, transform.width))
    return harmonized, transform


def resize(images: NDArray, size: int) -> NDArray[np.uint8]:
    """Square images at another size, anti-aliased, rounded and clipped to 8 bits.

    Parameters
    ----------
    images : (n, rows, columns) or (rows, columns) of numbers, 0 to 255
    size : int

    Returns
    -------
    (n, size, size) or (size, size) of uint8
    """
    batch = images if images.ndim == 3 else images[None]
    resized = np.empty((len(batch), size, size), np.uint8)
    for source, target in zip(batch, resized, strict=True):
        target[...] = np.clip(np.rint(rescale(source, size, size)), 0, 255)
    return resized if images.ndim == 3 else resized[0]


def rescale(image: NDArray, rows: int, columns: int) -> NDArray[np.float32]:
    """Anti-aliased linear resizing of one image, (rows, columns) of float32, neither rounded nor clipped.

    The same numbers as ``skimage.transform.resize(order=1, mode="reflect", anti_aliasing=True)``, several times as
    fast.
    """
    if image.shape == (rows, columns):
        return image.astype(np.float32)
    down, across = (_gaussian(have / want) for have, want in zip(image.shape, (rows, columns), strict=True))
    smooth = cv2.sepFilter2D(image.astype(np.float32), cv2.CV_32F, across, down, borderType=cv2.BORDER_REFLECT_101)
    return _linear(_linear(np.asarray(smooth, np.float32), rows).T, columns).T


def _gaussian(factor: float) -> NDArray[np.float32]:
    """The kernel that removes what a grid `factor` times as coarse cannot hold; cut at 4 sigma like SciPy's."""
    if factor <= 1:
        return np.ones((1, 1), np.float32)
    sigma = (factor - 1) / 2
    return np.asarray(cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F), np.float32)


def _linear(image: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    """`image` sampled linearly at the centers of `rows` rows; beyond the border it is mirrored.

    OpenCV's own resize repeats the border pixel instead, which differs when an image is enlarged.
    """
    last = len(image) - 1
    place = (np.arange(rows) + 0.5) * (len(image) / rows) - 0.5
    before = np.floor(place).astype(int)
    share = (place - before).astype(np.float32)[:, None]
    mirrored = [np.clip(last - np.abs(last - np.abs(index)), 0, last) for index in (before, before + 1)]
    return image[mirrored[0]] * (1 - share) + image[mirrored[1]] * share


def nearest(images: NDArray, rows: int, columns: int) -> NDArray:
    """The last two axes of `images` at another size, each pixel that of the source whose center is nearest.

    Exact integers, and the same both ways round: OpenCV's nearest is shifted by half a pixel.
    """
    for axis, want in ((-2, rows), (-1, columns)):
        have = images.shape[axis]
        images = images.take((2 * np.arange(want) + 1) * have // (2 * want), axis=axis)
    return images
