"""The methods: how networks and thresholds are composed into lung and infection masks of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from covidpipe import harmonize, lung_view, wavelet
from covidpipe.config import Config
from covidpipe.inference.engine import LoadedModel
from covidpipe.io.image import Image
from covidpipe.quantify.lungs import refine_lungs
from covidpipe.quantify.thresholds import adaptive_threshold
from covidpipe.registry import DATASETS, PARTS

FUSION_SHARE = 0.55  # of the network; the rest is the threshold's: inside its regions the network need not say much
FUSION_BLUR_PX = 1.0  # standard deviation, of the common grid

Grid = tuple[int, tuple[float, float]]  # rows and columns, Hounsfield window
Networks = Mapping[str, LoadedModel]  # by task


@dataclass(frozen=True)
class Finding:
    """What a method found in one image; masks are bool on the common grid, and infection lies in the lungs."""

    lung_mask: np.ndarray
    infection_mask: np.ndarray
    covid_probability: float | None = None
    covid_positive: bool | None = None
    classifier_id: str | None = None
    lung_model_id: str | None = None
    infection_model_id: str | None = None
    pneumonia_probability: float | None = None
    pneumonia_positive: bool | None = None
    pneumonia_model_id: str | None = None
    reasons: tuple[str, ...] = ()

    def to_native(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Lung and infection mask on the grid of an image of so many rows and columns, bool."""
        transform = harmonize.Transform.fit(rows, columns, self.lung_mask.shape[0])
        return transform.to_native(self.lung_mask), transform.to_native(self.infection_mask)


def common_grid(config: Config) -> Grid:
    """The grid that masks are told on."""
    return config.harmonize.source_size, config.harmonize.window_hu


def source_grid(recipe: Mapping[str, Any]) -> Grid:
    """The grid that a network's input is made from: its own, or that of the wavelet and of the lung view."""
    size = recipe["image_size"] if recipe["input"] == "harmonized" else recipe["source_size"]
    low, high = recipe["window_hu"]
    return size, (low, high)


def to_grids(image: Image, grids: Iterable[Grid]) -> dict[Grid, np.ndarray]:
    """One image on every grid, uint8 (size, size) each."""
    assert image.intensity is not None, "an accepted image has an intensity"
    return {
        (size, window): harmonize.harmonize(image.array, size, intensity=image.intensity, window_hu=window)[0]
        for size, window in grids
    }


def grids_of(networks: Networks, config: Config) -> set[Grid]:
    """Every grid that `find` needs of an image: the common one, and the source grid of every network."""
    return {common_grid(config)} | {source_grid(network.recipe) for network in networks.values()}


def to_batch(planes: Sequence[Mapping[Grid, np.ndarray]]) -> dict[Grid, np.ndarray]:
    """Images on the same grids, as `to_grids` gives them, as one batch: uint8 (n, size, size) on every grid."""
    return {grid: np.stack([plane[grid] for plane in planes]) for grid in planes[0]}


def network_input(
    batch: Mapping[Grid, np.ndarray], recipe: Mapping[str, Any], lungs: np.ndarray | None = None
) -> np.ndarray:
    """A batch as the network was trained to see it.

    Parameters
    ----------
    batch : mapping of Grid to ndarray of uint8, (n, rows, rows)
    recipe : mapping
    lungs : ndarray of bool, (n, rows, rows), optional
        On any grid; a network that sees the lungs alone needs them.

    Returns
    -------
    ndarray of uint8, (n, image_size, image_size)
    """
    images, size = batch[source_grid(recipe)], recipe["image_size"]
    if recipe["input"] == "wavelet":
        return harmonize.resize(wavelet.enhance(images, recipe["reading"]), size)
    if recipe["input"] == "lung_view":
        assert lungs is not None, "the lungs are found before anything looks at them"
        lungs = harmonize.nearest(lungs, *images.shape[1:])
        return np.stack([lung_view.view(image, lung, size) for image, lung in zip(images, lungs, strict=True)])
    return images


