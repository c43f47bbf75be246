"""The same picture under another name: resized, recompressed, mirrored, turned, brightened, or set in a margin.

Three nets, from narrow to wide. Equal pixels have equal hashes (``pixel_sha256`` of the image table). A perceptual
hash of 255 bits, compared in blocks by matrix products, proposes pairs among all images and in all eight orientations.
A pair is then a near-duplicate if the two pictures, laid over each other, correlate above `SAME_PICTURE`.

What is correlated is the local detail of a thumbnail, not its grey levels. Any two chest films have bright shoulders
above dark lungs: their grey levels correlate above 0.95 (28 pairs of the 704 people of cxr-lungs), their detail does
not (0.84 at most). The air around a body has no detail and so no weight: the correlation is one inside the body. What
was measured is told in docs/splits.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from covidpipe.config import Harmonize

SIDE = 64  # rows and columns of a thumbnail
SAME_PICTURE = 0.95
SAME_SERIES = 0.8  # of CT slices: two patients reach 0.73 (1,063 slices of 14 patients), neighbours more

READ_SIDE = 256  # a larger image is reduced to this before anything else: margins are found on it
PLAIN = 0.03  # share of the value range by which a margin may differ from its color
PAPER = 0.75  # share of the value range from which a margin is bright, a figure's paper rather than air
PLAIN_SHARE = {True: 0.6, False: 0.98}  # of a line of paper, the rest may be labels; of a line of anything else
LEAST_MARGIN = 0.02  # share of a side that must go for a picture without its margin to be another view
LEAST_CONTENT = 0.25  # share of a side that must stay

DETAIL_PX = 4.0  # scale of what counts as detail, on the thumbnail
FLAT = 0.05  # contrast (share of the value range) below which detail fades out

HASH_SIDE = 16
# Of 255. Copies differ by 50 at most in 19 of 20 cases, even cropped by 2 % or turned by 2 degrees; of pairs of
# patients one in 3,000 (adults' films) to 60,000 (CT) differs by less than 60.
CANDIDATE_BITS = 60
BLOCK = 4096
WORTH_ALIGNING = 0.5  # correlation as they lie; copies cropped by 2 % have 0.6 and more
MOST_STRETCH, MOST_SHIFT = 0.1, 0.1  # share of the side by which aligning may stretch and shift


class Turn(NamedTuple):
    """One of the eight orientations of a square picture: rows and columns swapped, then each of them reversed."""

    swap: bool
    rows: bool
    columns: bool


# Exports mirror, and readers of NIfTI swap rows with columns.
TURNS = tuple(
    Turn(swap, rows, columns) for swap in (False, True) for rows in (False, True) for columns in (False, True)
)


@dataclass(frozen=True)
class Signatures:
    """What images are compared by.

    Parameters
    ----------
    image : (m,) of int, ascending
        Position of the image that each thumbnail shows. An image with a plain margin has two: with it, then without.
    thumbnail : (m, SIDE, SIDE) of uint8
    """

    image: NDArray[np.int64]
    thumbnail: NDArray[np.uint8]


class Match(NamedTuple):
    """Two images that are the same picture: their positions, and how alike they are, up to 1."""

    first: int
    second: int
    correlation: float


def views(array: NDArray, intensity: str) -> list[NDArray[np.uint8]]:
    """Thumbnails of an image: as it is, and without its plain margin if it has one.

    Parameters
    ----------
    array : (rows, columns) of numbers
    intensity : {"hounsfield", "windowed_8bit", "radiograph"}
        Hounsfield units are seen through the lung window, as the 8-bit copies of a CT show it.

    Returns
    -------
    list of one or two (SIDE, SIDE) of uint8, each stretched to its own range

    >>> picture = np.arange(80 * 80).reshape(80, 80) % 251
    >>> len(views(picture, "radiograph")), len(views(np.pad(picture, 20, constant_values=255), "radiograph"))
    (1, 2)
    """
    rows, columns = (min(side, READ_SIDE) for side in array.shape)
    image = cv2.resize(np.asarray(array, np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    if intensity == "hounsfield":
        image = np.clip(image, *Harmonize().window_hu)
    box = content_box(image)
    shown = [image] if box is None else [image, image[box]]
    return [_stretched(cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for view in shown]


def _stretched(image: NDArray) -> NDArray[np.uint8]:
    low, high = float(image.min()), float(image.max())
    return np.rint((image - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def content_box(image: NDArray) -> tuple[slice, slice] | None:
    """Rows and columns inside the plain margin of a picture (a figure's paper, the bars of a letterbox), or None.

    Each side has a color of its own. A line belongs to the margin while most of it has that color: the rest may be
    tick labels.
    """
    low, high = float(image.min()), float(image.max())
    share = (image - low) / (high - low) if high > low else np.zeros_like(image)
    box = []
    for lines in (share, share.T):
        start, back = _margin(lines), _margin(lines[::-1])
        # the line after a margin is mixed with it, or is the frame of a figure
        first, last = start + (start > 0), len(lines) - back - (back > 0)
        if last - first < LEAST_CONTENT * len(lines):
            return None
        box.append(slice(first, last))
    kept = min((side.stop - side.start) / length for side, length in zip(box, image.shape, strict=True))
    return (box[0], box[1]) if kept < 1 - LEAST_MARGIN else None


def _margin(lines: NDArray) -> int:
    """How many lines, from the first, have mostly the first one's color; values 0 to 1."""
    color = np.median(lines[0])
    plain = (np.abs(lines - color) <= PLAIN).mean(axis=1) >= PLAIN_SHARE[bool(color >= PAPER)]
    return len(plain) if plain.all() else int(np.argmin(plain))


def detail(thumbnails: NDArray) -> NDArray[np.float32]:
    """Local detail of pictures: each pixel's distance from its surroundings, in units of the contrast there.

    Brightness and contrast, of the whole and of parts, are gone. The product of two pictures is their correlation.

    Parameters
    ----------
    thumbnails : (m, SIDE, SIDE) of numbers, 0 to 255

    Returns
    -------
    (m, SIDE, SIDE) of float32
        Mean 0 and square sum 1; all 0 where there is no detail at all.
    """
    found = np.empty(thumbnails.shape, np.float32)
    for image, target in zip(thumbnails, found, strict=True):
        grey = image.astype(np.float32) / 255
        rest = grey - cv2.GaussianBlur(grey, (0, 0), DETAIL_PX)
        contrast = np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), DETAIL_PX))
        target[...] = _unit(rest / (contrast + FLAT))
    return found


