"""The networks of both papers, by name. Keras is imported when a network is built, not before."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from covidpipe.errors import UsageError, choose, did_you_mean
from covidpipe.registry import MODELS

if TYPE_CHECKING:
    import keras


def options(name: str) -> dict[str, Any]:
    """Options of a network and their defaults, for `build`.

    Parameters
    ----------
    name : str
        A name of ``covidpipe.registry.MODELS``.

    Raises
    ------
    UsageError
        If no network is called so.

    Examples
    --------
    >>> options("nabla3")
    {'width': 1.0, 't': 2}
    """
    parameters = inspect.signature(_architecture(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(
    name: str, image_shape: tuple[int, int, int] = (304, 304, 1), classes: int = 2, **settings: Any
) -> keras.Model:
    """Build an untrained network.

    Parameters
    ----------
    name : str
        A name of ``covidpipe.registry.MODELS`` (``covidpipe models`` lists them).
    image_shape : tuple of int
        Rows, columns and channels of the input. Any size works from the registry's ``smallest`` on (16 for most), odd
        ones too.
    classes : int
        Classes told apart; class 1 is COVID-19, infection or lung, class 0 the rest. One class (segmenters only) is
        a single sigmoid channel.
    **settings
        Options of the architecture (see `options`). Scalable ones have ``width`` in (0, 1]: the share of the paper's
        channels.

    Returns
    -------
    keras.Model
        From float32 (n, rows, columns, channels) in 0..1 to float32 probabilities: (n, classes) for a classifier,
        (n, rows, columns, classes) for a segmenter.

    Raises
    ------
    UsageError
        If the name, an option or a value is not known, with what would work.

    Examples
    --------
    >>> build("cov_raseg", (48, 40, 1), width=0.125).output_shape
    (None, 48, 40, 2)
    """
    architecture = _architecture(name)
    spec, known = MODELS[name], options(name)
    if not spec.scalable and settings.get("width") == 1:
        del settings["width"]  # its only width, which a recipe may well spell out
    for word in settings:
        if word not in known:
            raise UsageError(
                f"`{name}` has no option `{word}`. Known: {', '.join(known) or 'none'}.{did_you_mean(word, known)}"
            )
    shape = tuple(image_shape)
    whole = len(shape) == 3 and all(isinstance(side, int) for side in shape)
    if not whole or min(shape[:2]) < spec.smallest or shape[2] < 1:
        raise UsageError(
            f"`{name}` takes an image_shape of (rows, columns, channels), whole numbers, at least {spec.smallest} rows "
            f"and columns, and got {image_shape!r}. For grey images of 304 x 304: (304, 304, 1)."
        )
    least = 2 if "classify" in spec.tasks else 1
    if classes < least:
        raise UsageError(f"`{name}` tells at least {least} classes apart, and classes={classes!r} was asked for.")
    width = settings.get("width", 1.0)
    if not 0 < width <= 1:
        raise UsageError(f"`width` is the share of the paper's channels, in (0, 1], and got {width!r}. Try 0.25.")
    return architecture(shape, classes, **settings)


def _architecture(name: str) -> Any:
    """Return the function that builds a network; its module has the network's name."""
    return getattr(importlib.import_module(MODELS[choose(name, MODELS, "model")].module), name)