def pixel_probabilities(
    batch: Mapping[Grid, np.ndarray], network: LoadedModel, size: int, lungs: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """What a segmenter says of each image of a batch, resized linearly to the common grid.

    Parameters
    ----------
    batch : mapping of Grid to ndarray of uint8, (n, rows, rows)
    network : LoadedModel
    size : int
        Rows and columns of the common grid.
    lungs : ndarray of bool, (n, size, size), optional
        Where it is asked: elsewhere it may say 0. A network that sees the lungs alone needs them.

    Yields
    ------
    ndarray of float32, (size, size)
    """
    grid = source_grid(network.recipe)
    if network.recipe["input"] != "lung_view":
        images = network_input(batch, network.recipe)
        for said in network.predict(images) if lungs is None else network.predict_in(images, lungs):
            yield cv2.resize(said, (size, size), interpolation=cv2.INTER_LINEAR)
        return
    assert lungs is not None, "the lungs are found before what is in them"
    rows = batch[grid].shape[-1]
    squares = [lung_view.around(lung) for lung in harmonize.nearest(lungs, rows, rows)]
    seen = np.array([square is not None for square in squares], bool)
    answers = iter(())
    if seen.any():
        answers = iter(network.predict(network_input({grid: batch[grid][seen]}, network.recipe, lungs[seen])))
    for square in squares:
        whole = np.zeros((rows, rows), np.float32) if square is None else square.put_back(next(answers), rows)
        yield cv2.resize(whole, (size, size), interpolation=cv2.INTER_LINEAR)


def network_masks(
    batch: Mapping[Grid, np.ndarray], network: LoadedModel, size: int, lungs: np.ndarray | None = None
) -> np.ndarray:
    """Masks of a batch on the common grid, bool (n, size, size): `pixel_probabilities` at the network's threshold."""
    said = pixel_probabilities(batch, network, size, lungs)
    return np.stack([probability >= network.recipe["threshold"] for probability in said])


def find(
    batch: Mapping[Grid, np.ndarray], methods: Iterable[str], networks: Networks, config: Config
) -> dict[str, list[Finding]]:
    """Run methods on a batch of images of one modality; the lungs are found once and shared.

    A classifier that tells pneumonia is asked beside the methods: none of them waits for its answer.

    Parameters
    ----------
    batch : mapping of Grid to ndarray of uint8, (n, size, size)
        The common grid, and the source grid of every network.
    methods : iterable of str
    networks : mapping of task to LoadedModel
    config : Config

    Returns
    -------
    dict of str to list of Finding
        For each method, one finding an image.
    """
    size, _ = common_grid(config)
    lungs = np.array([refine_lungs(mask) for mask in network_masks(batch, networks["segment_lungs"], size)])
    found = {method: COMPOSITIONS[method](batch, lungs, networks, config) for method in methods}
    classifier = networks.get("classify")
    if classifier is None or DATASETS[classifier.recipe["dataset"]].positive != "pneumonia":
        return found
    probability, positive = screen(batch, lungs, classifier)
    return {
        method: [
            replace(
                one,
                pneumonia_probability=float(probability[i]),
                pneumonia_positive=bool(positive[i]),
                pneumonia_model_id=classifier.model_id,
            )
            for i, one in enumerate(of_images)
        ]
        for method, of_images in found.items()
    }


def screen(
    batch: Mapping[Grid, np.ndarray], lungs: np.ndarray, classifier: LoadedModel
) -> tuple[np.ndarray, np.ndarray]:
    """A classifier's probability for each image of a batch, and whether it reaches the threshold."""
    probability = classifier.predict(network_input(batch, classifier.recipe, lungs))
    return probability, probability >= classifier.recipe["threshold"]


def khan2020(batch: Mapping[Grid, np.ndarray], lungs: np.ndarray, networks: Networks, config: Config) -> list[Finding]:
    """CoV-CTNet screens, CoV-RASeg segments everything, or what was screened positive (``segment: positives``)."""
    classifier, segmenter = networks["classify"], networks["segment_infection"]
    probability, positive = screen(batch, lungs, classifier)
    segmented = positive | (config.segment == "all")
    infection = np.zeros_like(lungs)
    if segmented.any():
        some = {grid: images[segmented] for grid, images in batch.items()}
        here = lungs[segmented]
        infection[segmented] = network_masks(some, segmenter, lungs.shape[-1], here) & here
    return [
        Finding(
            lungs[i],
            infection[i],
            covid_probability=float(probability[i]),
            covid_positive=bool(positive[i]),
            classifier_id=classifier.model_id,
            lung_model_id=networks["segment_lungs"].model_id,
            infection_model_id=segmenter.model_id if segmented[i] else None,
            reasons=() if segmented[i] else ("screened_negative",),
        )
        for i in range(len(lungs))
    ]


def alom2020(batch: Mapping[Grid, np.ndarray], lungs: np.ndarray, networks: Networks, config: Config) -> list[Finding]:
    """Adaptive threshold inside the lung."""
    return [
        Finding(
            lung,
            adaptive_threshold(image, lung, config.threshold),
            lung_model_id=networks["segment_lungs"].model_id,
        )
        for image, lung in zip(batch[common_grid(config)], lungs, strict=True)
    ]


def fusion(batch: Mapping[Grid, np.ndarray], lungs: np.ndarray, networks: Networks, config: Config) -> list[Finding]:
    """The mean of what the infection network and the adaptive threshold say of each pixel, inside the lung.

    Late fusion, ours: the network misses severe disease, which a threshold sees, and a threshold marks vessels, which
    the network knows. The threshold's mask is blurred first, so that its rim and its specks need the network's word.
    Share and blur were chosen by two patients (docs/weights.md, step 22).
    """
    segmenter = networks["segment_infection"]
    size, _ = common = common_grid(config)
    said = pixel_probabilities(batch, segmenter, size, lungs)
    found = []
    for image, lung, probability in zip(batch[common], lungs, said, strict=True):
        mask = adaptive_threshold(image, lung, config.threshold)
        infection = fused(at_half(probability, segmenter.recipe["threshold"]), mask) & lung
        found.append(
            Finding(
                lung,
                infection,
                lung_model_id=networks["segment_lungs"].model_id,
                infection_model_id=segmenter.model_id,
            )
        )
    return found


def fused(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the mean of a network's probability and of a blurred mask is a half or more.

    Parameters
    ----------
    probability : ndarray of float32, (rows, columns)
        In 0..1; infected from 0.5 on.
    mask : ndarray of bool, (rows, columns)

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    blurred = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), FUSION_BLUR_PX)
    return FUSION_SHARE * probability + (1 - FUSION_SHARE) * blurred >= 0.5


def at_half(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Probabilities stretched on either side of the threshold, which becomes 0.5; 0 and 1 stay.

    >>> at_half(np.array([0.0, 0.1, 0.2, 0.6, 1.0]), 0.2).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)  # one that calls everything, or nothing, positive
    below, above = probability / (2 * threshold), 1 - (1 - probability) / (2 * (1 - threshold))
    return np.where(probability < threshold, below, above)


COMPOSITIONS: dict[str, Callable[..., list[Finding]]] = {"khan2020": khan2020, "alom2020": alom2020, "fusion": fusion}


def worst_part(source_sha256: str, networks: Iterable[LoadedModel]) -> str | None:
    """Part that an image had when these networks were trained; if they differ, the one that flatters them most."""
    found = {network.parts.get(source_sha256) for network in networks}
    return next((part for part in PARTS if part in found), None)
