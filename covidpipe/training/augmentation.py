"""What makes other scanners, windows and positions ordinary: geometry and grey levels, never a flipped chest."""

from __future__ import annotations

import cv2
import numpy as np


def augment(
    image: np.ndarray, masks: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a changed copy of one training image and of its masks.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    masks : ndarray of uint8 0/1, (rows, columns), or None
        Moved with the image, nearest neighbor.
    rng : numpy.random.Generator

    Returns
    -------
    image : ndarray of uint8, (rows, columns)
    masks : like `masks`

    Notes
    -----
    Alom et al. speak of class-specific augmentation without numbers; the ranges are our reading. A left-right flip
    would put the heart on the other side and is never done.
    """
    rows, columns = image.shape
    matrix = np.asarray(cv2.getRotationMatrix2D((columns / 2, rows / 2), rng.uniform(-12, 12), rng.uniform(0.8, 1.2)))
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * np.array([columns, rows])
    image = cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
    if masks is not None:
        masks = cv2.warpAffine(masks, matrix, (columns, rows), flags=cv2.INTER_NEAREST)
    return change_grey_levels(image, rng), masks


def change_grey_levels(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Imitate other windows, exports and scanners: CLAHE, gamma, contrast, brightness, blur, noise.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of uint8, (rows, columns)
    """
    if rng.random() < 0.3:
        tiles = int(rng.integers(2, 9))
        image = cv2.createCLAHE(clipLimit=rng.uniform(1, 4), tileGridSize=(tiles, tiles)).apply(image)
    levels = np.arange(256) / 255
    levels = levels ** np.exp(rng.uniform(-0.6, 0.6))
    levels = (levels - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.uniform(-0.15, 0.15)
    image = cv2.LUT(image, np.clip(np.round(levels * 255), 0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 10), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image
