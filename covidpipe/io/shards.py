"""The shards of a cohort: their rows of the image table, and their folders as a command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from covidpipe.io.files import read_rows
from covidpipe.paths import shard_name
from covidpipe.schemas import IMAGES
from covidpipe.workflow import shard_count


def read_shard(images: Path, shard: int, shard_images: int) -> pa.Table:
    """Rows of one shard of an image table, accepted or not, in their stored order; the others are not read.

    Parameters
    ----------
    images : Path
        The cohort's image table.
    shard : int
        From 0.
    shard_images : int
        Images of a shard.
    """
    return read_rows(images, IMAGES, shard * shard_images, shard_images)


def shard_folders(given: Sequence[Path], images: Path, shard_images: int) -> list[Path]:
    """The paths that were given; one folder that holds all shards stands for those of the image table, in their order.

    A command line holds some thousands of paths, and a cohort of millions of images has more shards than that.

    Parameters
    ----------
    given : sequence of Path
    images : Path
        The cohort's image table: it says how many shards there are, whatever an earlier run left in the folder.
    shard_images : int
        Images of a shard.
    """
    if len(given) == 1 and (given[0] / shard_name(0)).is_dir():
        return [given[0] / shard_name(number) for number in range(shard_count(images, shard_images))]
    return list(given)
