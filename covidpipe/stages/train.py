"""Train one network: store and split in, a model folder out."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidpipe.config import Config, Recipe
from covidpipe.io.checkpoints import obtain
from covidpipe.io.files import file_sha256, read_frame, replacing, write_json, write_table, write_text
from covidpipe.io.keras_files import save_model
from covidpipe.io.store import open_store
from covidpipe.provenance import available_cores, prepare_backend, run_record
from covidpipe.registry import DATASETS, MODELS, PARTS, REGIMES
from covidpipe.schemas import HISTORY, IMAGES, SPLIT
from covidpipe.training.card import model_card
from covidpipe.training.labelled import labelled_parts, read_labelled

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


def run(config: Config, recipe_name: str, store: Path, split: Path, images: Path, out: Path) -> None:
    """Train ``config.training[recipe_name]`` and write model.keras, history.parquet, run.json and card.md to `out`.

    Parameters
    ----------
    config : Config
    recipe_name : str
    store : Path
        Folder of the harmonized or enhanced images that the regime feeds.
    split : Path
        Table of folds.
    images : Path
        Image table of the dataset: which files the network has seen goes into run.json.
    out : Path
        Folder, made whole or not at all.
    """
    started = time.time()
    prepare_backend(config.seed)
    from covidpipe.training.fit import Labelled, fit, static_weights

    recipe = config.training[recipe_name]
    schedule = config.schedules[recipe.schedule]
    regime = REGIMES[recipe.task][recipe.regime]
    opened = open_store(store)
    rows = labelled_parts(opened.index, read_frame(split, SPLIT), recipe, config.folds)
    part = {
        name: Labelled(*read_labelled(opened, rows[name], recipe.task), rows[name]["group"].to_numpy(str))
        for name in ("train", "validation")
    }
    model, imagenet = untrained(config, recipe)
    counts = {name: {"images": len(rows[name]), "patients": int(rows[name]["group"].nunique())} for name in PARTS}
    log.info(
        "%s: %s on %s, %d images of %d patients to train, %d of %d to validate, %d parameters",
        recipe_name, recipe.model, recipe.dataset, counts["train"]["images"], counts["train"]["patients"],
        counts["validation"]["images"], counts["validation"]["patients"], model.count_params(),
    )  # fmt: skip
    weights = None if recipe.task == "classify" else static_weights(regime.pixel_weights, part["train"].truth)
    threshold, best_epoch, history = fit(
        model, recipe, schedule, part["train"], part["validation"], config.seed, weights
    )
    best = max(row["value"] for row in history if row["part"] == "validation" and row["measure"] == "score")

    seen = read_frame(images, IMAGES)[["image_id", "source_sha256"]]
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        save_model(model, folder / "model.keras")
        write_table(folder / "history.parquet", history, HISTORY)
        record = run_record(
            "train",
            seed=config.seed,
            started=started,
            device=f"{available_cores()} CPU cores",
            schedule=schedule.model_dump(),
            counts=counts,
            parameters=int(sum(np.prod(w.shape) for w in model.trainable_weights)),
            pixel_weights=weights,
            imagenet=imagenet,
            best_epoch=best_epoch,
            validation_measure="ROC AUC" if recipe.task == "classify" else "pooled Dice",
            validation_score=best,
            weights_sha256=file_sha256(folder / "model.keras"),
            recipe={
                **recipe.model_dump(),
                "name": recipe_name,
                "modality": DATASETS[recipe.dataset].modality,
                "input": regime.input,
                "source_size": config.harmonize.source_size,
                "window_hu": list(config.harmonize.window_hu),
                "threshold": threshold,
                "folds": config.folds,
                "seed": config.seed,
            },
            images={
                sha: name
                for name in PARTS
                for sha in rows[name].merge(seen, on="image_id")["source_sha256"].sort_values()
            },
        )
        write_json(folder / "run.json", record)
        write_text(folder / "card.md", model_card(record))


def untrained(config: Config, recipe: Recipe) -> tuple[keras.Model, dict[str, str] | None]:
    """The network of a recipe as its regime starts it.

    Returns
    -------
    model : keras.Model
    imagenet : dict of str to str, optional
        Which ImageNet weights it starts from: network, file, url, sha256. None: random ones.
    """
    from covidpipe.models import build
    from covidpipe.models.pretrained import build_pretrained

    image_shape = (recipe.image_size, recipe.image_size, recipe.channels)
    if REGIMES[recipe.task][recipe.regime].weights == "random":
        return build(recipe.model, image_shape, 2, width=recipe.width), None
    network = MODELS[recipe.model].backbone
    assert network is not None  # the config refuses the regime
    wanted, folder = config.pretrained.files[network], config.pretrained.weights_dir
    path, sha256 = obtain(
        network,
        wanted.file,
        wanted.url,
        wanted.checksum,
        folder=Path(folder) if folder is not None else None,
        download=config.pretrained.download,
    )
    used = {"network": network, "file": wanted.file, "url": wanted.url, "sha256": sha256}
    return build_pretrained(recipe.model, image_shape, 2, path), used
