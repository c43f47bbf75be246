"""`khan2020` as a script of an afternoon: pydicom, scikit-image, PyWavelets, ``model.predict`` an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from skimage.transform import resize

from tests.benchmarks.oracles import masks, wavelets

GRID = 304  # masks are told on it


def quantified(path: Path, networks: Mapping[str, Any], recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of a row of the table, from a square CT slice with a rescale slope.

    Parameters
    ----------
    path : Path
        DICOM.
    networks, recipes : mapping of task to keras.Model, and to its recipe
        One that screens by the wavelet, and segmenters of whole pictures.
    """
    dicom = pydicom.dcmread(path)
    hounsfield = dicom.pixel_array * float(dicom.RescaleSlope) + float(dicom.RescaleIntercept)

    def picture(task: str, size: int) -> np.ndarray:
        low, high = recipes[task]["window_hu"]
        grey = np.clip((hounsfield - low) * (255 / (high - low)), 0, 255)
        return rounded(resize(grey, (size, size), order=1, mode="reflect", anti_aliasing=True))

    def ask(task: str, image: np.ndarray) -> np.ndarray:
        return networks[task].predict(image[None, ..., None].astype(np.float32) / 255, verbose=0)[0, ..., -1]

    def segment(task: str) -> np.ndarray:
        said = ask(task, picture(task, recipes[task]["image_size"]))
        return resize(said, (GRID, GRID), order=1, mode="edge", anti_aliasing=False) >= recipes[task]["threshold"]

    screening = recipes["classify"]
    enhanced = wavelets.READINGS[screening["reading"]](picture("classify", screening["source_size"]).astype(float))
    side = screening["image_size"]
    probability = ask("classify", rounded(resize(enhanced, (side, side), order=1, mode="reflect", anti_aliasing=True)))
    lung = native(masks.refine_lungs(segment("segment_lungs")), *hounsfield.shape)
    infection = native(segment("segment_infection"), *hounsfield.shape)
    pixel_mm2 = float(np.prod([float(spacing) for spacing in dicom.PixelSpacing]))
    return {"covid_probability": float(probability)} | masks.quantified(infection, lung, pixel_mm2)


def rounded(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def native(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """By the nearest pixel."""
    places = [((np.arange(want) + 0.5) * have / want).astype(int) for want, have in ((rows, GRID), (columns, GRID))]
    return mask[np.ix_(*places)]
