"""U-SegNet: SegNet with one skip of U-Net."""

from __future__ import annotations

import keras

from covidpipe.models.segnet import levels, unpooling_network


def u_segnet(image_shape: tuple[int, int, int], classes: int = 2, *, width: float = 1.0, depth: int = 4) -> keras.Model:
    """U-SegNet: `segnet`, and a skip by concatenation at the finest level.

    Stated by the paper (Khan et al., Tables 5 and 6): the name. From earlier work (Kumar et al. 2018): SegNet's
    unpooling with indices and U-Net's skip connection at the finest resolution. Our reading: everything else is that
    of `segnet`, so that the two differ in the skip alone.

    Parameters
    ----------
    image_shape, classes, width, depth
        As of `segnet`.

    Returns
    -------
    keras.Model
        (n, rows, columns, channels) in 0..1 -> (n, rows, columns, classes).

    References
    ----------
    Kumar et al. 2018, arXiv 1806.04429; Khan et al. 2020, section 3.2.2.

    Examples
    --------
    >>> u_segnet((304, 304, 3), depth=2).output_shape
    (None, 304, 304, 2)
    """
    return unpooling_network(image_shape, classes, levels(depth), width, name="u_segnet", skip=True)
