"""Networks that start from ImageNet weights: one way for all of them.

Three steps: the backbone is built as its weights know it and filled from the file; the network that is wanted is built
on three channels, with a new input layer before it; every layer of the backbone gives its weights to the layer of the
same name. What the backbone does not have (decoders, batch normalizations after VGG's convolutions) and the dense
layers stay as they were initialized.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from covidpipe.errors import BadWeights, UsageError
from covidpipe.io.torch_files import read_state_dict
from covidpipe.models import build
from covidpipe.models.applications import features
from covidpipe.registry import BACKBONES, MODELS, Preprocessing

NEW_INPUT = "new_input"

# What torchvision calls the weights of a layer, in the order of Keras.
CONVOLUTION = ("weight",)
NORMALIZATION = ("weight", "bias", "running_mean", "running_var")
THIS_NETWORK = "Give the weights of this very network, or leave `file` out for the published ones."


def build_pretrained(
    name: str, image_shape: tuple[int, int, int], classes: int, weights: str | Path, **settings: Any
) -> keras.Model:
    """Build a network that starts from the ImageNet weights of its backbone.

    Khan et al. (section 3.1.3.2) fine-tune "by adding a new input convolutional layer that coincides with the size of
    CT samples", replace the dense layers and optimize them "from scratch"; segmenters likewise (section 3.2.2). Our
    reading of the new layer: a 1x1 convolution ``new_input`` from the image's channels to three, which starts as
    exactly the preprocessing that the weights were trained with (see `new_input`) and is trained on. So the network
    first sees the grey image in all three channels, and nothing of the published weights is thrown away.

    Parameters
    ----------
    name : str
        A network of the registry that has a backbone.
    image_shape : tuple of int
        Rows, columns, and 1 or 3 channels.
    classes : int
    weights : str or Path
        The file that ``registry.BACKBONES`` describes: ``.h5`` of keras.applications without top, or torchvision's
        ``.safetensors`` or ``.pth``.
    **settings
        Options of the network, as of `covidpipe.models.build`; its width is 1.

    Returns
    -------
    keras.Model
        From (n, rows, columns, channels) in 0..1, as `covidpipe.models.build`; every layer trainable.

    Raises
    ------
    UsageError
        The network has no backbone, or the image not 1 or 3 channels.
    BadWeights
        The file is damaged or holds another network: which layer is missing, unknown or of another shape.
    """
    backbone = MODELS[name].backbone if name in MODELS else None
    if backbone is None:
        known = ", ".join(name for name, spec in MODELS.items() if spec.backbone)
        raise UsageError(f"`{name}` has no ImageNet weights. These have: {known}.")
    rows, columns, channels = image_shape
    network = build(name, (rows, columns, 3), classes, **settings)
    network = with_new_input(network, channels, BACKBONES[backbone].preprocessing)
    source = load_backbone(backbone, weights)
    for layer in source.layers:
        if _transfers(layer):
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return network


def new_input(channels: int, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a 1x1 convolution that does a checkpoint's preprocessing of an image in 0..1.

    Parameters
    ----------
    channels : int
        1: grey, which all three channels get. 3: red, green, blue.
    preprocessing : {"caffe", "tf", "torch"}
        255 x - (103.939, 116.779, 123.68) in the order blue, green, red; 2 x - 1; or
        (x - (.485, .456, .406)) / (.229, .224, .225). As in ``keras.applications.imagenet_utils``.

    Returns
    -------
    kernel : ndarray of float32, (1, 1, channels, 3)
    bias : ndarray of float32, (3,)

    Examples
    --------
    >>> kernel, bias = new_input(1, "tf")
    >>> kernel.ravel().tolist(), bias.tolist()
    ([2.0, 2.0, 2.0], [-1.0, -1.0, -1.0])
    """
    if channels not in (1, 3):
        raise UsageError(f"ImageNet weights take grey images (1 channel) or RGB (3), and {channels} are asked for.")
    scale, shift, order = {
        "caffe": ([255.0] * 3, [-103.939, -116.779, -123.68], [2, 1, 0]),
        "tf": ([2.0] * 3, [-1.0] * 3, [0, 1, 2]),
        "torch": (
            [1 / 0.229, 1 / 0.224, 1 / 0.225],
            [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
            [0, 1, 2],
        ),
    }[preprocessing]
    mixed = np.ones((1, 3)) if channels == 1 else np.eye(3)[:, order]
    return (mixed * scale)[np.newaxis, np.newaxis].astype(np.float32), np.array(shift, np.float32)


def with_new_input(network: keras.Model, channels: int, preprocessing: Preprocessing) -> keras.Model:
    """The same layers, by the same names and freshly initialized, behind a trainable `new_input`.

    Parameters
    ----------
    network : keras.Model
        Takes (n, rows, columns, 3).
    channels : int
        1 or 3, of the new network's image.
    preprocessing : {"caffe", "tf", "torch"}
    """
    rows, columns = network.input.shape[1:3]
    image = keras.Input((rows, columns, channels), name="image")
    # float32 under every precision policy: half precision has no room for 255 x - 103.939
    layer = keras.layers.Conv2D(3, 1, dtype="float32", name=NEW_INPUT)
    adapted = layer(image)
    layer.set_weights(new_input(channels, preprocessing))

    def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(lambda x: adapted if x is image else x, (args, kwargs))
        return layer(*args, **kwargs)

    return keras.models.clone_model(network, input_tensors=image, call_function=call)


def load_backbone(backbone: str, weights: str | Path) -> keras.Model:
    """The network of a backbone as its weights know it, with these weights; its dense layers are random.

    Parameters
    ----------
    backbone : str
        A name of ``registry.BACKBONES``.
    weights : str or Path

    Returns
    -------
    keras.Model
        Layers have the names that they have in every network built on it.
    """
    application = BACKBONES[backbone].application
    suffix = Path(weights).suffix
    if (suffix == ".h5") != (application is not None):
        wanted = "an .h5 file of keras.applications" if application else "a .safetensors or .pth file of torchvision"
        raise BadWeights(f"{weights}: wanted {wanted} for `{backbone}`, and it is called {suffix or 'nothing'}.")
    smallest = MODELS[backbone].smallest
    if application is None:
        network = build(backbone, (smallest, smallest, 3))
        fill_from_torch(network, read_state_dict(weights), BACKBONES[backbone].unused, str(weights))
        return network
    network = features(getattr(keras.applications, application), (smallest, smallest, 3), {})
    try:
        network.load_weights(weights)
    except (ValueError, KeyError, OSError) as error:
        raise BadWeights(
            f"{weights}: wanted the weights of keras.applications.{application} without top, and it does not fit: "
            f"{' '.join(str(error).split())}"
        ) from None
    return network


def fill_from_torch(network: keras.Model, state: dict[str, np.ndarray], unused: tuple[str, ...], where: str) -> None:
    """Give a network the tensors of torchvision's network of the same structure; dense layers keep theirs.

    Layers are found by torchvision's names with ``_`` for ``.``. Kernels go from (out, in, rows, columns) to (rows,
    columns, in, out); those of depthwise convolutions from (channels, 1, rows, columns) to (rows, columns, channels,
    1).

    Parameters
    ----------
    network : keras.Model
    state : dict of str to ndarray
        ``conv1.weight``, ``layer1.0.bn1.running_mean``, ...
    unused : tuple of str
        Beginnings of keys that are not needed.
    where : str
        The file, for the messages.

    Raises
    ------
    BadWeights
        A key is missing or unknown, or a tensor has another shape.
    """
    prefixes = {key.rpartition(".")[0] for key in state if not key.startswith(unused)}
    by_layer = {prefix.replace(".", "_"): prefix for prefix in prefixes}
    wanted: set[str] = set()
    for layer in network.layers:
        if not _transfers(layer):
            continue
        prefix = by_layer.get(layer.name)
        if prefix is None:
            raise BadWeights(f"{where}: it has nothing for layer `{layer.name}` of `{network.name}`. {THIS_NETWORK}")
        keys = NORMALIZATION if isinstance(layer, keras.layers.BatchNormalization) else CONVOLUTION
        values = []
        for key, has in zip((f"{prefix}.{key}" for key in keys), layer.get_weights(), strict=True):
            if key not in state:
                raise BadWeights(
                    f"{where}: `{key}` is missing, for layer `{layer.name}` of `{network.name}`. {THIS_NETWORK}"
                )
            value = _in_keras_order(state[key], layer)
            if value.shape != has.shape:
                raise BadWeights(
                    f"{where}: `{key}` has the shape {state[key].shape}, which makes {value.shape} here, and layer "
                    f"`{layer.name}` of `{network.name}` wants {has.shape}. {THIS_NETWORK}"
                )
            wanted.add(key)
            values.append(value)
        layer.set_weights(values)
    ignored = (*unused, *(f"{prefix}.num_batches_tracked" for prefix in prefixes))
    unknown = [key for key in state if key not in wanted and not key.startswith(ignored)]
    if unknown:
        listed = ", ".join(f"`{key}`" for key in unknown[:5])
        raise BadWeights(f"{where}: `{network.name}` has no place for {listed}. {THIS_NETWORK}")


def _in_keras_order(value: np.ndarray, layer: keras.layers.Layer) -> np.ndarray:
    if value.ndim != 4:
        return value
    return value.transpose((2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0))


def _transfers(layer: keras.layers.Layer) -> bool:
    """True for what a backbone gives away: all that has weights but the classifier's dense layers."""
    return bool(layer.weights) and not isinstance(layer, keras.layers.Dense)
