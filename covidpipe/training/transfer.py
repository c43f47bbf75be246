"""Starting from another training: pneumonia before COVID-19 (Alom et al.), lungs in X-rays before lungs in CT."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import keras

from covidpipe.errors import CovidpipeError
from covidpipe.io.files import check_weights, read_json
from covidpipe.registry import PARTS

log = logging.getLogger(__name__)


def start_from(model: keras.Model, weights: Path) -> list[str]:
    """Give `model` the weights of the trained network in the file `weights`, layer by layer.

    A layer is taken over if all its weights have the same names and shapes in both; the others, such as a head for
    other classes or a dense layer behind images of another size, stay as they were and are named in the log.

    Parameters
    ----------
    model : keras.Model
        Of the same architecture; changed in place.
    weights : Path
        ``model.keras``.

    Returns
    -------
    list of str
        Names of the layers that stay new.

    Raises
    ------
    CovidpipeError
        The file is missing, or no layer fits.
    """
    if not weights.is_file():
        raise CovidpipeError(f"{weights}: wanted the network to start from, found no such file. Train it first.")
    record = weights.parent / "run.json"
    if record.is_file():
        check_weights(weights, read_json(record)["weights_sha256"], "Train it again.")
    parent = keras.saving.load_model(weights, compile=False, safe_mode=True)
    theirs = {weight.path: weight for weight in parent.weights}
    new: list[str] = []
    count = 0
    for layer, group in groupby(sorted(model.weights, key=_layer), key=_layer):
        mine = list(group)
        count += 1
        if all(w.path in theirs and w.shape == theirs[w.path].shape for w in mine):
            for weight in mine:
                weight.assign(theirs[weight.path])
        else:
            new.append(layer)
    if len(new) == count:
        raise CovidpipeError(
            f"{weights}: no layer of {model.name} has the same name and shape there. "
            "Let `init_from` name a network of this model and width."
        )
    log.info("%d of %d layers start from %s; new are: %s", count - len(new), count, weights, ", ".join(new) or "none")
    return new


def _layer(weight: keras.Variable) -> str:
    return weight.path.rpartition("/")[0]


def images_seen(own: Mapping[str, str], parent: Mapping[str, str]) -> dict[str, str]:
    """What a network has seen in its own training and in that of the network it started from.

    Parameters
    ----------
    own, parent : mapping of source_sha256 to part

    Returns
    -------
    dict of str to str
        The part of each image; if both had it, the one that flatters the network most.

    Examples
    --------
    >>> images_seen({"a": "test", "b": "train"}, {"a": "train", "b": "test", "c": "validation", "d": "test"})
    {'a': 'train', 'c': 'validation', 'b': 'train'}
    """
    seen = {sha: part for sha, part in parent.items() if part != "test"}
    return {**seen, **{sha: min(part, seen.get(sha, part), key=PARTS.index) for sha, part in own.items()}}
