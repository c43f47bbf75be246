"""The CoV-RASeg that Khan et al. trained and released, in our network."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from covidpipe.errors import UsageError
from covidpipe.models.cov_raseg import cov_raseg

PARTS = {
    "Conv2D": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "mean", "variance"),  # the order of Keras' weights
}
AGAIN = "Wanted: the whole archive that Khan et al. released; `covidpipe fetch khan2020` tells where."
INFECTION_FIRST = ("decoder1_conv1", "decoder1_bn_1")  # their class 0 is COVID-19, ours is class 1


def released_cov_raseg(path: str | Path) -> keras.Model:
    """CoV-RASeg with the weights that its authors released.

    Parameters
    ----------
    path : path
        NumPy archive with one array for each ``{layer}/{part}``: kernels as (rows, columns, in, out), and the bias,
        mean, variance, beta and gamma that MATLAB calls Offset and Scale. Layers have the released names.

    Returns
    -------
    keras.Model
        (n, 304, 304, 3) in 0..1, the whole exported figure -> (n, 304, 304, 2); class 1 is what the authors' masks
        call infection, the white border of the figure included.

    Raises
    ------
    UsageError
        If the file is no such archive, or an array is missing, left over or of another shape.

    References
    ----------
    Khan et al. 2020, the released ``SegNet`` variable of their test script.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path}: a NumPy archive of CoV-RASeg's weights was expected, and it is not readable as one ({error}). "
            f"{AGAIN}"
        ) from None
    model = cov_raseg((304, 304, 3))
    for layer in model.layers:
        weights = []
        for part in PARTS.get(type(layer).__name__, ()):
            name = f"{layer.name}/{part}"
            if name not in arrays:
                raise UsageError(
                    f"{path}: `{name}` is missing; the archive holds {', '.join(sorted(arrays)[:5])}, ... {AGAIN}"
                )
            array = arrays.pop(name)
            weights.append(array[..., ::-1] if layer.name in INFECTION_FIRST else array)
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = [array.shape for array in weights]
        if found != wanted:
            raise UsageError(f"{path}: `{layer.name}` has arrays of shapes {found}; CoV-RASeg has {wanted}. {AGAIN}")
        layer.set_weights(weights)
    if arrays:
        raise UsageError(f"{path}: no layer of CoV-RASeg takes `{min(arrays)}`. {AGAIN}")
    return model
