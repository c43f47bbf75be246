"""Networks of ``keras.applications`` in this package's form: any channels, own head, layer names that never change."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import keras

from covidpipe.models.layers import probabilities


def classifier(application: Callable[..., keras.Model], image_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Untrained network with its own top (its dense layers too) for `classes` classes, at any size it can take."""
    core = application(
        include_top=True, weights=None, input_shape=image_shape, classes=classes, classifier_activation=None
    )
    core = renamed(core)
    return keras.Model(core.input, probabilities(core.output, "probabilities"), name=core.name)


def features(
    application: Callable[..., keras.Model],
    image_shape: tuple[int, int, int],
    changes: Mapping[str, Mapping[str, Any]],
) -> keras.Model:
    """Untrained network without its top.

    Parameters
    ----------
    application : callable
        One of ``keras.applications``.
    image_shape : tuple of int
    changes : mapping of str to mapping
        By layer name, settings of the layer that differ: a stride, a dilation.
    """
    return renamed(application(include_top=False, weights=None, input_shape=image_shape), changes)


def renamed(model: keras.Model, changes: Mapping[str, Mapping[str, Any]] | None = None) -> keras.Model:
    """The same network with the layers that Keras numbered through the process numbered within the network.

    Xception's and Inception's ``conv2d_17`` would be another layer each time such a network is built.

    Parameters
    ----------
    model : keras.Model
    changes : mapping of str to mapping, optional
        By layer name, settings that differ.

    Returns
    -------
    keras.Model
        Freshly initialized.
    """
    changes = changes or {}
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()  # as Keras names it
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            counts[kind] = counts.get(kind, 0) + 1
            names[layer.name] = f"{kind}_{counts[kind]}"

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = {**layer.get_config(), "name": names.get(layer.name, layer.name), **changes.get(layer.name, {})}
        return type(layer).from_config(config)

    image = keras.Input(model.input_shape[1:], name="image")
    return keras.models.clone_model(model, input_tensors=image, clone_function=clone)
