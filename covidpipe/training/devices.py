"""What a network is computed with: precision, and how many GPUs share its batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from covidpipe.errors import UsageError


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Networks built inside compute in ``float32``, or in bfloat16 with float32 weights (``mixed_bfloat16``).

    Their last layer, and so every probability, is float32 in both.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def shared_by(gpus: int) -> contextlib.AbstractContextManager:
    """Networks built inside are copied to `gpus` GPUs of this machine, which share each batch.

    Raises
    ------
    UsageError
        There are fewer GPUs, or the backend is not TensorFlow.
    """
    if gpus == 1:
        return contextlib.nullcontext()
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UsageError(
            f"gpus: {gpus} was asked for; batches are shared by GPUs on the backend tensorflow only, and this is "
            f"{backend}. Leave `gpus` out of the schedule, or set KERAS_BACKEND=tensorflow."
        )
    import tensorflow as tf

    found = [device.name for device in tf.config.list_logical_devices("GPU")]
    if len(found) < gpus:
        raise UsageError(
            f"gpus: {gpus} was asked for, and this process sees {len(found)}. Ask the cluster for as many "
            "(`set-resources: train_model: gpu:` in the profile), or lower `gpus` in the schedule."
        )
    return tf.distribute.MirroredStrategy(found[:gpus]).scope()


def in_float32(model: keras.Model) -> keras.Model:
    """A copy that computes in float32: what was trained in bfloat16 is used on machines that have none."""

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    bare = type(model).from_config(model.get_config())  # clone_model would clone the loss too, and cannot
    copy = keras.models.clone_model(bare, clone_function=plain)
    copy.set_weights(model.get_weights())
    return copy


def scope_of(model: keras.Model) -> contextlib.AbstractContextManager:
    """Where the optimizer of a network must be made: with the network's copies, if it has any."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()
