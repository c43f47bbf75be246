"""Weights that PyTorch wrote, read without PyTorch and without running anything that a file asks for.

`.safetensors` holds numbers and nothing else. A `.pth` file is a pickle, which may call any function when it is
opened; here it may call two, which rebuild a tensor, and everything else is refused by name.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from covidpipe.errors import BadWeights

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file of before PyTorch 1.6, which is no zip archive
STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}
DAMAGED = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, OSError,
    AttributeError, IndexError, KeyError, MemoryError, OverflowError, TypeError, ValueError,
)  # fmt: skip


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the tensors of a `.safetensors` or `.pth` file by name.

    Parameters
    ----------
    path : str or Path
        Safetensors, or what ``torch.save(model.state_dict(), path)`` wrote, of any version since 0.4.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    BadWeights
        The file is damaged, holds something else than named tensors, or asks for a function to be called.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                return dict(load_file(path))
            except SafetensorError as error:
                raise ValueError(error) from None
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except DAMAGED as error:
        raise BadWeights(
            f"{path}: wanted named tensors, as `torch.save(model.state_dict(), ...)` or safetensors write them, and "
            f"it is not readable as such: {' '.join(str(error).split()) or type(error).__name__}. Delete it and fetch "
            "it again, or convert it where PyTorch is: `import torch, safetensors.torch`, then "
            "`safetensors.torch.save_file(torch.load(path, weights_only=True), 'x.safetensors')`."
        ) from None


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor's numbers are, until they are read."""

    storage: tuple[np.dtype, str, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, content: bytes) -> np.ndarray:
        dtype, _, _ = self.storage
        if any(number < 0 for number in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor with a negative size")
        strides = [stride * dtype.itemsize for stride in self.strides]
        # NumPy checks that all of it lies within `content`
        return np.ndarray(self.shape, dtype, content, self.offset * dtype.itemsize, strides).copy()


def _rebuild_tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: _Tensor, *_: Any) -> _Tensor:
    return data


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `ALLOWED`, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for `{module}.{name}`, which a table of tensors does not need")
        return ALLOWED[module, name]

    def persistent_load(self, identifier: Any) -> tuple[np.dtype, str, int]:
        _, dtype, key, _, count, *part = identifier
        if any(part):  # of another storage: PyTorch before 0.4
            raise ValueError("it was written before PyTorch 0.4")
        return dtype, str(key), count


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = index.removesuffix(".pkl")
        with archive.open(index) as handle:
            tensors = _named(_Unpickler(handle).load())
        return {name: tensor.of(_member(archive, folder, tensor.storage)) for name, tensor in tensors.items()}


def _member(archive: zipfile.ZipFile, folder: str, storage: tuple[np.dtype, str, int]) -> bytes:
    dtype, key, count = storage
    with archive.open(f"{folder}/{key}") as handle:
        return handle.read(count * dtype.itemsize)  # never more, however much the archive would unpack to


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """One pickle after the other (magic number, protocol, machine, tensors, order of storages), then the storages."""
    with path.open("rb") as handle:
        if _Unpickler(handle).load() != LEGACY_MAGIC:
            raise ValueError("it does not begin as a file of PyTorch")
        _Unpickler(handle).load()
        if not _Unpickler(handle).load()["little_endian"]:
            raise ValueError("its numbers are big-endian")
        tensors = _named(_Unpickler(handle).load())
        sizes = {key: count * dtype.itemsize for dtype, key, count in (t.storage for t in tensors.values())}
        content = {str(key): _storage(handle, sizes[str(key)]) for key in _Unpickler(handle).load()}
    return {name: tensor.of(content[tensor.storage[1]]) for name, tensor in tensors.items()}


def _storage(handle: IO[bytes], size: int) -> bytes:
    struct.unpack("<q", handle.read(8))  # the number of elements, known already
    content = handle.read(size)
    if len(content) < size:
        raise EOFError("it ends too early")
    return content


def _named(found: Any) -> dict[str, _Tensor]:
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in found.items()
    ):
        raise ValueError("it holds something else than a table of tensors")
    return dict(found)
