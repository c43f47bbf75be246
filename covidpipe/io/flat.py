"""Images in one uncompressed file: any few of them at once, in any order, without holding the rest in memory."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covidpipe.errors import CovidpipeError


class FlatImages:
    """Images of a store, copied once to a file without a name, which vanishes with the process that made it.

    A Zarr shard has to be opened, and its image decompressed, for every image that is wanted at random: some
    milliseconds. Here it is one read, mostly from the system's page cache. Not a memory map: its pages would count as
    memory of this process, and schedulers kill for that.

    Parameters
    ----------
    folder : Path
        Where the file lies; on the machine's disk, not in its memory.
    shape : tuple of int
        (n, rows, columns).

    Raises
    ------
    CovidpipeError
        The disk has not the room.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> images = FlatImages(tempfile.gettempdir(), (3, 1, 2))
    >>> images.append(np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.uint8))
    >>> images[[2, 0]].tolist()
    [[[5, 6]], [[1, 2]]]
    """

    def __init__(self, folder: str | Path, shape: tuple[int, int, int]):
        self.shape = shape
        self._image = shape[1] * shape[2]  # bytes
        self._written = 0
        self._places = np.arange(shape[0])  # of the images in the file, in the order that they are asked for
        wanted, free = math.prod(shape), shutil.disk_usage(folder).free
        if wanted > free:
            raise CovidpipeError(
                f"{folder}: wanted {wanted / 2**30:.1f} GiB for {shape[0]} uncompressed images of {shape[1]} x "
                f"{shape[2]}, found {free / 2**30:.1f} GiB free. Make room, or write the results elsewhere."
            )
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  lives as long as this object

    def __len__(self) -> int:
        return self.shape[0]

    def append(self, images: NDArray[np.uint8]) -> None:
        """Write the next images, uint8 (some, rows, columns)."""
        assert images.shape[1:] == self.shape[1:] and self._written + len(images) <= len(self)
        left = np.ascontiguousarray(images).reshape(-1).data
        while left:
            left = left[self._file.write(left) :]
        self._written += len(images)

    def arrange(self, order: NDArray[np.integer]) -> None:
        """From now on the image at position i is the one that was at ``order[i]``; nothing is written anew."""
        self._places = self._places[order]

    def __getitem__(self, positions: slice | Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Images at `positions`, in that order, (len(positions), rows, columns); from any thread."""
        chosen = self._places[positions]
        values = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for value, position in zip(values, chosen.tolist(), strict=True):
            self._read(value.reshape(-1).data, position * self._image)
        return values

    def _read(self, left: memoryview, offset: int) -> None:
        while left:
            got = os.preadv(self._file.fileno(), [left], offset)
            assert got, "the file is shorter than it was written"
            left, offset = left[got:], offset + got
