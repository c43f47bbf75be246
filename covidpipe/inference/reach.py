"""How far a segmenter looks: which pixels of its input one pixel of its answer depends on, read off its graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Layers that make a pixel of the same pixel alone, at prediction. What a layer does that is not named in this module is
# not known: the network then has no reach.
POINTWISE = frozenset(
    {
        *("Activation", "Add", "Average", "BatchNormalization", "Dropout", "InputLayer", "LeakyReLU", "Maximum"),
        *("Multiply", "ReLU", "Rescaling", "ShuffleChannels", "Softmax", "SpatialDropout2D", "SplitChannels"),
    }
)


@dataclass(frozen=True)
class Reach:
    """Pixel i of the answer depends on rows ``i - before`` to ``i + after`` of the input, and on such columns.

    In a part of the frame whose origin and size are multiples of `stride`, every pixel that far from its border (or
    whose border is the frame's own) gets the answer it gets in the whole frame.
    """

    before: int
    after: int
    stride: int


@dataclass(frozen=True)
class _Seen:
    """Of a tensor: its pixel i depends on rows ``step * i + first`` to ``step * i + last`` of the input.

    ``first <= 0 <= last`` always: what lies beyond a part's border, padding included, then counts as beyond.
    """

    step: int = 1
    first: int = 0
    last: int = 0

    def strided(self, kernel: int, stride: int, before: int) -> _Seen:
        """After a window of so many pixels, every `stride` pixels, that begins `before` pixels earlier."""
        first, last = self.first - self.step * before, self.last + self.step * (kernel - 1 - before)
        return _Seen(self.step * stride, min(first, 0), max(last, 0))

    def spread(self, factor: int, before: int, after: int) -> _Seen:
        """On a grid `factor` times as fine, where a pixel sees so many of the fine pixels before and after it."""
        if self.step % factor:
            raise _Unknown
        step = self.step // factor
        return _Seen(step, self.first - step * before, self.last + step * after)

    def __or__(self, other: _Seen) -> _Seen:
        if self.step != other.step:
            raise _Unknown
        return _Seen(self.step, min(self.first, other.first), max(self.last, other.last))


class _Unknown(Exception):
    """Nothing is known of what a pixel depends on."""


def reach_of(network: keras.Model) -> Reach | None:
    """The reach of a segmenter, or None if its answer cannot be had from a part of the frame.

    None is said of whatever looks at the whole picture (global pooling, dense layers, normalization by the image), of
    layers that are not known here, of answers of another size than the image, and of a frame that the network's
    stride does not divide, where padding depends on the size. Unpooling has a reach: a window's maximum and its place
    are seen by the window alone.

    Parameters
    ----------
    network : keras.Model
        Of the functional kind, with one input and one output, (n, rows, columns, channels) both.

    Examples
    --------
    >>> from covidpipe import models
    >>> reach_of(models.build("compact_unet", (96, 96, 1), width=0.125))
    Reach(before=107, after=107, stride=16)
    """
    nodes = getattr(network, "_nodes_by_depth", None)
    if nodes is None or len(network.inputs) != 1 or len(network.outputs) != 1:
        return None
    (image,), (answer,) = network.inputs, network.outputs
    seen = {id(image): _Seen()}
    try:
        for depth in sorted(nodes, reverse=True):
            for node in nodes[depth]:
                if node.is_input:
                    continue
                given = [(tensor, seen[id(tensor)]) for tensor in node.arguments.keras_tensors]
                told = _after(node.operation, given)
                seen.update({id(tensor): told for tensor in node.outputs})
    except (_Unknown, KeyError):
        return None
    found, stride = seen[id(answer)], max(one.step for one in seen.values())
    sizes = {*image.shape[1:3], *answer.shape[1:3]}
    if len(answer.shape) != 4 or len(sizes) != 1 or found.step != 1 or sizes.pop() % stride:
        return None
    return Reach(-found.first, found.last, stride)


def _after(layer: Any, given: Iterable[tuple[Any, _Seen]]) -> _Seen:
    """What a layer's output has seen."""
    tensors, seen = zip(*given, strict=True)
    kind = type(layer).__name__
    if any(len(tensor.shape) != 4 for tensor in tensors):
        raise _Unknown
    if kind == "MaxUnpool":  # of its third tensor only the size counts
        return (seen[0] | seen[1]).spread(layer.pool_size, layer.pool_size - 1, 0)
    together = seen[0]
    for one in seen[1:]:
        together |= one
    if kind in POINTWISE or (kind == "Concatenate" and layer.axis in (-1, 3)):
        return together
    if kind in RULES and len(tensors) == 1:
        return RULES[kind](layer, together, tensors[0].shape[1:3])
    raise _Unknown


def _window(layer: Any, seen: _Seen, sizes: tuple[int, int]) -> _Seen:
    """Convolutions and pooling."""
    kernels = getattr(layer, "kernel_size", None) or layer.pool_size
    dilations = getattr(layer, "dilation_rate", (1, 1))
    found = []
    for size, kernel, stride, dilation in zip(sizes, kernels, layer.strides, dilations, strict=True):
        wide = (kernel - 1) * dilation + 1
        if layer.padding == "same" and size % stride:
            raise _Unknown
        before = max(wide - stride, 0) // 2 if layer.padding == "same" else 0
        found.append(seen.strided(wide, stride, before))
    return found[0] | found[1]


def _pool_with_indices(layer: Any, seen: _Seen, sizes: tuple[int, int]) -> _Seen:
    if any(size % layer.pool_size for size in sizes):
        raise _Unknown
    return seen.strided(layer.pool_size, layer.pool_size, 0)


def _transposed(layer: Any, seen: _Seen, sizes: tuple[int, int]) -> _Seen:
    (kernel, *others), (factor, *factors) = layer.kernel_size, layer.strides
    if {kernel, *others} != {kernel} or {factor, *factors} != {factor} or layer.padding != "same":
        raise _Unknown
    if layer.output_padding is not None or tuple(layer.dilation_rate) != (1, 1):
        raise _Unknown
    cut = max(kernel - factor, 0) // 2
    return seen.spread(factor, max(kernel - 1 - cut, 0), cut)


def _upsampling(layer: Any, seen: _Seen, sizes: tuple[int, int]) -> _Seen:
    (factor, *factors) = layer.size
    if factors != [factor] or layer.interpolation not in ("nearest", "bilinear"):
        raise _Unknown
    beside = factor if layer.interpolation == "bilinear" else 0  # the coarse pixel before or after takes part
    return seen.spread(factor, factor - 1 + beside, beside)


def _padded(layer: Any, seen: _Seen, sizes: tuple[int, int]) -> _Seen:
    tops = {before for before, _ in layer.padding}
    return _Seen(seen.step, seen.first - seen.step * max(tops), seen.last - seen.step * min(tops, default=0)).strided(
        1, 1, 0
    )


RULES: dict[str, Callable[[Any, _Seen, tuple[int, int]], _Seen]] = {
    "AveragePooling2D": _window,
    "Conv2D": _window,
    "Conv2DTranspose": _transposed,
    "DepthwiseConv2D": _window,
    "MaxPoolWithIndices": _pool_with_indices,
    "MaxPooling2D": _window,
    "UpSampling2D": _upsampling,
    "ZeroPadding2D": _padded,
}
