"""Alom et al.'s method on the test images of a study: lungs by its network, infection by the adaptive threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.harmonize import resize
from covidpipe.inference.engine import LoadedModel, load_model_folder
from covidpipe.io.store import Store
from covidpipe.paper.percentages import Percentages
from covidpipe.quantify import infection_percent
from covidpipe.quantify.lungs import refine_lungs
from covidpipe.quantify.thresholds import adaptive_threshold
from covidpipe.registry import PROTOCOLS
from covidpipe.stages.paper_networks import evaluated, test_part

PIECE = 32  # images in memory at a time


@dataclass(frozen=True)
class Quantified:
    """An image as Alom et al. show it: uint8 (rows, columns), masks, and the percentage, None without lungs."""

    image: np.ndarray
    lung_mask: np.ndarray
    infection_mask: np.ndarray
    percent: float | None


def quantified(config: Config, lungs: LoadedModel, images: np.ndarray) -> list[Quantified]:
    """Alom et al.'s method on uint8 images (n, rows, columns), on the grid of the network for lungs."""
    images = resize(images, lungs.recipe["image_size"])
    found = lungs.predict(images) >= lungs.recipe["threshold"]
    told = []
    for image, lung in zip(images, (refine_lungs(mask) for mask in found), strict=True):
        infection = adaptive_threshold(image, lung, config.threshold)
        told.append(Quantified(image, lung, infection, infection_percent(infection, lung)))
    return told


def percentages(config: Config) -> list[Percentages]:
    """What the study's networks for lungs give under each protocol; nothing where none is trained.

    X-rays are those of ill patients in the test part of a network that detects COVID-19 (of their infection nobody drew
    masks); CT are the test part of the lungs' network itself.
    """
    found = []
    for protocol in PROTOCOLS:
        for recipe in evaluated(config, "segment_lungs", protocol, "xr")[:1]:
            for films in evaluated(config, "classify", protocol, "xr", "COVID-19")[:1]:
                found += _of_films(config, recipe, films)
        for recipe in evaluated(config, "segment_lungs", protocol, "ct")[:1]:
            found += _of_slices(config, recipe)
    return found


def _of_films(config: Config, recipe: Recipe, films: Recipe) -> list[Percentages]:
    lungs = load_model_folder(paths.model(config, recipe))
    store, rows = test_part(config, films)
    rows = rows[rows["label"].to_numpy(bool)]
    percents = [
        one.percent
        for piece in _pieces(rows)
        for one in quantified(config, lungs, store.read("image", piece["n"].to_numpy(int)))
    ]
    if not percents:
        return []
    groups = rows["group"].to_numpy(str)
    return [Percentages("COVID-19 in X-rays", films.protocol, films.dataset, _numbers(percents), groups)]


def _of_slices(config: Config, recipe: Recipe) -> list[Percentages]:
    lungs = load_model_folder(paths.model(config, recipe))
    store, rows = test_part(config, recipe)
    if "infection_mask" not in store.arrays:
        return []  # without drawn lesions there is nothing to compare with
    rows = rows[rows["has_infection_mask"].to_numpy(bool)]
    found, in_true, true, kinds = [], [], [], []
    for piece in _pieces(rows):
        positions = piece["n"].to_numpy(int)
        lung_masks, lesions = _true_masks(store, positions)
        for one, lung, lesion in zip(
            quantified(config, lungs, store.read("image", positions)), lung_masks, lesions, strict=True
        ):
            found.append(one.percent)
            in_true.append(infection_percent(adaptive_threshold(one.image, lung, config.threshold), lung))
            true.append(infection_percent(lesion & lung, lung))
            kinds.append(_kind(lung, lesion))
    groups, kind = rows["group"].to_numpy(str), np.array(kinds)
    return [
        Percentages(
            name,
            recipe.protocol,
            recipe.dataset,
            _numbers(found)[kind == name],
            groups[kind == name],
            _numbers(true)[kind == name],
            _numbers(in_true)[kind == name],
        )
        for name in sorted(set(kinds))
    ]


def _pieces(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [rows.iloc[start : start + PIECE] for start in range(0, len(rows), PIECE)]


def _true_masks(store: Store, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return store.read("lung_mask", positions) > 0, store.read("infection_mask", positions) > 0


def _kind(lung: np.ndarray, lesion: np.ndarray) -> str:
    """The key of `covidpipe.paper.percentages.KINDS`."""
    if not lung.any():
        return "CT without lungs"
    return "CT with lesions" if lesion.any() else "CT with lungs and no lesion"


def _numbers(percents: list[float | None]) -> np.ndarray:
    return np.array(percents, float)  # None becomes NaN
