"""Figures of the papers that show images: the networks of a study are run on a few images of their test parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.inference.batched import to_input
from covidpipe.inference.engine import LoadedModel, load_model_folder
from covidpipe.io.store import open_store
from covidpipe.paper import figures
from covidpipe.quantify.thresholds import local_value
from covidpipe.registry import TRUTH_OF_TASK
from covidpipe.stages.paper_networks import evaluated, test_part
from covidpipe.stages.paper_percentages import quantified

SHOWN_IMAGES, SHOWN_NETWORKS, FEATURE_IMAGES = 4, 5, 400
STEEP = 64.0  # grey levels above the threshold at which the heat map is full


def short_name(recipe: Recipe) -> str:
    """A network in the legend of a figure."""
    return f"{recipe.model}, {recipe.regime.replace('_', ' ')} ({recipe.dataset})"


def _spread(sizes: np.ndarray, count: int) -> np.ndarray:
    """Positions of `count` images from the smallest to the largest of those with any size.

    >>> _spread(np.array([0, 5, 1, 9]), 2).tolist()
    [2, 3]
    """
    some = np.flatnonzero(sizes)
    order = some[np.argsort(sizes[some], kind="stable")]
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).astype(int))] if len(order) else some


def qualitative(config: Config, task: str) -> Figure | None:
    """Test images with their true mask and what each network marks; None where nothing was trained."""
    mask = TRUTH_OF_TASK[task]
    recipes = evaluated(config, task)[:SHOWN_NETWORKS]
    shown = {recipe.dataset: _shown(config, recipe, mask) for recipe in recipes}
    recipes = [recipe for recipe in recipes if shown[recipe.dataset]]
    if not recipes:
        return None
    columns = [_marked(config, recipe, shown[recipe.dataset], mask) for recipe in recipes]
    names = [f"{recipe.model}, {recipe.dataset}\n{recipe.regime.replace('_', ' ')}" for recipe in recipes]
    return figures.gallery(names, list(zip_longest(*columns)), config.paper.label)


def _shown(config: Config, recipe: Recipe, mask: str) -> list[str]:
    """Names of test images from the smallest true mask to the largest."""
    store, test = test_part(config, recipe)
    sizes = (store.read(mask, test["n"].to_numpy(int)) > 0).sum(axis=(1, 2))
    return test["image_id"].to_numpy(str)[_spread(sizes, SHOWN_IMAGES)].tolist()


def _marked(
    config: Config, recipe: Recipe, image_ids: Sequence[str], mask: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Image, true mask and the network's mask of each image, on the network's grid."""
    store = open_store(paths.store(config, recipe))
    loaded = load_model_folder(paths.model(config, recipe))
    positions = store.index.set_index("image_id").loc[list(image_ids), "n"].to_numpy(int)
    images, truth = store.read("image", positions), store.read(mask, positions) > 0
    found = loaded.predict(images) >= loaded.recipe["threshold"]
    return list(zip(images, truth, found, strict=True))


def feature_space(config: Config) -> Figure | None:
    """Principal components of the last hidden layer of CoV-CTNet on its test part."""
    import keras  # 4 s with TensorFlow, and not needed where nothing was trained

    recipes = [recipe for recipe in evaluated(config, "classify") if recipe.model == "cov_ctnet"]
    if not recipes:
        return None
    recipe = recipes[0]
    store, test = test_part(config, recipe)
    test = test.iloc[np.unique(np.linspace(0, len(test) - 1, min(FEATURE_IMAGES, len(test))).astype(int))]
    network = keras.saving.load_model(paths.model(config, recipe) / "model.keras", compile=False, safe_mode=True)
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    hidden = keras.Model(network.inputs, dense[-1].input)
    images = store.read("image", test["n"].to_numpy(int))
    features = np.asarray(hidden.predict(to_input(images, recipe.channels), verbose=0))
    if np.ptp(features, axis=0).max() == 0:
        return None  # an untrained network says the same of every image: there is no space to show
    axes = PCA(2).fit(features)
    positive = test["label"].to_numpy(bool)
    return figures.feature_space(axes.transform(features), positive, axes.explained_variance_ratio_, config.paper.label)


def heat_maps(config: Config) -> Figure | None:
    """Alom et al.'s percentages on test images of the study: X-rays, CT, and slices without lung."""
    lines: list[dict[str, Any]] = []
    for modality in ("xr", "ct"):
        lungs = evaluated(config, "segment_lungs", modality=modality)
        ill = [
            recipe
            for task in ("segment_infection", "classify")
            for recipe in evaluated(config, task, modality=modality, positive="COVID-19")
        ]
        if lungs and ill:
            lines += _quantified(config, load_model_folder(paths.model(config, lungs[0])), ill[-1], modality)
    return figures.heat_maps(lines, config.paper.label) if lines else None


def _quantified(config: Config, loaded: LoadedModel, recipe: Recipe, modality: str) -> list[dict[str, Any]]:
    """A few ill test images of a recipe; of CT also slices in which there is no lung."""
    plain = recipe.model_copy(update={"regime": "scratch_original" if recipe.task == "classify" else recipe.regime})
    store = open_store(
        paths.store(config, plain) if paths.store(config, plain).exists() else paths.store(config, recipe)
    )
    _, test = test_part(config, recipe)
    rows = test[test["label"].fillna(False).to_numpy(bool)].iloc[:: max(1, len(test) // 8)][:3]
    names = {"xr": ["X-ray"] * 3, "ct": ["CT"] * 3}[modality][: len(rows)]
    positions = rows["n"].tolist()
    if modality == "ct" and "lung_mask" in store.arrays:
        others = test[test["has_lung_mask"].to_numpy(bool)]["n"].to_numpy(int)
        empty = others[(store.read("lung_mask", others) > 0).sum(axis=(1, 2)) == 0][:2] if len(others) else others
        positions += empty.tolist()
        names += ["CT, no lung in this slice"] * len(empty)
    if not positions:
        return []
    lines = []
    for name, one in zip(names, quantified(config, loaded, store.read("image", np.array(positions))), strict=True):
        level = local_value(one.image, one.lung_mask, config.threshold) if one.lung_mask.any() else 0.0
        lines.append({"name": name, "excess": np.clip((one.image - level) / STEEP, 0, 1), **vars(one)})
    return lines
