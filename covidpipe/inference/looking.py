"""One image through every step of the methods, with what is between them kept: for a page that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from covidpipe import wavelet
from covidpipe.config import Config
from covidpipe.inference import methods
from covidpipe.inference.methods import Finding, Grid, Networks
from covidpipe.io.image import Image
from covidpipe.quantify.lungs import disk
from covidpipe.quantify.thresholds import local_value


@dataclass(frozen=True)
class Look:
    """What was between an image and its masks; planes are on the common grid, (size, size).

    Parameters
    ----------
    grey : ndarray of uint8
    lung_probability : ndarray of float32
    findings : dict of str to Finding
        By method.
    enhanced : ndarray of uint8, or None
        What the screening network saw, brought to the common grid; None without such a network.
    infection_probability : ndarray of float32, or None
        Of the whole picture, whatever the screening said.
    screening_threshold : float or None
    above_level : ndarray of float, or None
        Grey levels by which lung pixels exceed what the threshold compares them with; NaN where it does not look.
    """

    grey: np.ndarray
    lung_probability: np.ndarray
    findings: dict[str, Finding]
    enhanced: np.ndarray | None = None
    infection_probability: np.ndarray | None = None
    screening_threshold: float | None = None
    above_level: np.ndarray | None = None


def look(image: Image, wanted: Iterable[str], networks: Networks, config: Config) -> Look:
    """Run methods on one image as `covidpipe predict` does, and keep what is between.

    Parameters
    ----------
    image : Image
        Accepted at ingest.
    wanted : iterable of str
        Methods that are defined for the modality.
    networks : mapping of task to LoadedModel
        All that the methods need.
    config : Config
    """
    wanted = list(wanted)
    size, _ = common = methods.common_grid(config)
    grids = {common} | {methods.source_grid(network.recipe) for network in networks.values()}
    batch = {grid: plane[None] for grid, plane in methods.to_grids(image, grids).items()}
    findings = {method: found[0] for method, found in methods.find(batch, wanted, networks, config).items()}
    grey = batch[common][0]
    enhanced = threshold = infection = above = None
    if "khan2020" in wanted:
        screening = networks["classify"].recipe
        threshold = float(screening["threshold"])
        if screening["input"] == "wavelet":
            source = batch[methods.source_grid(screening)][0]
            plain = np.clip(np.rint(wavelet.enhance(source, screening["reading"])), 0, 255).astype(np.uint8)
            enhanced = cv2.resize(plain, (size, size), interpolation=cv2.INTER_LINEAR)
        infection = _map(batch, networks, "segment_infection", size)
    if "alom2020" in wanted:
        above = _above_level(grey, findings["alom2020"].lung_mask, config)
    lung = _map(batch, networks, "segment_lungs", size)
    return Look(grey, lung, findings, enhanced, infection, threshold, above)


def _map(batch: dict[Grid, np.ndarray], networks: Networks, task: str, size: int) -> np.ndarray:
    network = networks[task]
    (probability,) = network.predict(methods.network_input(batch, network.recipe))
    return cv2.resize(probability, (size, size), interpolation=cv2.INTER_LINEAR)


def _above_level(grey: np.ndarray, lung: np.ndarray, config: Config) -> np.ndarray:
    settings = config.threshold
    edge = disk(settings.erode_lung_px)
    inner = cv2.erode(lung.astype(np.uint8), edge, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not inner.any():
        return np.full(grey.shape, np.nan)
    level = local_value(grey, inner, settings) + settings.offset
    return np.where(inner, grey - level, np.nan)