def _unit(values: NDArray) -> NDArray:
    values = values - values.mean()
    size = float(np.linalg.norm(values))
    return values / size if size > 0 else values


def turned(images: NDArray, turn: Turn) -> NDArray:
    """Square pictures, (..., SIDE, SIDE), in another orientation."""
    seen = images.swapaxes(-1, -2) if turn.swap else images
    return seen[..., :: -1 if turn.rows else 1, :: -1 if turn.columns else 1]


def hash_bits(details: NDArray[np.float32]) -> NDArray[np.float32]:
    """Perceptual hash: the signs of the lowest waves of a picture's detail, (m, HASH_SIDE, HASH_SIDE) of -1, 0 and 1.

    The constant is left out (0): 255 bits. A picture without detail has none.
    """
    from scipy.fft import dctn  # a third of what ingest, which needs the thumbnails alone, would import

    bits = np.sign(dctn(details, axes=(1, 2))[:, :HASH_SIDE, :HASH_SIDE].astype(np.float32))
    bits[:, 0, 0] = 0
    return bits


def turned_bits(bits: NDArray[np.float32], turn: Turn) -> NDArray[np.float32]:
    """The hash of the turned picture: a mirrored wave changes its sign if it is odd."""
    sign = 1 - 2 * (np.arange(HASH_SIDE, dtype=np.float32) % 2)
    seen = bits.swapaxes(-1, -2) if turn.swap else bits
    return seen * (sign[:, None] if turn.rows else 1) * (sign if turn.columns else 1)


