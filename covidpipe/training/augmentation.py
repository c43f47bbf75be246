"""What makes other scanners, windows and positions ordinary: geometry and grey levels, never a flipped chest unasked.

Alom et al. speak of class-specific augmentation against class imbalance, without numbers. Here how often a class is
drawn is its own (`covidpipe.training.batches`), and how an image is changed is not: were the sick blurred more than the
healthy, blur would become a sign of disease.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from covidpipe.lung_view import level


@dataclass(frozen=True)
class Preset:
    """Ranges and chances of one kind of augmentation; all are our reading, no paper gives any.

    ``degrees`` of rotation, ``zoom`` and ``shear`` as shares of the image's size, ``shift`` as a share of its rows and
    columns, each to both sides. ``gamma`` is the largest logarithm of the exponent, ``contrast`` a factor's range,
    ``brightness`` the largest change (the grey scale is 0..1). The rest are chances, of a tone curve, CLAHE, blur,
    noise, 8 to 64 grey levels instead of 256, of JPEG at a quality of 30 to 90, and of another patient's lesions.
    ``level`` puts the grey levels of a lung view back to their places in the end, as any slice's are.
    """

    degrees: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    gamma: float = 0.0
    contrast: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    curve: float = 0.0
    clahe: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    coarse: float = 0.0
    jpeg: float = 0.0
    transplant: float = 0.0
    level: bool = False


_GEOMETRY: dict[str, Any] = {"degrees": 12.0, "zoom": 0.2, "shift": 0.06, "shear": 0.05}
_INTENSITY: dict[str, Any] = {
    "gamma": 0.6,
    "brightness": 0.15,
    "clahe": 0.3,
    "blur": 0.2,
    "noise": 0.3,
    "coarse": 0.1,
    "jpeg": 0.15,
    "contrast": (0.7, 1.2),
}

# The names are those of covidpipe.registry.AUGMENTATIONS.
PRESETS: dict[str, Preset] = {
    "none": Preset(),
    "geometric": Preset(**_GEOMETRY),
    "intensity": Preset(**_INTENSITY),
    "standard": Preset(**_GEOMETRY, **_INTENSITY),
    "strong": Preset(
        degrees=20.0,
        zoom=0.3,
        shift=0.1,
        shear=0.1,
        gamma=0.9,
        contrast=(0.5, 1.4),
        brightness=0.25,
        curve=0.4,
        clahe=0.4,
        blur=0.3,
        noise=0.5,
        coarse=0.2,
        jpeg=0.3,
    ),
}
# No tone curves and little gamma: they would turn the haze of a healthy lung into infection and leave its truth.
PRESETS["lungs"] = Preset(
    degrees=15.0,
    zoom=0.2,
    shift=0.08,
    shear=0.08,
    gamma=0.2,
    contrast=(0.6, 1.4),
    brightness=0.1,
    clahe=0.25,
    blur=0.3,
    noise=0.5,
    coarse=0.1,
    jpeg=0.2,
    level=True,
)
PRESETS["lesions"] = replace(PRESETS["lungs"], transplant=0.25)

TRANSPLANT_RIM_PX = 2  # of the lung around a lesion, carried with it
TRANSPLANT_BLUR_PX = 1.0  # of its seam


Sick = tuple[np.ndarray, np.ndarray]  # an image with lesions; its masks: bit 0 what is infected, bit 1 the lungs


def augment(
    image: np.ndarray,
    mask: np.ndarray | None,
    rng: np.random.Generator,
    preset: Preset,
    *,
    flip: bool = False,
    donor: Callable[[np.random.Generator], Sick | None] = lambda rng: None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a changed copy of one training image and of its mask.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    mask : ndarray of uint8, (rows, columns), or None
        Moved with the image, nearest neighbor. Bit 0 is the truth, bit 1 the lungs where a preset wants them.
    rng : numpy.random.Generator
    preset : Preset
    flip : bool
        Mirror every other image: the heart is then on the other side.
    donor : function
        Draws an image with lesions for `transplant`, in any position; None: there is none.

    Returns
    -------
    image : ndarray of uint8, (rows, columns)
    mask : ndarray of uint8 0/1, (rows, columns), or None
        The truth alone.
    """
    image, mask = change_geometry(image, mask, rng, preset, flip=flip)
    if mask is None:
        return change_grey_levels(image, rng, preset), None
    truth, lung = mask & 1, (mask & 2) > 0
    if rng.random() < preset.transplant and (given := donor(rng)) is not None:
        # A donor may always be mirrored: what is carried is a lesion, not a heart.
        other, lesion = change_geometry(*given, rng, preset, flip=True)
        assert lesion is not None
        image, truth = transplant(image, truth, lung, other, lesion & 1, lesion & 2)
    image = change_grey_levels(image, rng, preset)
    return (level(image, lung) if preset.level else image), truth


