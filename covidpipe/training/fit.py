"""One training run: optimizer, schedule, the best weights on validation patients, the history as rows.

What is drawn, changed and dropped in an epoch depends on the seed and the epoch, so that a run that was killed goes on
from its newest checkpoint to the same history and the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from covidpipe.config import Recipe, Schedule
from covidpipe.errors import CovidpipeError
from covidpipe.io.events import EventLog
from covidpipe.io.resume import Checkpoint, Checkpoints
from covidpipe.progress import track
from covidpipe.provenance import available_cores
from covidpipe.training.batches import Batch, Batches
from covidpipe.training.devices import scope_of
from covidpipe.training.labelled import Labelled
from covidpipe.training.losses import class_weights, segmentation_loss
from covidpipe.training.stopping import StopRequests
from covidpipe.training.sums import gradients_summed_in_pairs
from covidpipe.training.validation import Verdict, judge
from covidpipe.words import duration

log = logging.getLogger(__name__)

MOST_WORKERS = 8  # threads that prepare batches
UNCHOSEN = 0.5  # the threshold where there are no validation patients to choose it by


@dataclass(frozen=True)
class Best:
    """The epoch whose weights are kept; of equally good ones, the earliest."""

    epoch: int = -1
    score: float = -math.inf
    threshold: float = UNCHOSEN
    weights: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """What a training found.

    ``threshold`` is the probability above which a pixel or an image is called positive; ``history`` holds rows of the
    HISTORY table; ``facts`` tell of the run itself and differ from run to run: seconds, images_per_second,
    input_wait_share (of the training time, in which the next batch was not ready), peak_memory_mib,
    resumed_after_epochs (None for a run in one go). ``best_score`` is None without validation patients.
    """

    threshold: float
    best_epoch: int
    best_score: float | None
    history: list[dict[str, Any]]
    facts: dict[str, Any]


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
        # A step's rate holds up to and with its boundary, and steps count from 0.
        ends = [
            epoch * steps_per_epoch - 1 for epoch in range(schedule.decay_every, schedule.epochs, schedule.decay_every)
        ]
        if ends:
            rate = keras.optimizers.schedules.PiecewiseConstantDecay(ends, [rate / 10**k for k in range(len(ends) + 1)])
    mean: dict[str, Any] = {}
    if schedule.average:
        mean = {"use_ema": True, "ema_momentum": schedule.average}
    if schedule.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=schedule.momentum, **mean)
    if schedule.optimizer == "adam":
        return keras.optimizers.Adam(rate, **mean)
    return keras.optimizers.AdamW(rate, weight_decay=1e-4, **mean)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Put the running mean of the weights, where the schedule asks for one, in the place of the newest."""
    if not model.optimizer.use_ema:
        yield
        return
    newest = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for weight, value in zip(model.trainable_variables, newest, strict=True):
            weight.assign(value)


