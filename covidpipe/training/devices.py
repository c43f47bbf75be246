"""What a network is computed with: precision, and how many GPUs share its batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras

from covidpipe.errors import UsageError
from covidpipe.training.dilated import TappedConv2D, is_slow
from covidpipe.training.norms import FusedBatchNormalization, fused

PLAIN = {FusedBatchNormalization: keras.layers.BatchNormalization, TappedConv2D: keras.layers.Conv2D}


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


def for_training(model: keras.Model) -> keras.Model:
    """The network to train in the place of `model`: on TensorFlow's CPU a copy with faster layers, or else itself."""
    if keras.backend.backend() != "tensorflow":
        return model
    import tensorflow as tf

    return model if tf.config.list_physical_devices("GPU") else _copy(model, _faster)


def _faster(layer: keras.layers.Layer) -> keras.layers.Layer:
    return TappedConv2D.from_config(layer.get_config()) if is_slow(layer) else fused(layer)


def for_use(model: keras.Model) -> keras.Model:
    """A copy of Keras' own layers in float32: what was trained in bfloat16 is used on machines that have none."""

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = PLAIN.get(type(layer), type(layer))
        return kind.from_config({**layer.get_config(), "dtype": "float32"})

    return _copy(model, plain)


def _copy(model: keras.Model, layer_like: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    bare = type(model).from_config(model.get_config())  # clone_model would clone the loss too, and cannot
    copy = keras.models.clone_model(bare, clone_function=layer_like)
    copy.set_weights(model.get_weights())
    return copy


def scope_of(model: keras.Model) -> contextlib.AbstractContextManager:
    """Where the optimizer of a network must be made: with the network's copies, if it has any."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()
