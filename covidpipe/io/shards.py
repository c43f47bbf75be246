"""The shards of a cohort, as a command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidpipe.paths import shard_name
from covidpipe.workflow import shard_count


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
