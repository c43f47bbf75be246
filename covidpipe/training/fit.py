"""One training run: optimizer, schedule, the best weights on validation patients, the history as rows."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
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
        edges = [epoch * steps_per_epoch for epoch in range(25, schedule.epochs, 25)]
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
    parts = [
        np.asarray(model.predict_on_batch(to_input(images[i : i + batch_size], channels)))[..., -1]
        for i in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype(np.float32)


class KeepBest(keras.callbacks.Callback):
    """After each epoch, score the validation part, log one line, and remember the best weights.

    The score is the pooled Dice for masks and the ROC AUC for labels; where validation holds one class only, minus
    the loss. A tie keeps the earlier epoch.
    """

    def __init__(self, validation: Labelled, channels: int, epochs: int):
        super().__init__()
        self.validation, self.channels, self.epochs = validation, channels, epochs
        self.rows: list[dict[str, Any]] = []
        self.best_score, self.best_epoch = -np.inf, -1
        self.best_weights: list[np.ndarray] = []
        self.best_probability = np.zeros(0, np.float32)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        probability = predict(self.model, self.validation.images, self.channels)
        measures = validation_measures(probability, self.validation.truth)
        seconds = time.monotonic() - self._started
        for part, values in (("train", {"loss": float((logs or {})["loss"])}), ("validation", measures)):
            self.rows += [{"epoch": epoch, "part": part, "measure": k, "value": v} for k, v in values.items()]
        score = measures["score"]
        if score > self.best_score:
            self.best_score, self.best_epoch = score, epoch
            self.best_weights = self.model.get_weights()
            self.best_probability = probability
        said = " ".join(f"{name} {value:.4f}" for name, value in measures.items())
        log.info("epoch %d/%d: loss %.4f, validation %s, %.1f s", epoch + 1, self.epochs, logs["loss"], said, seconds)


def validation_measures(probability: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """What is watched during training; ``score`` is what the best epoch is chosen by (larger is better)."""
    if truth.ndim == 1:
        loss = classification.cross_entropy(probability, truth)
        area = classification.roc_auc(probability, truth)
        return {"loss": loss, "score": -loss if area is None else area}
    pooled = segmentation.dice(probability >= 0.5, truth > 0)
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
        images_per_epoch=schedule.images_per_epoch, augmented=schedule.augment,
    )  # fmt: skip
    loss: Any
    if recipe.task == "classify":
        loss = keras.losses.SparseCategoricalCrossentropy()
    else:
        loss = segmentation_loss(schedule.loss, weights or (1.0, 1.0))
    model.compile(make_optimizer(schedule, len(batches)), loss=loss)
    # Otherwise the first step makes hundreds of variables inside the graph and traces it twice.
    model.optimizer.build(model.trainable_variables)
    keep = KeepBest(validation, recipe.channels, schedule.epochs)
    model.fit(batches, epochs=schedule.epochs, verbose=0, shuffle=False, callbacks=[keep])
    model.set_weights(keep.best_weights)
    return best_threshold(keep.best_probability, validation.truth), keep.best_epoch, keep.rows


def static_weights(recipe_weighting: str, truth: np.ndarray) -> tuple[float, float] | None:
    """Pixel weights of a regime from the training masks: None for ``uniform``."""
    return class_weights(float(truth.mean())) if recipe_weighting == "median_frequency" else None