@gradients_summed_in_pairs()
def fit(
    model: keras.Model,
    recipe: Recipe,
    schedule: Schedule,
    train: Labelled,
    validation: Labelled | None,
    seed: int,
    weights: tuple[float, float] | None,
    *,
    checkpoints: Checkpoints | None = None,
    events: EventLog | None = None,
    stop: StopRequests | None = None,
) -> Fitted:
    """Train `model` in place and leave it with the weights of its best epoch, or of its last.

    Parameters
    ----------
    model : keras.Model
    recipe : Recipe
    schedule : Schedule
    train : Labelled
    validation : Labelled, optional
        None: the last epoch is kept.
    seed : int
    weights : tuple of float, optional
        Weights of (background, foreground); None weighs all pixels alike.
    checkpoints : Checkpoints, optional
        Resumed from, and written after each epoch.
    events : EventLog, optional
        Gets the history as it grows.
    stop : StopRequests, optional
        Asked after each batch.

    Returns
    -------
    Fitted

    Raises
    ------
    Preempted
        `stop` was told to.
    CovidpipeError
        The weights have run away: the loss is no number.
    """
    stop = stop or StopRequests()
    batches = Batches(
        train, batch_size=schedule.batch_size, channels=recipe.channels, seed=seed,
        images_per_epoch=schedule.images_per_epoch, balance=schedule.balance == "classes", preset=schedule.augment,
        flip=schedule.flip,
    )  # fmt: skip
    loss: Any
    if recipe.task == "classify":
        loss = keras.losses.SparseCategoricalCrossentropy()
    else:
        loss = segmentation_loss(schedule.loss, weights or (1.0, 1.0))
    with scope_of(model):
        # XLA takes minutes to compile a large network on TensorFlow; JAX without it computes layer by layer.
        compiled = keras.backend.backend() == "jax"
        model.compile(make_optimizer(schedule, len(batches)), loss=loss, jit_compile=compiled)
        # Otherwise the first step makes hundreds of variables inside the graph and traces it twice.
        model.optimizer.build(model.trainable_variables)
    run = _Run(model, checkpoints)
    first = run.resume()
    if first:
        log.info("going on after epoch %d of %d, of %s", first, schedule.epochs, recipe.model)
    _show(events, run.history)

    began, training = time.monotonic(), 0.0
    feed = _Feed(model, batches, first, schedule.epochs)
    step = _Step(model)
    for epoch in range(first, schedule.epochs):
        started = time.monotonic()
        if keras.backend.backend() == "torch":
            # Its dropout draws from a state that no checkpoint holds. On TensorFlow a new seed clears every compiled
            # function, which takes a deep network longer to make again than an epoch.
            keras.utils.set_random_seed(seed + epoch)
        step.start_epoch()
        title = f"epoch {epoch + 1}/{schedule.epochs}"
        for _ in track(range(len(batches)), len(batches), "batches", title=title):
            step.train(feed.next())
            stop.check()
        mean_loss = step.mean_loss()
        trained = time.monotonic() - started
        with averaged(model):
            verdict = None if validation is None else judge(model, validation, recipe.channels, between=stop.check)
            kept = model.get_weights()
        if not math.isfinite(mean_loss + (0 if verdict is None else verdict.score)):
            raise CovidpipeError(
                f"epoch {epoch + 1}: {recipe.model} no longer answers with numbers (loss {mean_loss}). Lower "
                f"`learning_rate` ({schedule.learning_rate:g}) in the schedule."
            )
        training += trained
        last = verdict is None or schedule.keep == "last"
        rows = run.finish_epoch(epoch, mean_loss, verdict, kept, time.monotonic() - started, always=last)
        _show(events, rows)
        measures = {} if verdict is None else verdict.measures
        said = "".join(f", validation {name} {value:.4f}" for name, value in measures.items())
        left = (time.monotonic() - began) / (epoch + 1 - first) * (schedule.epochs - epoch - 1)
        log.info(
            "%s: loss %.4f%s, %.1f s, %.0f images/s, %s left", title, mean_loss, said, time.monotonic() - started,
            len(batches) * schedule.batch_size / trained, duration(left),
        )  # fmt: skip
    model.set_weights(run.best.weights)
    images = (schedule.epochs - first) * len(batches) * schedule.batch_size
    facts = {
        "seconds": round(run.seconds, 1),
        "images_per_second": round(images / training, 1) if training else None,
        "input_wait_share": round(feed.waited / training, 4) if training else None,
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "resumed_after_epochs": first or None,
    }
    score = None if validation is None else run.best.score
    return Fitted(run.best.threshold, run.best.epoch, score, run.history, facts)


def _show(events: EventLog | None, rows: list[dict[str, Any]]) -> None:
    if events is not None:
        for row in rows:
            events.add(row["epoch"], f"{row['part']}/{row['measure']}", row["value"])


