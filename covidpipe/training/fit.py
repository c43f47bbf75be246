"""One training run: optimizer, schedule, the best weights on validation patients, the history as rows."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from covidpipe.config import Recipe, Schedule
from covidpipe.metrics import classification, segmentation
from covidpipe.training.batches import Batches, to_input
from covidpipe.training.losses import class_weights, segmentation_loss

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Images with their truth: `images` uint8 (n, rows, columns), `truth` uint8 labels (n,) or masks like `images`."""

    images: np.ndarray
    truth: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class Best:
    """The epoch whose weights are kept; of equals, the earliest."""

    epoch: int = -1
    score: float = -np.inf
    weights: list[np.ndarray] = field(default_factory=list)
    probability: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def make_optimizer(schedule: Schedule, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of a schedule, its learning rate decaying as the schedule says."""
    rate: Any = schedule.learning_rate
    steps = steps_per_epoch * schedule.epochs
    if schedule.decay == "cosine":
        warmup = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, max(1, steps - warmup), warmup_target=rate, warmup_steps=warmup
        )
    elif schedule.decay == "step":
        edges = [
            epoch * steps_per_epoch for epoch in range(schedule.decay_every, schedule.epochs, schedule.decay_every)
        ]
        if edges:
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(
                edges, [rate / 10**k for k in range(len(edges) + 1)]
            )
    if schedule.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=schedule.momentum)
    if schedule.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    return keras.optimizers.AdamW(rate, weight_decay=1e-4)


def predict(model: keras.Model, images: np.ndarray, channels: int, batch_size: int = 16) -> np.ndarray:
    """Foreground (or COVID-19) probabilities, float32 (n,) or (n, rows, columns), a batch at a time."""
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        full = np.resize(batch, (batch_size, *batch.shape[1:]))  # one shape: a graph is traced for each
        parts.append(
            keras.ops.convert_to_numpy(model.predict_on_batch(to_input(full, channels)))[: len(batch), ..., -1]
        )
    return np.concatenate(parts).astype(np.float32)


def validation_measures(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What is watched during training; ``score`` is what the best epoch is chosen by (larger is better).

    The ROC AUC for labels, or minus the loss where validation holds one class only; for masks the pooled Dice at the
    threshold that serves it best.
    """
    if truth.ndim == 1:
        loss = classification.cross_entropy(probability, truth)
        area = classification.roc_auc(probability, truth)
        return {"loss": loss, "score": -loss if area is None else area}
    threshold = best_threshold(probability, truth)
    pooled = segmentation.dice(probability >= threshold, truth > 0)
    return {"score": 1.0 if pooled is None else pooled}


def best_threshold(probability: np.ndarray, truth: np.ndarray) -> float:
    """The threshold that serves the validation part best, of 0.05, 0.10, ... 0.95; 0.5 where several do.

    Pooled Dice for masks, balanced accuracy for labels; never chosen on test patients.
    """
    grid = np.round(np.arange(0.05, 1.0, 0.05), 2)
    if truth.ndim == 1:
        scores = [classification.balanced_accuracy(probability >= t, truth > 0) or 0.0 for t in grid]
    else:
        scores = [segmentation.dice(probability >= t, truth > 0) or 0.0 for t in grid]
    best = grid[np.isclose(scores, max(scores), atol=1e-9)]
    return float(best[np.argmin(np.abs(best - 0.5))])


def fit(
    model: keras.Model,
    recipe: Recipe,
    schedule: Schedule,
    train: Labelled,
    validation: Labelled,
    seed: int,
    weights: tuple[float, float] | None,
) -> tuple[float, int, list[dict[str, Any]]]:
    """Train `model` in place and leave it with the weights of its best epoch.

    Parameters
    ----------
    model : keras.Model
    recipe : Recipe
    schedule : Schedule
    train, validation : Labelled
    seed : int
    weights : tuple of float, optional
        Weights of (background, foreground); None weighs all pixels alike.

    Returns
    -------
    threshold : float
        The probability above which a pixel or an image is called positive.
    best_epoch : int
    history : list of dict
        Rows of the HISTORY table.
    """
    batches = Batches(
        train.images, train.truth, train.groups, batch_size=schedule.batch_size, channels=recipe.channels, seed=seed,
        images_per_epoch=schedule.images_per_epoch, augmented=schedule.augment != "none",
    )  # fmt: skip
    loss: Any
    if recipe.task == "classify":
        loss = keras.losses.SparseCategoricalCrossentropy()
    else:
        loss = segmentation_loss(schedule.loss, weights or (1.0, 1.0))
    model.compile(make_optimizer(schedule, len(batches)), loss=loss, jit_compile=False)
    # Otherwise the first step makes hundreds of variables inside the graph and traces it twice.
    model.optimizer.build(model.trainable_variables)
    history: list[dict[str, Any]] = []
    best = Best()
    for epoch in range(schedule.epochs):
        started = time.monotonic()
        # Not Model.fit: it feeds TensorFlow by a generator, which makes malloc give every tensor back to the system
        # at once; a step then takes up to twice as long on a CPU.
        model.reset_metrics()
        for images, truth in batches.epoch(epoch):
            loss_so_far = model.train_on_batch(images, truth)  # the mean since reset_metrics
        mean_loss = float(loss_so_far)
        probability = predict(model, validation.images, recipe.channels)
        measures = validation_measures(probability, validation.truth)
        for part, values in (("train", {"loss": mean_loss}), ("validation", measures)):
            history += [{"epoch": epoch, "part": part, "measure": k, "value": v} for k, v in values.items()]
        if measures["score"] > best.score:
            best = Best(epoch, measures["score"], model.get_weights(), probability)
        said = " ".join(f"{name} {value:.4f}" for name, value in measures.items())
        seconds = time.monotonic() - started
        log.info("epoch %d/%d: loss %.4f, validation %s, %.1f s", epoch + 1, schedule.epochs, mean_loss, said, seconds)
    model.set_weights(best.weights)
    return best_threshold(best.probability, validation.truth), best.epoch, history


def static_weights(recipe_weighting: str, truth: np.ndarray) -> tuple[float, float] | None:
    """Pixel weights of a regime from the training masks: None for ``uniform``."""
    return class_weights(float(truth.mean())) if recipe_weighting == "median_frequency" else None