def change_geometry(
    image: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator, preset: Preset, *, flip: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rotate, zoom, shear and shift an image and its mask in one resampling; what comes in from outside is black.

    Parameters and returned values are those of `augment`.
    """
    rows, columns = image.shape
    angle, zoom, shear = rng.uniform(-1, 1, 3) * (preset.degrees, preset.zoom, preset.shear)
    shift = rng.uniform(-preset.shift, preset.shift, 2)
    mirror = -1.0 if flip and rng.random() < 0.5 else 1.0
    matrix = np.asarray(cv2.getRotationMatrix2D((0, 0), angle, 1 + zoom))[:, :2]
    matrix = matrix @ [[mirror, shear], [0, 1]]
    if np.array_equal(matrix, np.eye(2)) and not shift.any():
        return image.copy(), mask if mask is None else mask.copy()
    center = np.array([columns - 1, rows - 1]) / 2  # of pixel centers: a mirror image then fits to the pixel
    moved = center - matrix @ center + shift * [columns, rows]
    matrix = np.column_stack([matrix, moved])
    image = cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
    if mask is not None:
        mask = cv2.warpAffine(mask, matrix, (columns, rows), flags=cv2.INTER_NEAREST)
    return image, mask


def transplant(
    image: np.ndarray, mask: np.ndarray, lung: np.ndarray, donor: np.ndarray, lesion: np.ndarray, donor_lung: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Carry one patient's lesions into the lungs of another, to the same place of the image.

    A few patients have few kinds of lesions, each in one kind of lung; so every kind is seen in every lung. Lesion and
    a rim of the donor's lung replace what was there, with a blurred seam. The idea is from earlier work (Zhang et al.
    2021, CarveMix, arXiv 2108.06883); lungs as the limit are ours.

    Parameters
    ----------
    image, donor : ndarray of uint8, (rows, columns)
    mask, lesion : ndarray of uint8 0/1, (rows, columns)
        What is infected in either.
    lung, donor_lung : ndarray, (rows, columns)
        Not 0 in either's lungs.

    Returns
    -------
    image : ndarray of uint8, (rows, columns)
    mask : ndarray of uint8 0/1, (rows, columns)
    """
    side = 2 * TRANSPLANT_RIM_PX + 1
    carried = (cv2.dilate(lesion, np.ones((side, side), np.uint8)) > 0) & (lung > 0) & (donor_lung > 0)
    share = cv2.GaussianBlur(carried.astype(np.float32), (0, 0), TRANSPLANT_BLUR_PX)
    mixed = np.rint(image + (donor.astype(np.float32) - image) * share).astype(np.uint8)
    return mixed, np.where(carried, lesion, mask)


def change_grey_levels(image: np.ndarray, rng: np.random.Generator, preset: Preset) -> np.ndarray:
    """Imitate other windows, exports and scanners.

    Parameters
    ----------
    image : ndarray of uint8, (rows, columns)
    rng : numpy.random.Generator
    preset : Preset

    Returns
    -------
    ndarray of uint8, (rows, columns)
    """
    if rng.random() < preset.clahe:
        tiles = int(rng.integers(2, 9))
        image = cv2.createCLAHE(clipLimit=rng.uniform(1, 4), tileGridSize=(tiles, tiles)).apply(image)
    levels = np.arange(256) / 255
    if rng.random() < preset.curve:
        # Rising, through points at a quarter, a half and three quarters: a wide window has tissue in the middle.
        levels = np.interp(levels, np.linspace(0, 1, 5), np.append(0, np.cumsum(rng.dirichlet(np.full(4, 2.0)))))
    levels = levels ** np.exp(rng.uniform(-preset.gamma, preset.gamma))
    levels = (levels - 0.5) * rng.uniform(*preset.contrast) + 0.5
    levels += rng.uniform(-preset.brightness, preset.brightness)
    if rng.random() < preset.coarse:
        steps = 2 ** int(rng.integers(3, 7)) - 1
        levels = np.round(levels * steps) / steps
    image = cv2.LUT(image, np.clip(np.round(levels * 255), 0, 255).astype(np.uint8))
    if rng.random() < preset.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < preset.noise:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 10))
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U))  # rounds, and stays within 0..255
    if rng.random() < preset.jpeg:
        quality = int(rng.integers(30, 91))
        _, file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE))
    return image
