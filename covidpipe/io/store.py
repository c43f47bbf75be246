"""Sharded Zarr stores of images and masks, each with its index: the only module that writes Zarr.

A shard is one file. Writing a part of it means reading the file, changing it and writing it back, so two writers of one
shard undo each other's work without any error (dask issue 12583, zarr-python issue 3682). Here a shard is therefore
written once, whole, by whoever claims it; everything else is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import dask
import numpy as np
import pandas as pd
import zarr
from dask.multiprocessing import RemoteException
from numpy.typing import ArrayLike, NDArray
from zarr.codecs import ZstdCodec

from covidpipe.cores import available_cores
from covidpipe.errors import BadTable, CovidpipeError
from covidpipe.io.files import read_frame, replacing, write_table
from covidpipe.schemas import MASK_INDEX, STORE_INDEX, TableSpec

Block = Mapping[str, NDArray[np.uint8]]
Item = TypeVar("Item")

# What reads: zarrs' codecs in Rust rather than Zarr's, image by image in Python. They do not write here: of a shard
# without any pixel they write nothing, and missing would then be empty.
FAST_READING = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": available_cores()}
# What writes: Zarr's own codecs, by as many images at a time; by one, handing them over takes as long as the codecs do.
FAST_WRITING = {"codec_pipeline.batch_size": 64}

SPECS = {"images.zarr": STORE_INDEX, "masks.zarr": MASK_INDEX}
INDEX = "index.parquet"
SHARD_INDEX = 16  # bytes that a shard has at least for each image: where it begins, how long it is
AGAIN = "Delete the folder and run again."
# What Zarr and its codecs raise for metadata and images that are damaged.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OSError, MemoryError)


@dataclass(frozen=True)
class Writer:
    """Writes the shards of a new store, from any thread or process, each exactly once.

    Parameters
    ----------
    folder : Path
        The unfinished store; what else is put here becomes part of it.
    name : str
        The Zarr group in it.
    n, shard : int
        Images of the store and of a shard.
    """

    folder: Path
    name: str
    n: int
    shard: int

    @property
    def claims(self) -> Path:
        """A folder with one empty file for each shard that has a writer."""
        return self.folder / ".claims"

    @property
    def shards(self) -> int:
        return -(-self.n // self.shard)

    def positions(self, number: int) -> range:
        """Positions of the images of shard `number`."""
        return range(number * self.shard, min((number + 1) * self.shard, self.n))

    def write(self, number: int, block: Block) -> None:
        """Write shard `number` of every array.

        Parameters
        ----------
        number : int
        block : mapping of array name to (images of this shard, rows, columns) of uint8

        Raises
        ------
        ValueError
            The block is not the whole shard, or the shard has a writer already.
        """
        with zarr.config.set(FAST_WRITING):
            self._write(number, block)

    def _write(self, number: int, block: Block) -> None:
        place = self.positions(number)
        group = zarr.open_group(self.folder / self.name, mode="r+")
        # A mask without any pixel is written like any other: what is missing is then missing, and not empty.
        arrays = {name: array.with_config({"write_empty_chunks": True}) for name, array in group.arrays()}
        if set(block) != set(arrays):
            raise ValueError(f"shard {number}: wanted the arrays {sorted(arrays)}, came {sorted(block)}")
        for name, values in block.items():
            wanted = (len(place), *arrays[name].shape[1:])
            if not len(place) or values.shape != wanted or values.dtype != np.uint8:
                raise ValueError(
                    f"shard {number} of `{name}`: wanted the whole shard, uint8 {wanted}, came {values.dtype} "
                    f"{values.shape}: parts of a shard written apart undo each other"
                )
        try:
            (self.claims / str(number)).touch(exist_ok=False)
        except FileExistsError:
            raise ValueError(f"shard {number} has a writer already: two writers undo each other's work") from None
        for name, values in block.items():
            arrays[name][place.start : place.stop] = values

    def fill(
        self, make: Callable[[Item], Block], items: Sequence[Item], workers: int, *, processes: bool = False
    ) -> None:
        """Make and write all shards; no more than `workers` are in memory.

        Parameters
        ----------
        make : function
            Takes the item of one shard, gives its block.
        items : sequence
            One for each shard, in order.
        workers : int
        processes : bool
            Work in processes, for decoders that hold the interpreter's lock; NumPy, OpenCV and zstd let go of it.

        Raises
        ------
        CovidpipeError
            What `make` raises, or that a worker process was killed.
        """
        assert len(items) == self.shards, f"{len(items)} items for {self.shards} shards"
        one = dask.delayed(_make_and_write, pure=False)
        tasks = [one(self, make, number, item) for number, item in enumerate(items)]
        workers = min(workers, self.shards)
        if workers < 2:
            dask.compute(*tasks, scheduler="synchronous")
            return
        # A pool of our own: when a shard fails, leaving it waits for those under way, so that none writes into a folder
        # that is being removed. Spawned: a fork would inherit Zarr's threads in the middle of their work.
        pool: Executor
        if processes:
            pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        else:
            pool = ThreadPoolExecutor(workers)
        try:
            with pool:
                dask.compute(*tasks, scheduler="processes" if processes else "threads", pool=pool)
        except RemoteException as error:
            raise error.exception from error  # Dask's own has the other process's traceback in its message
        except BrokenProcessPool:
            raise CovidpipeError(
                f"{self.name}: one of {workers} worker processes was killed, most likely because memory ran out. "
                "Ask for more memory or for fewer workers."
            ) from None


def _make_and_write(writer: Writer, make: Callable[[Item], Block], number: int, item: Item) -> None:
    writer.write(number, make(item))


@contextmanager
def creating(
    folder: str | Path,
    name: str,
    index_rows: pd.DataFrame | list[dict[str, Any]],
    spec: TableSpec,
    arrays: Mapping[str, tuple[int, int]],
    n: int,
    shard: int,
) -> Iterator[Writer]:
    """Yield the `Writer` of a new store; the folder takes its name once every shard is written, or never.

    Parameters
    ----------
    folder : path
        Holds `name`, ``index.parquet``, and what the caller puts into the writer's folder.
    name : {"images.zarr", "masks.zarr"}
    index_rows : table
        Rows of `spec`, one for each n.
    spec : TableSpec
    arrays : mapping of array name to (rows, columns)
    n, shard : int
        Images in all, and in one shard.
    """
    assert len(index_rows) == n, f"{len(index_rows)} index rows for {n} images"
    with replacing(folder) as partial:
        partial.mkdir()
        write_table(partial / INDEX, index_rows, spec)
        group = zarr.create_group(partial / name, zarr_format=3)
        for array, shape in arrays.items():
            group.create_array(
                array,
                shape=(n, *shape),
                dtype="uint8",
                chunks=(1, *shape),
                shards=(shard, *shape),
                # The checksum tells a damaged image from a dark one; the shard's index has its own. It is that of Zstd:
                # of a part of a shard, zarrs does not look at a checksum that stands behind the image. Level 1 takes
                # a third of level 3's time, and 1 % more bytes of CT slices.
                compressors=[ZstdCodec(level=1, checksum=True)],
                fill_value=0,
                dimension_names=("image", "row", "column"),
            )
        writer = Writer(partial, name, n, shard)
        writer.claims.mkdir()
        yield writer
        written = sum(1 for _ in writer.claims.iterdir())
        assert written == writer.shards, f"{written} of {writer.shards} shards were written"
        shutil.rmtree(writer.claims)


def write_store(
    folder: str | Path,
    name: str,
    index_rows: pd.DataFrame | list[dict[str, Any]],
    spec: TableSpec,
    blocks: Iterable[Block],
    arrays: Mapping[str, tuple[int, int]],
    n: int,
    shard: int,
) -> None:
    """Write a store from blocks that come in order, each one whole shard (the last may be shorter).

    Parameters are those of `creating`; `blocks` gives for each shard a mapping of array name to uint8 values.
    """
    with creating(folder, name, index_rows, spec, arrays, n, shard) as writer:
        for number, block in enumerate(blocks):
            writer.write(number, block)


@dataclass(frozen=True)
class Store:
    """An open store.

    Parameters
    ----------
    folder : Path
    index : pandas.DataFrame
        One row for each n, in that order.
    arrays : mapping of name to zarr.Array, each (n, rows, columns) of uint8
    """

    folder: Path
    index: pd.DataFrame
    arrays: Mapping[str, zarr.Array]

    @property
    def shard(self) -> int:
        """Images of one shard."""
        array = next(iter(self.arrays.values()))
        return (array.shards or array.chunks)[0]

    @property
    def size(self) -> int:
        """Rows and columns of the images."""
        return next(iter(self.arrays.values())).shape[-1]

    def read(self, name: str, positions: ArrayLike) -> NDArray[np.uint8]:
        """Images or masks at `positions`, in that order, (len(positions), rows, columns) of uint8.

        Each shard is read once, from the first to the last image wanted of it: Zarr's own orthogonal selection opens
        the shard again for every image.

        Raises
        ------
        BadTable
            The array, a shard or an image of it is missing or damaged: every image has a checksum.
        """
        if name not in self.arrays:
            raise BadTable(
                f"{self.folder}: wanted the array `{name}`, found {', '.join(self.arrays) or 'none'}. {AGAIN}"
            )
        array, wanted = self.arrays[name], np.asarray(positions, np.int64)
        values = np.empty((len(wanted), *array.shape[1:]), np.uint8)
        for shard in np.unique(wanted // self.shard):
            here = np.flatnonzero(wanted // self.shard == shard)
            first, last = wanted[here].min(), wanted[here].max()
            self._check_shard(name, int(shard))
            try:
                values[here] = np.asarray(array[first : last + 1])[wanted[here] - first]
            except DAMAGED as error:
                raise BadTable(
                    f"{self.folder}: shard {shard} of `{name}` is damaged: its checksums do not hold "
                    f"({type(error).__name__}). {AGAIN}"
                ) from error
        return values

    def _check_shard(self, name: str, shard: int) -> None:
        """Refuse a shard whose file is gone or empty, as a power cut leaves it.

        Zarr takes it for one of zeros, and masks of zeros for no infection.
        """
        files = [self.folder / group / name / "c" / str(shard) / "0" / "0" for group in SPECS]
        if not any(file.is_file() and file.stat().st_size > SHARD_INDEX * self.shard for file in files):
            raise BadTable(f"{self.folder}: shard {shard} of `{name}` is gone, or empty. {AGAIN}")


def open_store(folder: str | Path) -> Store:
    """Open the store in `folder`.

    Raises
    ------
    BadTable
        The folder holds no whole store.
    """
    folder = Path(folder)
    for name, spec in SPECS.items():
        if (folder / name / "zarr.json").is_file():
            index = read_frame(folder / INDEX, spec)
            # Not Group.arrays(): it warns of every other file, such as the time stamp that Snakemake leaves there.
            found = sorted(path.parent for path in (folder / name).glob("*/zarr.json"))
            try:
                arrays = {path.name: _open_array(path) for path in found}
                whole = all(_is_as_written(array, len(index)) for array in arrays.values())
            except DAMAGED as error:
                raise BadTable(f"{folder}: {name} is damaged ({type(error).__name__}). {AGAIN}") from error
            if not arrays or not whole or len({array.shape for array in arrays.values()}) > 1:
                raise BadTable(f"{folder}: {INDEX} and {name} differ in length, or an array in its form. {AGAIN}")
            return Store(folder, index, arrays)
    raise BadTable(
        f"{folder}: wanted a store ({' or '.join(SPECS)} beside {INDEX}), found "
        f"{'no such folder' if not folder.is_dir() else 'none'}. Run the stage that writes it first."
    )


def _open_array(path: Path) -> zarr.Array:
    """An array of a store; Zarr itself reads those of older versions, whose checksums stand behind the images."""
    array = zarr.open_array(path, mode="r")
    if not any(getattr(codec, "checksum", False) for codec in array.compressors):
        return array
    with zarr.config.set(FAST_READING):
        return zarr.open_array(path, mode="r")


def _is_as_written(array: zarr.Array, n: int) -> bool:
    """True for (n, rows, columns) of uint8, an image a chunk, as `creating` makes them."""
    shape = array.shape
    return (
        len(shape) == 3
        and shape[0] == n
        and array.dtype == np.uint8
        and tuple(array.chunks) == (1, *shape[1:])
        and array.shards is not None
        and array.fill_value == 0
    )
