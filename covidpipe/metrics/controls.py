"""Controls: answers that look at no lung, or at nearly nothing. A model that does not beat them has proven nothing.

**Of labels.** Can the label be told without the lungs? That is a question about the data, and the honest way to ask it
is to train something on what is left of the training images and to test it on what is left of the test images: a simple
model (logistic regression), so that it takes seconds. If it does well, the images carry a hint that is no disease, and
so may the network's figures. To feed an altered image to the trained network asks another question, whether *this*
network leans on the hint; but it has never seen such images, so that failing on them acquits nobody. Both are told:
``lungs_blacked_out`` is the simple model, ``network_on_lungs_blacked_out`` the network.

The lungs are blacked out as the rectangle around them, since the outline of a blacked-out lung is a picture of it. How
large that rectangle is and where it lies can still be seen; that a slice has no lung at all, too.

**Of masks.** ``all_background`` marks nothing. ``border_painter`` paints the frame of the image: in Khan et al.'s
released masks the white margin of a figure counts as infected, and painting it alone has an IoU of .98. ``mean_mask``
marks what is usually marked in the training images, wherever the lungs of this one are.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from covidpipe.metrics.classification import roc_auc

Images = NDArray[np.uint8]
SIDE = 32  # of the small image that a simple model is given
THUMBNAIL = 8
GREY_BINS = 32
CORNER = 8  # a corner is this share of a side: one eighth
FRAME = 32  # the thinnest frame is this share of a side
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
TRAIN_IMAGES = 4000  # a simple model learns nothing more from more, and takes seconds


def without_lungs(images: Images, lungs: NDArray[np.bool_]) -> Images:
    """Images with the rectangle around the lungs black.

    Parameters
    ----------
    images : ndarray of uint8, (n, rows, columns)
    lungs : ndarray of bool, like `images`

    Examples
    --------
    >>> without_lungs(np.full((1, 2, 3), 9, np.uint8), np.array([[[0, 1, 0], [0, 0, 0]]], bool)).tolist()
    [[[9, 0, 9], [9, 9, 9]]]
    """
    rows, columns = (_span(np.asarray(lungs.any(axis=axis))) for axis in (2, 1))
    return np.where(rows[:, :, None] & columns[:, None, :], 0, images).astype(np.uint8)


def _span(some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True from the first to the last True of each row."""
    return np.logical_or.accumulate(some, axis=1) & np.logical_or.accumulate(some[:, ::-1], axis=1)[:, ::-1]


def only_lungs(images: Images, lungs: NDArray[np.bool_]) -> Images:
    """Images that are black outside the lungs."""
    return np.where(lungs, images, 0).astype(np.uint8)


def only_corners(images: Images) -> Images:
    """Images that are black but for four corners of an eighth of each side: no patient lies there, but labels do."""
    kept = np.zeros_like(images)
    rows, columns = (max(1, side // CORNER) for side in images.shape[1:])
    for down in (slice(None, rows), slice(-rows, None)):
        for across in (slice(None, columns), slice(-columns, None)):
            kept[:, down, across] = images[:, down, across]
    return kept


def small(images: Images, side: int) -> NDArray[np.float32]:
    """Images averaged to side x side, as rows of numbers, float32 (n, side * side)."""
    return (
        np.array([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).ravel() for image in images])
        .reshape(len(images), side * side)
        .astype(np.float32)
    )


def histogram(images: Images) -> NDArray[np.float32]:
    """Share of the pixels in each of 32 ranges of grey, float32 (n, 32)."""
    counts = [np.bincount(image.ravel().astype(int) * GREY_BINS // 256, minlength=GREY_BINS) for image in images]
    pixels = images.shape[1] * images.shape[2]
    return (np.array(counts).reshape(len(images), GREY_BINS) / pixels).astype(np.float32)


# What is left of an image for each control; those in `NEED_LUNGS` need the radiologists' lung masks.
LEFT: dict[str, Callable[[Images, NDArray[np.bool_]], NDArray[np.float32]]] = {
    "lungs_blacked_out": lambda images, lungs: small(without_lungs(images, lungs), SIDE),
    "lungs_only": lambda images, lungs: small(only_lungs(images, lungs), SIDE),
    "corners_only": lambda images, lungs: small(only_corners(images), SIDE),
    "thumbnail_8x8": lambda images, lungs: small(images, THUMBNAIL),
    "intensity_histogram": lambda images, lungs: histogram(images),
}
NEED_LUNGS = ("lungs_blacked_out", "lungs_only")


def simple_model(
    train: NDArray[np.float32],
    labels: NDArray[np.bool_],
    validation: NDArray[np.float32],
    its_labels: NDArray[np.bool_],
) -> Pipeline:
    """Logistic regression on standardized numbers; its penalty is chosen by the ROC AUC on validation patients.

    Classes weigh the same, so that one half is its threshold.

    Parameters
    ----------
    train, validation : ndarray, (n, numbers)
    labels, its_labels : ndarray of bool, (n,)
        Both classes in `labels`.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Fitted; ``predict_proba(...)[:, 1]`` is the probability of True.
    """
    best, highest = None, -np.inf
    for penalty in PENALTIES:
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced", max_iter=200, tol=1e-3)
        )
        with threadpool_limits(1, "blas"):  # on many threads such small products take up to forty times as long
            model.fit(train, labels)
        area = roc_auc(model.predict_proba(validation)[:, 1], its_labels) if len(validation) else None
        if best is None or (area is not None and area > highest):
            best, highest = model, -np.inf if area is None else area
    assert best is not None
    return best


def border_painter(mean_mask: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The frame that fits the training masks: on each side the rows (or columns) that are mostly foreground in them.

    At least 1/32 of the side, so that there is a frame to paint where the masks keep clear of the border.

    Parameters
    ----------
    mean_mask : ndarray, (rows, columns)
        Share of the training masks that mark each pixel.

    Returns
    -------
    ndarray of bool, (rows, columns)

    Examples
    --------
    >>> border_painter(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    frame = np.zeros(mean_mask.shape, bool)
    for turned in range(4):
        face, painted = np.rot90(mean_mask, turned), np.rot90(frame, turned)
        mostly = face[: len(face) // 2].mean(axis=1) > 0.5
        wide = len(mostly) if mostly.all() else int(np.argmin(mostly))
        painted[: max(1, len(face) // FRAME, wide)] = True
    return frame


def usual_mask(mean_mask: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The one mask that has the highest pooled Dice with the training masks: the pixels they mark most often.

    Parameters
    ----------
    mean_mask : ndarray, (rows, columns)

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    levels = np.sort(np.unique(mean_mask))[::-1]
    flat = np.sort(mean_mask, axis=None)[::-1]
    hit = np.cumsum(flat)  # of the pixels at or above each level
    size = np.searchsorted(-flat, -levels, side="right")
    dice = 2 * hit[size - 1] / (size + hit[-1])
    best = levels[np.argmax(dice)] if hit[-1] else np.inf
    return mean_mask >= best