class _Run:
    """What grows from epoch to epoch, and its way to a checkpoint and back."""

    def __init__(self, model: keras.Model, checkpoints: Checkpoints | None):
        self.model, self.checkpoints = model, checkpoints
        self.history: list[dict[str, Any]] = []
        self.best = Best()
        self.seconds = 0.0

    def _variables(self) -> dict[str, list[Any]]:
        # `variables`, not `weights`: the states of the random generators of dropout are among them
        return {"model": self.model.variables, "optimizer": self.model.optimizer.variables}

    def resume(self) -> int:
        """Take over the newest checkpoint, if there is one, and return the number of finished epochs."""
        found = self.checkpoints.load() if self.checkpoints else None
        if found is None:
            return 0
        for kind, variables in self._variables().items():
            for variable, value in zip(variables, found.arrays[kind], strict=True):
                variable.assign(value)
        facts = found.facts
        self.history, self.seconds = facts["history"], facts["seconds"]
        self.best = Best(weights=list(found.arrays["best"]), **facts["best"])
        return facts["epochs"]

    def finish_epoch(
        self,
        epoch: int,
        mean_loss: float,
        verdict: Verdict | None,
        weights: list[np.ndarray],
        seconds: float,
        *,
        always: bool,
    ) -> list[dict[str, Any]]:
        """Keep the weights if they are the best (or `always`), save everything, and return the epoch's history rows."""
        told_of = {"train": {"loss": mean_loss}, "validation": {} if verdict is None else verdict.measures}
        rows = [
            {"epoch": epoch, "part": part, "measure": name, "value": value}
            for part, values in told_of.items()
            for name, value in values.items()
        ]
        self.history += rows
        self.seconds += seconds
        if verdict is None:
            self.best = Best(epoch, weights=weights)
        elif always or verdict.score > self.best.score:
            self.best = Best(epoch, verdict.score, verdict.threshold, weights)
        if self.checkpoints:
            arrays = {
                kind: [keras.ops.convert_to_numpy(variable) for variable in variables]
                for kind, variables in self._variables().items()
            }
            best = {"epoch": self.best.epoch, "score": self.best.score, "threshold": self.best.threshold}
            facts = {"epochs": epoch + 1, "history": self.history, "seconds": self.seconds, "best": best}
            self.checkpoints.save(Checkpoint({**arrays, "best": self.best.weights}, facts))
        return rows


class _Feed:
    """Batches of all epochs to come, made ahead by threads, also while the validation runs; on TensorFlow by tf.data.

    What is left of the network's cores after its own main thread prepares batches. tf.data takes them from the same
    threads, one ahead of the network, so that copying them into tensors overlaps too.
    """

    def __init__(self, model: keras.Model, batches: Batches, first: int, last: int):
        self.waited = 0.0  # seconds
        workers = max(1, min(MOST_WORKERS, available_cores() - 1))
        self._batches: Iterator[Any]
        if keras.backend.backend() == "tensorflow":
            self._batches = _by_tf_data(model, batches, lambda: batches.stream(first, last, workers))
        else:
            self._batches = batches.stream(first, last, workers)

    def next(self) -> Any:
        started = time.monotonic()
        batch = next(self._batches)
        self.waited += time.monotonic() - started
        return batch


def _by_tf_data(model: keras.Model, batches: Batches, stream: Callable[[], Iterator[Batch]]) -> Iterator[Any]:
    import tensorflow as tf

    inputs, truth = batches.shapes
    signature = (tf.TensorSpec(inputs, tf.float32), tf.TensorSpec(truth, tf.uint8))
    dataset = tf.data.Dataset.from_generator(stream, output_signature=signature)
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return iter(strategy.experimental_distribute_dataset(dataset.with_options(options)))
    return iter(dataset.prefetch(1))


class _Step:
    """One optimizer step a batch, and the mean loss of an epoch's batches."""

    def __init__(self, model: keras.Model):
        self._model = model
        self._tensorflow = keras.backend.backend() == "tensorflow"
        self._losses: list[float] = []
        if self._tensorflow:
            model.make_train_function()

    def start_epoch(self) -> None:
        self._losses = []
        self._model.reset_metrics()

    def train(self, batch: Any) -> None:
        if self._tensorflow:
            # train_on_batch would forget the mean so far, wait for the GPU after each step, and give every GPU the
            # whole batch.
            self._model.train_function(iter([batch]))
        else:
            self._losses.append(float(self._model.train_on_batch(*batch)))

    def mean_loss(self) -> float:
        # Not what train_function returns: with several GPUs, that is the sum over them.
        return float(self._model.get_metrics_result()["loss"] if self._tensorflow else np.mean(self._losses))


def static_weights(recipe_weighting: str, foreground: float) -> tuple[float, float] | None:
    """Pixel weights of a regime from the foreground's share of the training pixels: None for ``uniform``."""
    return class_weights(foreground) if recipe_weighting == "median_frequency" else None