def near_duplicates(
    first: Signatures, second: Signatures | None = None, known: tuple[NDArray, NDArray] | None = None
) -> list[Match]:
    """Pairs of images that show the same picture, in any orientation, with or without margin.

    Parameters
    ----------
    first : Signatures
    second : Signatures, optional
        Compare each of `first` with each of these; by default `first` with itself, each pair once.
    known : pair of arrays, optional
        The group of every image on either side, by its position: pairs of one group are not looked at, such as the
        slices of one patient.

    Returns
    -------
    list of Match, sorted, each pair once with its highest correlation, at least `SAME_PICTURE`
    """
    other = first if second is None else second
    left = detail(first.thumbnail)
    right = left if second is None else detail(other.thumbnail)
    best: dict[tuple[int, int], float] = {}
    for a, b, turn in _candidates(hash_bits(left), hash_bits(right), second is None):
        i, j = first.image[a], other.image[b]
        wanted = np.ones(len(a), bool) if second is not None else i != j
        if known is not None:
            wanted &= known[0][i] != known[1][j]
        for m, n in zip(a[wanted].tolist(), b[wanted].tolist(), strict=True):
            pair = int(first.image[m]), int(other.image[n])
            if second is None:
                pair = min(pair), max(pair)
            found = likeness(left[m], turned(right[n], turn))
            best[pair] = max(best.get(pair, 0.0), found)
    return [Match(*pair, value) for pair, value in sorted(best.items()) if value >= SAME_PICTURE]


def _candidates(
    left: NDArray[np.float32], right: NDArray[np.float32], symmetric: bool
) -> Iterator[tuple[NDArray, NDArray, Turn]]:
    """Positions of pictures whose hashes are alike once the right one is turned, block by block."""
    alike = HASH_SIDE**2 - 1 - 2 * CANDIDATE_BITS  # of the product of two hashes
    for turn in TURNS:
        theirs = turned_bits(right, turn).reshape(len(right), HASH_SIDE**2)
        for top in range(0, len(left), BLOCK):
            ours = left[top : top + BLOCK].reshape(-1, HASH_SIDE**2)
            for start in range(top if symmetric else 0, len(right), BLOCK):
                a, b = np.nonzero(ours @ theirs[start : start + BLOCK].T >= alike)
                a, b = a + top, b + start
                keep = a < b if symmetric else slice(None)
                yield a[keep], b[keep], turn


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Correlation of two pictures' detail, laid over each other: shifted and stretched by a tenth at most.

    Margins are found to a pixel of 256 and figures are rendered at odd sizes, so copies lie askew by a pixel or two of
    the thumbnail, which costs correlation.
    """
    plain = float((first * second).sum())
    if not WORTH_ALIGNING <= plain < SAME_PICTURE:
        return plain
    start = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-4)
    try:
        _, found = cv2.findTransformECC(first * SIDE, second * SIDE, start, cv2.MOTION_AFFINE, stop)
    except cv2.error:  # it does not converge: they have nothing in common
        return plain
    warp = np.asarray(found)
    moved = np.abs(warp - np.eye(2, 3))
    if moved[:, :2].max() > MOST_STRETCH or moved[:, 2].max() > MOST_SHIFT * SIDE:
        return plain
    laid, covered = (
        cv2.warpAffine(picture, warp, (SIDE, SIDE), flags=how | cv2.WARP_INVERSE_MAP)
        for picture, how in ((second, cv2.INTER_CUBIC), (np.ones_like(second), cv2.INTER_NEAREST))
    )
    inside = covered > 0
    return max(plain, float(_unit(first[inside]) @ _unit(laid[inside])))


def neighbours(slices: Signatures) -> list[Match]:
    """Pairs of CT slices alike enough to be neighbours in one patient, for slices whose patient is not known.

    They are compared as they lie, without their margin: the slices of a series have one orientation. Compared so, the
    829 slices of khan2020 fall into the 8 patients that they are of, no more and no fewer.

    Parameters
    ----------
    slices : Signatures

    Returns
    -------
    list of Match, sorted, the first below the second, each at least `SAME_SERIES`
    """
    last = np.flatnonzero(np.append(np.diff(slices.image) != 0, True)[: len(slices.image)])
    image = slices.image[last]
    flat = detail(slices.thumbnail[last]).reshape(len(image), SIDE * SIDE)
    found: list[Match] = []
    for top in range(0, len(flat), BLOCK):
        for start in range(top, len(flat), BLOCK):
            alike = flat[top : top + BLOCK] @ flat[start : start + BLOCK].T
            a, b = np.nonzero(alike >= SAME_SERIES)
            for m, n in zip(a.tolist(), b.tolist(), strict=True):
                if top + m < start + n:
                    found.append(Match(int(image[top + m]), int(image[start + n]), float(alike[m, n])))
    return sorted(found)
