"""Parts of the frame in which a segmenter answers, where the lungs are, exactly as it does in the whole frame.

Infection is told inside the lungs alone, and they fill a half of a slice or less. What a convolution says of a pixel
hangs on the pixels within the network's reach: the box around the lungs, grown by it, gives the same answer for less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from covidpipe.inference.reach import Reach, reach_of
from covidpipe.quantify.lungs import box_of

if TYPE_CHECKING:
    import keras

    from covidpipe.inference.engine import Network

Shape = tuple[int, int]

# Rows and columns, as shares of the frame: an engine makes a graph for each shape, so a few must do. Those three that
# left the fewest pixels to compute (62 %; the boxes themselves hold 49 %) for the lungs of two public CT data sets and
# CoV-RASeg's reach.
SHARES = ((0.58, 0.82), (0.66, 0.9), (0.74, 1.0))
# A network that sees farther than this share of the frame needs most of it for any lungs.
MOST_SEEN = 0.25


@dataclass(frozen=True)
class Part:
    """A rectangle of the frame."""

    top: int
    left: int
    rows: int
    columns: int

    @property
    def shape(self) -> Shape:
        return self.rows, self.columns

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


def shapes(size: int, stride: int) -> list[Shape]:
    """Shapes of parts of a frame of `size` rows and columns, multiples of `stride`, the smallest first.

    Examples
    --------
    >>> shapes(304, 4)
    [(180, 252), (204, 276), (228, 304)]
    """
    found = {tuple(min(size, -int(-share * size // stride) * stride) for share in shares) for shares in SHARES}
    return sorted(found - {(size, size)}, key=lambda shape: shape[0] * shape[1])  # type: ignore[arg-type]


def needed(lung: NDArray[np.bool_], size: int) -> tuple[slice, slice]:
    """Rows and columns of a network's frame, `size` each, that the lungs on another grid are interpolated from.

    Examples
    --------
    >>> lung = np.zeros((100, 100), bool)
    >>> lung[20:60, 10:90] = True
    >>> needed(lung, 50)
    (slice(9, 31, None), slice(4, 46, None))
    """
    scale = size / len(lung)
    return tuple(  # type: ignore[return-value]
        slice(
            max(0, int(np.floor((part.start + 0.5) * scale - 0.5))),
            min(size, int(np.floor((part.stop - 0.5) * scale - 0.5)) + 2),
        )
        for part in box_of(lung)
    )


def part_for(box: tuple[slice, slice], reach: Reach, some: Sequence[Shape], size: int) -> Part | None:
    """The first of the shapes that holds a box and what the network sees around it; None if none does.

    Parameters
    ----------
    box : (slice, slice)
        Rows and columns whose answers shall be those of the whole frame.
    reach : Reach
    some : sequence of (rows, columns)
        Multiples of the reach's stride, as `shapes` gives them.
    size : int
        Rows and columns of the frame.
    """
    for shape in some:
        starts = [_start(part, reach, length, size) for part, length in zip(box, shape, strict=True)]
        if None not in starts:
            return Part(starts[0], starts[1], *shape)  # type: ignore[arg-type]
    return None


def _start(part: slice, reach: Reach, length: int, size: int) -> int | None:
    """Where a stretch of `length` pixels begins that holds all that is seen around a part; None if it cannot."""
    first, end = max(0, part.start - reach.before), min(size, part.stop + reach.after)
    start = min(first // reach.stride * reach.stride, size - length)
    return start if start + length >= end else None


@dataclass(frozen=True)
class Parts:
    """What an engine offers beside the whole frame.

    Parameters
    ----------
    reach : Reach
    networks : mapping of (rows, columns) to callable
        Gives the network that answers in parts of that shape; made when it is first asked for.
    """

    reach: Reach
    networks: Mapping[Shape, Callable[[], Network]]


def worthwhile(network: keras.Model) -> tuple[Reach, list[Shape]] | None:
    """A segmenter's reach and the shapes of its parts; None if they are not exact, or hardly smaller than the frame."""
    reach, size = reach_of(network), network.input_shape[1]
    if reach is None or reach.before + reach.after > MOST_SEEN * size:
        return None
    some = shapes(size, reach.stride)
    return (reach, some) if some else None


def resized(network: keras.Model, shape: Shape) -> keras.Model:
    """The same network with the same weights for images of another size."""
    import keras

    image = keras.Input((*shape, network.input_shape[-1]))
    other = keras.models.clone_model(network, input_tensors=image)
    other.set_weights(network.get_weights())
    other.jit_compile = False
    return other
