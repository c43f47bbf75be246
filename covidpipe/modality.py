"""CT or X-ray? A logistic regression on a thumbnail, for files that do not say (PNG, JPEG, TIFF).

The coefficients beside the readers (`io/modality.json`) are made by ``workflow/scripts/fit_modality.py``; no image and
no identifier is in them.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

COEFFICIENTS = Path(__file__).parent / "io" / "modality.json"
SIDE = 16


def guess_modality(array: np.ndarray) -> tuple[str, float]:
    """Return ``("ct" | "xr", confidence)`` for one grey image; the confidence is 0.5 to 1.

    Parameters
    ----------
    array : ndarray, shape (rows, columns)
        Any type and range; at least 16 x 16.
    """
    mean, scale, weights, bias = _coefficients()
    logit = float(((features(array) - mean) / scale) @ weights + bias)
    probability = float(1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0))))  # of ct
    return ("ct", probability) if probability >= 0.5 else ("xr", 1.0 - probability)


def features(array: np.ndarray) -> np.ndarray:
    """Numbers that tell an axial slice from a frontal film, shape (count,).

    A body in a slice is an island in the dark; a film is filled to its edges. So: a 16 x 16 thumbnail, averaged over
    its left-right mirror (both are nearly symmetric, and a patient may lie either way), then brightness, steps, and
    shares of flat and of dark pixels, over rings from the edge inwards and over rows and columns. Small shares tell as
    much as large ones, so their square roots stand beside them.
    """
    unit = _unit(array)
    steps = np.abs(np.diff(unit, axis=0, append=unit[-1:])) + np.abs(np.diff(unit, append=unit[:, -1:]))
    light = _thumbnail(unit)
    maps = (light, _thumbnail(steps), _thumbnail(steps < 0.01), _thumbnail(unit < 0.05))
    distance = np.minimum(np.arange(SIDE), np.arange(SIDE)[::-1])
    rings = [np.minimum.outer(distance, distance) == ring for ring in range(SIDE // 2)]
    corners = [light[r, c] for r in (0, -1) for c in (0, -1)]
    shares = np.concatenate(
        [
            *([part[ring].mean() for ring in rings] for part in maps),
            [light[ring].std() for ring in rings],
            maps[3].mean(axis=1),
            np.sort(maps[3].mean(axis=0)),
            np.histogram(unit, bins=8, range=(0, 1))[0] / unit.size,
            [part.mean() for part in maps],
            [(unit == 0).mean(), (unit == 1).mean(), ((steps < 0.01) & (unit >= 0.05)).mean()],
            [min(corners), max(corners)],
            [np.abs(light - light[:, ::-1]).mean(), np.abs(light - light[::-1]).mean()],
        ]
    )
    return np.concatenate([((light + light[:, ::-1]) / 2)[:, : SIDE // 2].ravel(), shares, np.sqrt(shares)])


def _unit(array: np.ndarray) -> np.ndarray:
    """Values between their 1st and 99th percentile, brought to 0 to 1; turned to a dark edge if it is bright.

    Windows and outliers do not count, and neither does whether a film is stored as a negative.
    """
    step = max(1, min(array.shape) // 128)
    sample = array[::step, ::step].astype(np.float64)
    low, high = np.percentile(sample, (1, 99))
    unit = np.clip((sample - low) / max(high - low, 1e-6), 0.0, 1.0)
    edge = np.concatenate([unit[:2].ravel(), unit[-2:].ravel(), unit[:, :2].ravel(), unit[:, -2:].ravel()])
    return 1.0 - unit if np.median(edge) > 0.5 else unit


def _thumbnail(unit: np.ndarray) -> np.ndarray:
    """Means over a grid of 16 x 16 cells."""
    unit = unit.astype(np.float64)
    for axis in (0, 1):
        cuts = np.linspace(0, unit.shape[axis], SIDE + 1).astype(int)
        unit = np.add.reduceat(unit, cuts[:-1], axis=axis) / np.diff(cuts).reshape((-1, 1) if axis == 0 else (1, -1))
    return unit


@functools.cache
def _coefficients() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    stored = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    return np.array(stored["mean"]), np.array(stored["scale"]), np.array(stored["weights"]), float(stored["bias"])
