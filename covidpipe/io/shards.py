"""The shards of a cohort: which images are in which, kept from run to run, and their folders on a command line."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from covidpipe.errors import BadTable
from covidpipe.io.files import read_pieces, read_rows, read_table, read_where, write_table
from covidpipe.paths import shard_name
from covidpipe.schemas import IMAGES, SHARDS
from covidpipe.workflow import shards_of, shards_table

log = logging.getLogger(__name__)

PIECE = 2**14  # rows that are text at a time
# Networks take as long for an image of any size, all else grows with its pixels: of so many, an image takes about four
# times as long as a CT slice (docs/cluster.md), and larger ones count as several.
LARGE = 2048 * 2048


def assign(rows: pa.Array, before: pa.Table, most: int, costs: np.ndarray | None = None) -> np.ndarray:
    """Numbers of the shards that rows belong to: that of an earlier cut for a row that was there, else a new one.

    No shard ever gains a row, so what was computed of it stands, and work is in proportion to the rows that came or
    changed. So that shards do not become many and small, new rows take those of small ones along: the smallest first,
    as long as they at most double what is cut anew. Over all runs a row is then taken along a few times at most.
    Where rows have costs, all of this is said of these.

    Parameters
    ----------
    rows : Array of str
        Digests of the rows, in the order of their table; each there once.
    before : Table
        Columns ``row`` and ``shard`` of the earlier cut, or nothing.
    most : int
        Rows of a shard, or what they cost together. Larger ones of the earlier cut are cut anew.
    costs : ndarray of int, shape (rows,), optional
        At most `most`; by default each row costs 1.

    Returns
    -------
    ndarray of int32, shape (rows,)

    Examples
    --------
    >>> none = pa.table({"row": pa.array([], pa.string()), "shard": pa.array([], pa.int32())})
    >>> assign(pa.array(["a", "b", "c", "d", "e"]), none, 2)
    array([0, 0, 1, 1, 2], dtype=int32)
    >>> cut = pa.table({"row": ["a", "b", "c", "d"], "shard": pa.array([0, 0, 1, 1], pa.int32())})
    >>> assign(pa.array(["a", "new", "b", "d"]), cut, 2)  # c is gone, and d, left alone, goes along with what is new
    array([0, 2, 0, 2], dtype=int32)
    >>> assign(pa.array(["a", "b", "c", "d", "e"]), none, 4, np.array([1, 2, 4, 1, 1]))
    array([0, 0, 1, 2, 2], dtype=int32)
    """
    costs = np.ones(len(rows), int) if costs is None else costs
    place = pc.index_in(rows, before["row"].combine_chunks()).fill_null(-1).to_numpy(zero_copy_only=False)
    old = np.append(before["shard"].to_numpy(), -1).astype(np.int32)
    shard = old[place]
    sizes = np.bincount(shard[shard >= 0], costs[shard >= 0]).astype(int)  # exact: below 2**53
    shard[np.isin(shard, np.flatnonzero(sizes > most))] = -1
    new = int(costs[shard < 0].sum())
    if new:
        small = np.flatnonzero((sizes > 0) & (2 * sizes <= most))
        for number in small[np.argsort(sizes[small], kind="stable")]:
            if sizes[number] > new:
                break
            shard[shard == number] = -1
            new += int(sizes[number])
        shard[shard < 0] = old.max() + 1 + _in_turn(costs[shard < 0], most)
    return shard


def _in_turn(costs: np.ndarray, most: int) -> np.ndarray:
    """Numbers from 0 for rows one after the other, a new one whenever the next would cost too much."""
    number, held, found = 0, 0, []
    for cost in costs.tolist():
        held += cost
        if held > most:
            number, held = number + 1, cost
        found.append(number)
    return np.array(found, np.int32)


def _costs(images: pa.Table, most: int) -> np.ndarray:
    """What each image costs, in pixels; `most` is that of a shard."""
    rows, columns = (images[name].fill_null(0).to_numpy() for name in ("rows", "columns"))
    return np.clip(rows.astype(np.int64) * columns, LARGE, most)


def members(number: np.ndarray) -> dict[int, np.ndarray]:
    """Places of the rows of each shard, in their order, found by one sort.

    Examples
    --------
    >>> members(np.array([1, 0, 1]))
    {0: array([1]), 1: array([0, 2])}
    """
    numbers, first = np.unique(np.sort(number), return_index=True)
    found = np.split(np.argsort(number, kind="stable"), first[1:])
    return dict(zip(numbers.tolist(), found, strict=False))


def digests(table: pa.Table) -> pa.Array:
    """A digest of each row, of all its columns: 20 hex digits."""
    found: list[str] = []
    for start in range(0, len(table), PIECE):
        columns = [
            pc.binary_join(column, "\x1e") if pa.types.is_list(column.type) else column.cast(pa.string())
            for column in table.slice(start, PIECE).itercolumns()
        ]
        texts = pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00")
        found += [hashlib.sha256(text.encode()).hexdigest()[:20] for text in texts.to_pylist()]
    return pa.array(found, pa.string())


def cut(images: pa.Table, path: Path, most: int, again: pa.Array | None = None) -> pa.Table:
    """Cut an image table into shards and write which images are in which (SHARDS); an earlier cut at `path` is kept to.

    Parameters
    ----------
    images : Table
        Rows of IMAGES, in their order.
    path : Path
        ``shards.parquet`` beside the image table.
    most : int
        Images of a shard; of more than `LARGE` pixels fewer, so that all of them have as many as so many of that size.
    again : Array of str, optional
        Images that are to be computed once more, though their rows are as they were.
    """
    before = SHARDS.schema.empty_table()
    if path.exists():
        try:
            before = read_table(path, SHARDS)
        except BadTable as error:
            log.warning("All shards are cut anew: %s", error)
    rows = digests(images)
    if again is not None:  # their shards keep their numbers, which are never given twice
        moved = pc.if_else(pc.is_in(before["image_id"], value_set=again), "", before["row"])
        before = before.set_column(before.column_names.index("row"), "row", moved)
    number = assign(rows, before, most * LARGE, _costs(images, most * LARGE))
    made = dict(zip(before["shard"].to_pylist(), before["made"].to_pylist(), strict=True))
    for new, mine in members(number).items():
        if new not in made:
            made[new] = hashlib.sha256("\n".join(rows.take(pa.array(mine)).to_pylist()).encode()).hexdigest()[:16]
    columns = {
        "image_id": images["image_id"],
        "shard": pa.array(number, pa.int32()),
        "made": pa.array([made[one] for one in number.tolist()], pa.string()),
        "row": rows,
    }
    return write_table(path, pa.table(columns), SHARDS)


def read_shard(images: Path, shard: int, shard_images: int) -> pa.Table:
    """Rows of one shard of an image table, accepted or not, in their stored order; little else is read.

    Parameters
    ----------
    images : Path
        The cohort's image table. Beside it is written which images are in which shard; an image table that stands alone
        is cut every `shard_images` rows.
    shard : int
        From 0.
    shard_images : int
        Images of a shard.

    Raises
    ------
    BadTable
        There is no such shard, or it is not one of this image table.
    """
    listed = shards_table(images)
    if not listed.exists():
        return read_rows(images, IMAGES, shard * shard_images, shard_images)
    ids = pq.read_table(listed, columns=["image_id"], filters=[("shard", "==", shard)])["image_id"]
    rows = read_where(images, IMAGES, "image_id", ids.combine_chunks())
    if len(rows) != len(ids) or (not len(ids) and shard > 0):
        raise BadTable(
            f"{images}: wanted the {len(ids)} images that {listed.name} names for shard {shard}, found {len(rows)}. "
            "Run ingest again."
        )
    return rows


def spread(images: Path, modality: str, count: int) -> list[dict[str, Any]]:
    """Accepted rows of a modality, `count` of them or all there are, evenly spread over an image table.

    Parameters
    ----------
    images : Path
        The cohort's image table; of other rows little is read.
    modality : {"ct", "xr"}
    count : int

    Returns
    -------
    list of dict
        In their stored order.
    """
    filters = [("accepted", "==", True), ("modality", "==", modality)]
    ids = pq.read_table(images, columns=["image_id"], filters=filters)["image_id"].combine_chunks()
    places = np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)
    return read_where(images, IMAGES, "image_id", ids.take(pa.array(places))).to_pylist()


def owners(images: Path, image_ids: pa.ChunkedArray) -> np.ndarray | None:
    """For each image the place of its shard among those of the cohort, from 0; None for an image table alone.

    Parameters
    ----------
    images : Path
    image_ids : ChunkedArray of str
        Those of the image table, in its order.

    Raises
    ------
    BadTable
        An image is in no shard.
    """
    listed = shards_table(images)
    if not listed.exists():
        return None
    known = read_table(listed, SHARDS)
    ids = known["image_id"].combine_chunks().cast(image_ids.type)
    place = pc.index_in(image_ids, ids)
    if place.null_count:
        raise BadTable(f"{listed}: {place.null_count} images of {images} are in no shard. Run ingest again.")
    number = known["shard"].to_numpy()[place.to_numpy()]
    return np.searchsorted(np.unique(number), number)


def with_shards(images: Path, shard_images: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Each row of an image table, in their order, with the number of its shard."""
    listed = shards_table(images)
    number: dict[str, int] = {}
    if listed.exists():
        known = read_table(listed, SHARDS)
        number.update(zip(known["image_id"].to_pylist(), known["shard"].to_pylist(), strict=True))
    done = 0
    for piece in read_pieces(images, IMAGES):
        for row in piece.to_pylist():
            yield row, number.get(row["image_id"], done // shard_images)
            done += 1


def shard_folders(given: Sequence[Path], images: Path, shard_images: int) -> list[Path]:
    """The paths that were given; one folder that holds all shards stands for those of the image table, in their order.

    A command line holds some thousands of paths, and a cohort of millions of images has more shards than that.

    Parameters
    ----------
    given : sequence of Path
    images : Path
        The cohort's image table: it says which shards there are, whatever an earlier run left in the folder.
    shard_images : int
        Images of a shard.
    """
    names = [shard_name(shard.number) for shard in shards_of(images, shard_images)]
    if len(given) == 1 and (given[0] / names[0]).is_dir():
        return [given[0] / name for name in names]
    return list(given)
