"""One image through every step of the methods, with what is between them kept: for a page that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from covidpipe import wavelet
from covidpipe.config import Config
from covidpipe.inference import methods
from covidpipe.inference.methods import Finding, Networks
from covidpipe.io.image import Image
from covidpipe.quantify.lungs import disk
from covidpipe.quantify.thresholds import local_value

NETWORK_SAYS = ("khan2020", "fusion")  # methods whose heat map is the infection network's probability
GREY_LEVELS = 60  # above the threshold's level: as hot as a heat map gets


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
        Of the whole picture; None where the screening said no, and without such a network.
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

    def heat(self, method: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What a method found infected, as numbers from 0 to 1, and where it looked; None where it did not look.

        The network's probability inside the lungs; of a threshold, by how much lung exceeds its level, `GREY_LEVELS`
        being 1.
        """
        if method in NETWORK_SAYS:
            if self.infection_probability is None or "screened_negative" in self.findings[method].reasons:
                return None
            return self.infection_probability, self.findings[method].lung_mask
        assert self.above_level is not None
        return np.clip(np.nan_to_num(self.above_level, nan=0.0) / GREY_LEVELS, 0, 1), ~np.isnan(self.above_level)


class _Once:
    """A network that computes its answer to the same images once: `find` keeps masks only, and is asked first."""

    def __init__(self, network: Any):
        self.network, self.recipe, self.model_id, self.parts = network, network.recipe, network.model_id, network.parts
        self.asked = self.said = np.empty(0)

    def predict(self, images: np.ndarray) -> np.ndarray:
        if not np.array_equal(images, self.asked):
            self.asked, self.said = images, self.network.predict(images)
        return self.said

    def predict_in(self, images: np.ndarray, lungs: np.ndarray) -> np.ndarray:
        """Of the whole frame: parts of it pay for many images only."""
        return self.predict(images)


def look(images: Sequence[Image], wanted: Iterable[str], networks: Networks, config: Config) -> list[Look]:
    """Run methods on images of one modality as `covidpipe predict` does, and keep what is between.

    Parameters
    ----------
    images : sequence of Image
        Accepted at ingest; as many as fit into memory.
    wanted : iterable of str
        Methods that are defined for the modality.
    networks : mapping of task to LoadedModel
        All that the methods need.
    config : Config
    """
    wanted = list(wanted)
    size, _ = common = methods.common_grid(config)
    grids = methods.grids_of(networks, config)
    batch = methods.to_batch([methods.to_grids(image, grids) for image in images])
    once: dict[str, Any] = {task: _Once(network) for task, network in networks.items()}
    found = methods.find(batch, wanted, once, config)
    lungs = list(methods.pixel_probabilities(batch, once["segment_lungs"], size))
    infection: dict[int, np.ndarray] = {}
    enhanced: list[np.ndarray | None] = [None] * len(images)
    threshold = float(networks["classify"].recipe["threshold"]) if "classify" in networks else None
    networked = [found[method] for method in NETWORK_SAYS if method in wanted]
    if networked:
        asked = [n for n in range(len(images)) if any("screened_negative" not in of[n].reasons for of in networked)]
        if asked:
            some = {grid: planes[asked] for grid, planes in batch.items()}
            masks = np.stack([networked[0][n].lung_mask for n in asked])
            said = methods.pixel_probabilities(some, once["segment_infection"], size, masks)
            infection = dict(zip(asked, said, strict=True))
    if "khan2020" in wanted:
        screening = networks["classify"].recipe
        if screening["input"] == "wavelet":
            plain = wavelet.enhance(batch[methods.source_grid(screening)], screening["reading"])
            enhanced = [_resized(one, size) for one in np.clip(np.rint(plain), 0, 255).astype(np.uint8)]
    looks = []
    for n, grey in enumerate(batch[common]):
        of_image = {method: of_method[n] for method, of_method in found.items()}
        lung = next(iter(of_image.values())).lung_mask  # the same by every method
        above = _above_level(grey, lung, config) if {"alom2020", "fusion"} & set(wanted) else None
        looks.append(Look(grey, lungs[n], of_image, enhanced[n], infection.get(n), threshold, above))
    return looks


def _resized(plane: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR)


def _above_level(grey: np.ndarray, lung: np.ndarray, config: Config) -> np.ndarray:
    settings = config.threshold
    edge = disk(settings.erode_lung_px)
    inner = cv2.erode(lung.astype(np.uint8), edge, borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not inner.any():
        return np.full(grey.shape, np.nan)
    level = local_value(grey, inner, settings) + settings.offset
    return np.where(inner, grey - level, np.nan)
