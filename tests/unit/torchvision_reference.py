"""torchvision's ResNet-18, GoogLeNet and ShuffleNet v2 1.0x in plain NumPy: tensors by name, and what they compute.

Written from torchvision's definition and independent of the package: images are (n, channels, rows, columns), kernels
(out, in, rows, columns), everything in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Shapes = dict[str, tuple[int, ...]]

# in, 1x1, 3x3 reduction, 3x3, "5x5" reduction, "5x5", pooling
INCEPTION = {
    "inception3a": (192, 64, 96, 128, 16, 32, 32),
    "inception3b": (256, 128, 128, 192, 32, 96, 64),
    "inception4a": (480, 192, 96, 208, 16, 48, 64),
    "inception4b": (512, 160, 112, 224, 24, 64, 64),
    "inception4c": (512, 128, 128, 256, 24, 64, 64),
    "inception4d": (512, 112, 144, 288, 32, 64, 64),
    "inception4e": (528, 256, 160, 320, 32, 128, 128),
    "inception5a": (832, 256, 160, 320, 32, 128, 128),
    "inception5b": (832, 384, 192, 384, 48, 128, 128),
}
SHUFFLE_STAGES = {"stage2": (24, 116, 4), "stage3": (116, 232, 8), "stage4": (232, 464, 4)}  # in, out, units


# --- The tensors --------------------------------------------------------------------------------------------------


def normalization(name: str, channels: int) -> Shapes:
    shapes: Shapes = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet18_shapes() -> Shapes:
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **normalization("bn1", 64)}
    before = 64
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for unit in (0, 1):
            name = f"layer{stage}.{unit}"
            shapes |= {f"{name}.conv1.weight": (channels, before, 3, 3), **normalization(f"{name}.bn1", channels)}
            shapes |= {f"{name}.conv2.weight": (channels, channels, 3, 3), **normalization(f"{name}.bn2", channels)}
            if before != channels:
                shapes |= {f"{name}.downsample.0.weight": (channels, before, 1, 1)}
                shapes |= normalization(f"{name}.downsample.1", channels)
            before = channels
    return shapes | linear("fc", 512, 1000)


def googlenet_shapes() -> Shapes:
    def unit(name: str, inputs: int, outputs: int, kernel: int) -> Shapes:
        return {f"{name}.conv.weight": (outputs, inputs, kernel, kernel), **normalization(f"{name}.bn", outputs)}

    shapes = unit("conv1", 3, 64, 7) | unit("conv2", 64, 64, 1) | unit("conv3", 64, 192, 3)
    for name, (inputs, one, reduce3, three, reduce5, five, pool) in INCEPTION.items():
        shapes |= unit(f"{name}.branch1", inputs, one, 1)
        shapes |= unit(f"{name}.branch2.0", inputs, reduce3, 1) | unit(f"{name}.branch2.1", reduce3, three, 3)
        shapes |= unit(f"{name}.branch3.0", inputs, reduce5, 1) | unit(f"{name}.branch3.1", reduce5, five, 3)
        shapes |= unit(f"{name}.branch4.1", inputs, pool, 1)
    for name, inputs in (("aux1", 512), ("aux2", 528)):
        shapes |= unit(f"{name}.conv", inputs, 128, 1)
        shapes |= linear(f"{name}.fc1", 2048, 1024) | linear(f"{name}.fc2", 1024, 1000)
    return shapes | linear("fc", 1024, 1000)


def shufflenet_shapes() -> Shapes:
    shapes: Shapes = {"conv1.0.weight": (24, 3, 3, 3), **normalization("conv1.1", 24)}
    for stage, (inputs, outputs, units) in SHUFFLE_STAGES.items():
        half = outputs // 2
        for unit in range(units):
            name, first = f"{stage}.{unit}", unit == 0
            if first:
                shapes |= {f"{name}.branch1.0.weight": (inputs, 1, 3, 3), **normalization(f"{name}.branch1.1", inputs)}
                shapes |= {f"{name}.branch1.2.weight": (half, inputs, 1, 1), **normalization(f"{name}.branch1.3", half)}
            shapes |= {f"{name}.branch2.0.weight": (half, inputs if first else half, 1, 1)}
            shapes |= normalization(f"{name}.branch2.1", half)
            shapes |= {f"{name}.branch2.3.weight": (half, 1, 3, 3), **normalization(f"{name}.branch2.4", half)}
            shapes |= {f"{name}.branch2.5.weight": (half, half, 1, 1), **normalization(f"{name}.branch2.6", half)}
    shapes |= {"conv5.0.weight": (1024, 464, 1, 1), **normalization("conv5.1", 1024)}
    return shapes | linear("fc", 1024, 1000)


SHAPES = {"resnet18": resnet18_shapes(), "googlenet": googlenet_shapes(), "shufflenet": shufflenet_shapes()}


def random_state(network: str) -> dict[str, np.ndarray]:
    """Tensors of the true names and shapes: kernels that keep activations near 1, normalizations that do something."""
    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}
    for key, shape in SHAPES[network].items():
        kind = key.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[key] = np.array(1000, np.int64)
        elif kind == "running_var" or (kind == "weight" and len(shape) == 1):
            state[key] = rng.uniform(0.5, 1.0, shape).astype(np.float32)
        elif kind == "weight":
            state[key] = rng.normal(0, math.sqrt(1 / math.prod(shape[1:])), shape).astype(np.float32)
        else:
            state[key] = rng.normal(0, 0.1, shape).astype(np.float32)
    return state


# --- What they compute --------------------------------------------------------------------------------------------


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """Kernels are centered: zeros around the image, as many as fit; depthwise where the kernel has one input."""
    pad = kernel.shape[2] // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    if kernel.shape[1] == 1:
        return np.einsum("nchwij,cij->nchw", windows, kernel[:, 0])
    return np.moveaxis(np.tensordot(windows, kernel, ((1, 4, 5), (1, 2, 3))), -1, 1)


def max_pool(x: np.ndarray, size: int, stride: int, pad: int = 0, *, ceil: bool = False) -> np.ndarray:
    """Minus infinity around the image; with `ceil`, windows may hang over the lower and the right border."""
    over = [max(0, -(-(side + 2 * pad - size) // stride) * stride + size - side - 2 * pad) for side in x.shape[2:]]
    below, right = over if ceil else (0, 0)
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad + below), (pad, pad + right)), constant_values=-np.inf)
    return sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::stride, ::stride].max((4, 5))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


class State:
    """Tensors, applied by their names."""

    def __init__(self, state: dict[str, np.ndarray], epsilon: float):
        self.state = {key: value.astype(np.float64) for key, value in state.items()}
        self.epsilon = epsilon

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        return conv(x, self.state[f"{name}.weight"], stride)

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        weight, bias, mean, variance = (
            self.state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + self.epsilon) * weight + bias

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.state


def resnet18(state: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    s, stages = State(state, 1e-5), {}
    stages["relu"] = x = relu(s.norm(s.conv(x, "conv1", 2), "bn1"))
    stages["maxpool"] = x = max_pool(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for unit in (0, 1):
            name, stride = f"layer{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
            y = relu(s.norm(s.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            y = s.norm(s.conv(y, f"{name}.conv2"), f"{name}.bn2")
            if s.has(f"{name}.downsample.0"):
                x = s.norm(s.conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            stages[f"{name}.relu"] = x = relu(x + y)
    return stages | {"avgpool": x.mean((2, 3))}


def googlenet(state: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    s, stages = State(state, 0.001), {}

    def unit(x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        return relu(s.norm(s.conv(x, f"{name}.conv", stride), f"{name}.bn"))

    stages["conv1.relu"] = x = unit(x, "conv1", 2)
    stages["maxpool1"] = x = max_pool(x, 3, 2, ceil=True)
    stages["conv2.relu"] = x = unit(x, "conv2")
    stages["conv3.relu"] = x = unit(x, "conv3")
    stages["maxpool2"] = x = max_pool(x, 3, 2, ceil=True)
    for name in INCEPTION:
        branches = [unit(x, f"{name}.branch1")]
        branches += [unit(unit(x, f"{name}.branch{b}.0"), f"{name}.branch{b}.1") for b in (2, 3)]
        branches += [unit(max_pool(x, 3, 1, 1, ceil=True), f"{name}.branch4.1")]
        stages[name] = x = np.concatenate(branches, 1)
        if name == "inception3b":
            stages["maxpool3"] = x = max_pool(x, 3, 2, ceil=True)
        if name == "inception4e":
            stages["maxpool4"] = x = max_pool(x, 2, 2, ceil=True)
    return stages | {"avgpool": x.mean((2, 3))}


def shufflenet(state: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    s, stages = State(state, 1e-5), {}

    def branch2(x: np.ndarray, name: str, stride: int) -> np.ndarray:
        x = relu(s.norm(s.conv(x, f"{name}.0"), f"{name}.1"))
        x = s.norm(s.conv(x, f"{name}.3", stride), f"{name}.4")
        return relu(s.norm(s.conv(x, f"{name}.5"), f"{name}.6"))

    def branch1(x: np.ndarray, name: str) -> np.ndarray:
        x = s.norm(s.conv(x, f"{name}.0", 2), f"{name}.1")
        return relu(s.norm(s.conv(x, f"{name}.2"), f"{name}.3"))

    stages["conv1.2"] = x = relu(s.norm(s.conv(x, "conv1.0", 2), "conv1.1"))
    stages["maxpool"] = x = max_pool(x, 3, 2, 1)
    for stage, (_, _, units) in SHUFFLE_STAGES.items():
        for unit in range(units):
            name = f"{stage}.{unit}"
            if unit == 0:
                halves = [branch1(x, f"{name}.branch1"), branch2(x, f"{name}.branch2", 2)]
            else:
                first, second = np.split(x, 2, axis=1)
                halves = [first, branch2(second, f"{name}.branch2", 1)]
            stages[name] = x = np.stack(halves, 2).reshape(len(x), -1, *halves[0].shape[2:])
    stages["conv5.2"] = x = relu(s.norm(s.conv(x, "conv5.0"), "conv5.1"))
    return stages | {"mean": x.mean((2, 3))}


FORWARD = {"resnet18": resnet18, "googlenet": googlenet, "shufflenet": shufflenet}
