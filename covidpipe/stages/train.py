"""Train one network: store and split in, a model folder out."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covidpipe import paths
from covidpipe.config import Config, Recipe
from covidpipe.inference.batched import probabilities
from covidpipe.io.checkpoints import obtain
from covidpipe.io.events import EventLog
from covidpipe.io.files import file_sha256, read_frame, read_json, replacing, write_json, write_table, write_text
from covidpipe.io.keras_files import save_model
from covidpipe.io.resume import Checkpoints
from covidpipe.io.store import open_store
from covidpipe.metrics.calibration import fit_temperature
from covidpipe.metrics.temperature import temper
from covidpipe.provenance import code_fingerprint, device_name, prepare_backend, run_record
from covidpipe.registry import DATASETS, MODELS, PARTS, REGIMES
from covidpipe.schemas import HISTORY, IMAGES, SPLIT
from covidpipe.training.augmentation import PRESETS
from covidpipe.training.card import model_card
from covidpipe.training.labelled import Labelled, labelled_parts, read_labelled
from covidpipe.training.stopping import StopRequests

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
        Folder, made whole or not at all. Until then checkpoints lie beside it, in ``{out}.unfinished``: whatever ended
        a training, even SIGKILL, the same command goes on after its last finished epoch.

    Raises
    ------
    Preempted
        SIGTERM or SIGUSR1 came.
    """
    started = time.time()
    prepare_backend(config.seed)
    from covidpipe.training.devices import for_training, for_use, precision, shared_by
    from covidpipe.training.fit import fit, static_weights
    from covidpipe.training.transfer import images_seen, start_from

    recipe = config.training[recipe_name]
    schedule = config.schedules[recipe.schedule]
    regime = REGIMES[recipe.task][recipe.regime]
    opened = open_store(store)
    rows = labelled_parts(opened.index, read_frame(split, SPLIT), recipe, config.folds)
    with precision(schedule.precision), shared_by(schedule.gpus):
        model, imagenet = untrained(config, recipe)
    parent = None if recipe.init_from is None else paths.model(config, config.training[recipe.init_from])
    if parent is not None:
        start_from(model, parent / "model.keras")
    model = for_training(model)
    counts = {name: {"images": len(rows[name]), "patients": int(rows[name]["group"].nunique())} for name in PARTS}
    log.info(
        "%s: %s on %s, %d images of %d patients to train, %d of %d to validate, %d parameters",
        recipe_name, recipe.model, recipe.dataset, counts["train"]["images"], counts["train"]["patients"],
        counts["validation"]["images"], counts["validation"]["patients"], model.count_params(),
    )  # fmt: skip
    unfinished = out.with_name(f"{out.name}.unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    with StopRequests() as stop:
        read = functools.partial(read_labelled, opened, task=recipe.task, folder=unfinished, between=stop.check)
        train = read(rows["train"], with_lungs=PRESETS[schedule.augment].level)
        validation = read(rows["validation"]) if recipe.validation == "fold" else None
        weights = None if recipe.task == "classify" else static_weights(regime.pixel_weights, train.foreground)
        deciding = {
            "recipe": recipe.model_dump(),
            "schedule": schedule.model_dump(exclude={"text"}),
            "seed": config.seed,
            "data": data_sha256(*(part for part in (train, validation) if part is not None)),
            "code": code_fingerprint("train", MODELS[recipe.model].module),
            "imagenet": imagenet,
            "parent": None if parent is None else file_sha256(parent / "model.keras"),
        }
        key = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        events = EventLog(unfinished / "tensorboard") if config.tensorboard else None
        fitted = fit(
            model, recipe, schedule, train, validation, config.seed, weights,
            checkpoints=Checkpoints(unfinished, key), events=events, stop=stop,
        )  # fmt: skip
    model = for_use(model)
    temperature, threshold = 1.0, fitted.threshold
    if recipe.task == "classify":
        assert validation is not None, "the config refuses a classifier without validation patients"
        said = probabilities(model, validation.images, recipe.channels)
        temperature = fit_temperature(said, np.asarray(validation.truth) > 0)
        threshold = float(temper(threshold, temperature))  # the same images stay positive

    seen = read_frame(images, IMAGES)[["image_id", "source_sha256"]]
    with replacing(out) as folder:
        folder.mkdir(parents=True)
        save_model(model, folder / "model.keras")
        write_table(folder / "history.parquet", fitted.history, HISTORY)
        if events is not None:
            shutil.copytree(unfinished / "tensorboard", folder / "tensorboard")
        record = run_record(
            "train",
            seed=config.seed,
            started=started,
            device=device_name(),
            training=fitted.facts,
            data_sha256=deciding["data"],
            fingerprint=key,
            schedule=schedule.model_dump(),
            counts=counts,
            parameters=int(sum(np.prod(w.shape) for w in model.trainable_weights)),
            pixel_weights=weights,
            imagenet=imagenet,
            parent=None if parent is None else {"name": recipe.init_from, "weights_sha256": deciding["parent"]},
            best_epoch=fitted.best_epoch,
            validation_measure="ROC AUC" if recipe.task == "classify" else "pooled Dice",
            validation_score=fitted.best_score,
            weights_sha256=file_sha256(folder / "model.keras"),
            recipe={
                **recipe.model_dump(),
                "name": recipe_name,
                "modality": DATASETS[recipe.dataset].modality,
                "input": regime.input,
                "source_size": config.harmonize.source_size,
                "window_hu": list(config.harmonize.window_hu),
                "threshold": threshold,
                "temperature": temperature,
                "folds": config.folds,
                "seed": config.seed,
            },
            images=images_seen(
                {
                    sha: name
                    for name in PARTS
                    for sha in rows[name].merge(seen, on="image_id")["source_sha256"].sort_values()
                },
                {} if parent is None else read_json(parent / "run.json")["images"],
            ),
        )
        write_json(folder / "run.json", record)
        write_text(folder / "card.md", model_card(record))
    shutil.rmtree(unfinished)


def data_sha256(*parts: Labelled) -> str:
    """Hash of every image, truth and group that a training uses."""
    return hashlib.sha256(json.dumps([part.sha256 for part in parts]).encode()).hexdigest()


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
