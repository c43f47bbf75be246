"""Weights that PyTorch wrote, read without PyTorch and without running anything that a file asks for.

`.safetensors` holds numbers and nothing else. A `.pth` file is a pickle: a program, which may call any function when it
is run. Here it is not run: the standard library's disassembler lists its instructions, and those of which a table of
tensors consists are understood as data. Every other instruction, and every other name, is refused.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from covidpipe.errors import BadWeights

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file of before PyTorch 1.6, which is no zip archive
STORAGES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}
DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, AttributeError, IndexError, KeyError, MemoryError,
    NotImplementedError, OverflowError, RecursionError, RuntimeError, TypeError, ValueError,
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
class _Storage:
    """Numbers of one kind, by the name they have in the file."""

    dtype: np.dtype
    key: str
    count: int

    @property
    def bytes(self) -> int:
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor's numbers are, until they are read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, content: bytes) -> np.ndarray:
        dtype, count = self.storage.dtype, self.storage.count
        if any(number < 0 for number in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor with a negative size")
        if math.prod(self.shape) > count:  # one number repeated over and over takes more memory than the file
            raise ValueError("a tensor that is larger than its storage")
        strides = [stride * dtype.itemsize for stride in self.strides]
        # NumPy checks that all of it lies within `content`
        return np.ndarray(self.shape, dtype, content, self.offset * dtype.itemsize, strides).copy()


# What a file may name. The first three stand before their arguments, and become what those say.
NAMES = {
    *("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"),
    *(f"torch {name}" for name in STORAGES),
}
# Instructions that put their own argument on the stack, that leave all as it is, and that gather so many values.
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT"}
PLAIN = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NOTHING = {"PROTO", "FRAME"}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """A name of `NAMES`, as it stands in a file: a word and no function."""

    word: str


def _table(handle: IO[bytes]) -> Any:
    """What the pickle at `handle` describes, of dicts, lists, tuples, words, numbers and `_Tensor`; nothing is called.

    Raises
    ------
    ValueError
        An instruction or a name that a table of tensors does not need.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = marks.pop()
        found = stack[at:]
        del stack[at:]
        return found

    argument: Any
    for opcode, argument, _ in pickletools.genops(handle):
        match opcode.name:
            case "STOP":
                return stack.pop()
            case name if name in NOTHING:
                pass
            case name if name in VALUES:
                stack.append(argument)
            case name if name in PLAIN:
                stack.append(PLAIN[name])
            case "GLOBAL":
                if argument not in NAMES:
                    asked = str(argument).replace(" ", ".")[:80]
                    raise ValueError(f"it asks for `{asked}`, which a table of tensors does not need")
                stack.append(_Name(argument))
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case name if name in TUPLES:
                gathered = tuple(stack[len(stack) - TUPLES[name] :])
                del stack[len(stack) - TUPLES[name] :]
                stack.append(gathered)
            case "APPEND":
                _put(stack, [stack.pop()])
            case "APPENDS":
                _put(stack, since_mark())
            case "SETITEM":
                value = stack.pop()
                _set(stack, [stack.pop(), value])
            case "SETITEMS":
                _set(stack, since_mark())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPERSID":
                stack.append(_storage_of(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_rebuilt(stack.pop(), arguments))
            case "BUILD":
                stack.pop()  # what PyTorch notes beside a table: the versions of its layers
            case name:
                raise ValueError(f"it holds the instruction {name}, which a table of tensors does not need")
    raise EOFError("it ends too early")


def _put(stack: list[Any], values: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise TypeError("values are put into something else than a list")
    stack[-1].extend(values)


def _set(stack: list[Any], entries: list[Any]) -> None:
    keys = entries[::2]
    if not isinstance(stack[-1], dict) or not all(isinstance(key, str | int) for key in keys):
        raise TypeError("a table with other keys than words")
    stack[-1].update(zip(keys, entries[1::2], strict=True))


def _storage_of(identifier: Any) -> _Storage:
    _, kind, key, _, count, *part = identifier
    if any(part):  # of another storage: PyTorch before 0.4
        raise ValueError("it was written before PyTorch 0.4")
    if not (isinstance(kind, _Name) and isinstance(key, str | int) and isinstance(count, int)):
        raise TypeError("a storage of no known kind or size")
    return _Storage(STORAGES[kind.word.removeprefix("torch ")], str(key), count)


def _rebuilt(name: Any, arguments: Any) -> Any:
    """What a name and its arguments stand for."""
    match name, arguments:
        case _Name("collections OrderedDict"), ():
            return {}
        case _Name("torch._utils _rebuild_tensor_v2"), (_Storage() as storage, int(at), sides, steps, *_):
            if all(isinstance(number, int) for number in (*sides, *steps)):
                return _Tensor(storage, at, tuple(sides), tuple(steps))
        case _Name("torch._utils _rebuild_parameter"), (_Tensor() as tensor, *_):
            return tensor
    raise TypeError("it holds something else than a table of tensors")


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        folder = index.removesuffix(".pkl")
        with archive.open(index) as handle:
            tensors = _named(_table(handle))
        return {name: tensor.of(_member(archive, folder, tensor.storage)) for name, tensor in tensors.items()}


def _member(archive: zipfile.ZipFile, folder: str, storage: _Storage) -> bytes:
    with archive.open(f"{folder}/{storage.key}") as handle:
        return handle.read(storage.bytes)  # never more, however much the archive would unpack to


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """One pickle after the other (magic number, protocol, machine, tensors, order of storages), then the storages."""
    with path.open("rb") as handle:
        if _table(handle) != LEGACY_MAGIC:
            raise ValueError("it does not begin as a file of PyTorch")
        _table(handle)
        if not _table(handle)["little_endian"]:
            raise ValueError("its numbers are big-endian")
        tensors = _named(_table(handle))
        sizes = {tensor.storage.key: tensor.storage.bytes for tensor in tensors.values()}
        order = _table(handle)
        if not isinstance(order, list) or not all(isinstance(key, str | int) for key in order):
            raise TypeError("its storages have no order")
        content = {str(key): _storage(handle, sizes[str(key)]) for key in order}
    return {name: tensor.of(content[tensor.storage.key]) for name, tensor in tensors.items()}


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
