"""Stores: whole, checked, and one writer a shard."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore, WrapperStore

from covidpipe.errors import BadTable, CovidpipeError
from covidpipe.harmonize import Transform
from covidpipe.io.store import creating, open_store, write_store
from covidpipe.schemas import MASK_INDEX, STORE_INDEX

ARRAYS = {"image": (6, 6), "lung_mask": (6, 6)}


def index_rows(n: int) -> list[dict]:
    return [
        {
            "n": k,
            "image_id": f"i{k}",
            **Transform.fit(6, 6, 6).as_dict(),
            "label": None,
            "has_lung_mask": True,
            "has_infection_mask": False,
        }
        for k in range(n)
    ]


def values(n: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.integers(1, 256, (n, *shape)).astype(np.uint8) for name, shape in ARRAYS.items()}


def blocks(content: dict[str, np.ndarray], shard: int):
    n = len(content["image"])
    return ({name: array[k : k + shard] for name, array in content.items()} for k in range(0, n, shard))


def new_store(folder, n: int, shard: int):
    return creating(folder, "images.zarr", index_rows(n), STORE_INDEX, ARRAYS, n, shard)


@pytest.mark.parametrize("n", [0, 1, 4, 8, 10])
def test_what_is_written_is_read(tmp_path, n):
    content = values(n)
    write_store(tmp_path / "s", "images.zarr", index_rows(n), STORE_INDEX, blocks(content, 4), ARRAYS, n, 4)
    store = open_store(tmp_path / "s")
    assert store.index["image_id"].tolist() == [f"i{k}" for k in range(n)]
    assert (store.shard, store.size) == (4, 6)
    for name, wanted in content.items():
        np.testing.assert_array_equal(store.read(name, np.arange(n)), wanted)
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["images.zarr", "index.parquet"]
    assert len([path for path in tmp_path.rglob("c/*/0/0") if "image" in path.parts]) == -(-n // 4)


def test_positions_are_read_in_the_order_asked_for(tmp_path):
    content = values(10)
    write_store(tmp_path / "s", "images.zarr", index_rows(10), STORE_INDEX, blocks(content, 4), ARRAYS, 10, 4)
    store = open_store(tmp_path / "s")
    for positions in ([9, 0, 5, 5, 3], [7], [], np.array([2, 1])):
        np.testing.assert_array_equal(store.read("image", positions), content["image"][np.asarray(positions, int)])


def test_arrays_are_zarr_3_sharded_zstd_checksummed(tmp_path):
    write_store(tmp_path / "s", "images.zarr", index_rows(4), STORE_INDEX, blocks(values(4), 4), ARRAYS, 4, 4)
    array = open_store(tmp_path / "s").arrays["image"]
    assert array.metadata.zarr_format == 3
    assert (array.shards, array.chunks) == ((4, 6, 6), (1, 6, 6))
    assert [type(codec).__name__ for codec in array.compressors] == ["ZstdCodec"] and array.compressors[0].checksum
    assert type(array._async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"


def as_before(path):
    """Let an array's images have their checksum behind them, as older versions wrote them."""
    array = zarr.open_array(path)
    content, keep = array[:], {"shape": array.shape, "shards": array.shards, "chunks": array.chunks}
    old = [ZstdCodec(level=3), Crc32cCodec()]
    zarr.create_array(path, dtype="uint8", compressors=old, fill_value=0, overwrite=True, **keep)[:] = content


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("positions", [[0], [0, 1], [3], [0, 1, 2, 3]])
def test_a_damaged_image_is_not_taken_for_a_good_one(tmp_path, before, positions):
    """Whether a shard is read whole or in part, and however its checksums stand."""
    content = values(4)
    write_store(tmp_path / "s", "images.zarr", index_rows(4), STORE_INDEX, blocks(content, 4), ARRAYS, 4, 4)
    if before:
        as_before(tmp_path / "s/images.zarr/image")
    shard = tmp_path / "s/images.zarr/image/c/0/0/0"
    np.testing.assert_array_equal(open_store(tmp_path / "s").read("image", positions), content["image"][positions])
    whole = shard.read_bytes()
    per_image = (len(whole) - 4 * 16 - 4) // 4
    damaged = bytearray(whole)
    damaged[positions[0] * per_image + 20] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(BadTable, match="shard 0 of `image` is damaged: its checksums do not hold"):
        open_store(tmp_path / "s").read("image", positions)


class SlowStore(WrapperStore):
    """Holds every reader of a shard until as many writers have read it: the unlucky moment, made certain."""

    def __init__(self, store, writers: int):
        super().__init__(store)
        self.all_have_read = asyncio.Barrier(writers)

    async def get(self, key, *args, **kwargs):
        value = await super().get(key, *args, **kwargs)
        if "c/" in key:
            await self.all_have_read.wait()
        return value


def test_two_writers_of_one_shard_undo_each_other():
    """Why there is a rule (dask 12583, zarr-python 3682): no error is raised, and half of the values are gone."""

    async def write_apart() -> np.ndarray:
        memory = MemoryStore()
        made = {"shape": (2, 3), "chunks": (1, 3), "shards": (2, 3), "dtype": "uint8"}
        await zarr.api.asynchronous.create_array(memory, **made)
        array = await zarr.api.asynchronous.open_array(store=SlowStore(memory, writers=2), mode="r+")
        await asyncio.gather(*(array.setitem((row, slice(None)), np.full(3, 9, np.uint8)) for row in (0, 1)))
        return await (await zarr.api.asynchronous.open_array(store=memory, mode="r")).getitem(...)

    written = asyncio.run(write_apart())
    assert sorted(written.sum(axis=1).tolist()) == [0, 27]


def test_our_writer_refuses_parts_of_a_shard(tmp_path):
    content = values(8)
    with pytest.raises(ValueError, match=r"shard 0 of `image`: wanted the whole shard.*came uint8 \(1, 6, 6\)"):
        write_store(tmp_path / "s", "images.zarr", index_rows(8), STORE_INDEX, blocks(content, 1), ARRAYS, 8, 4)
    assert list(tmp_path.iterdir()) == []


def test_our_writer_refuses_a_second_writer(tmp_path):
    content = values(8)
    whole = list(blocks(content, 4))
    with new_store(tmp_path / "s", 8, 4) as writer:
        with ThreadPoolExecutor(8) as pool:
            attempts = [pool.submit(writer.write, number, whole[number]) for number in (0, 1) * 4]
        refused = [attempt.exception() for attempt in attempts if attempt.exception()]
        assert len(refused) == 6
        assert all("has a writer already" in str(error) for error in refused)
    np.testing.assert_array_equal(open_store(tmp_path / "s").read("image", range(8)), content["image"])


@pytest.mark.parametrize("bad", [{}, {"image": 0}, {"image": 0, "lung_mask": 0, "more": 0}])
def test_our_writer_wants_every_array(tmp_path, bad):
    with pytest.raises(ValueError, match="wanted the arrays"), new_store(tmp_path / "s", 4, 4) as writer:
        writer.write(0, {name: np.zeros((4, 6, 6), np.uint8) for name in bad})


def test_other_types_are_not_cut_to_8_bits(tmp_path):
    with pytest.raises(ValueError, match="came float64"), new_store(tmp_path / "s", 4, 4) as writer:
        writer.write(0, {name: np.zeros((4, 6, 6)) for name in ARRAYS})


def test_a_store_with_a_missing_shard_never_appears(tmp_path):
    with pytest.raises(AssertionError, match="1 of 2 shards"), new_store(tmp_path / "s", 8, 4) as writer:
        writer.write(1, next(blocks(values(4), 4)))
    assert list(tmp_path.iterdir()) == []


def numbered(positions: range) -> dict[str, np.ndarray]:
    column = np.array(positions, np.uint8)[:, None, None]
    return {name: np.broadcast_to(column, (len(positions), *shape)) for name, shape in ARRAYS.items()}


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (4, False), (2, True)])
def test_shards_are_filled_side_by_side(tmp_path, workers, processes):
    with new_store(tmp_path / "s", 30, 4) as writer:
        writer.fill(numbered, [writer.positions(k) for k in range(writer.shards)], workers, processes=processes)
    assert open_store(tmp_path / "s").read("image", range(30))[:, 0, 0].tolist() == list(range(30))


def failing(positions: range) -> dict[str, np.ndarray]:
    if 5 in positions:
        raise BadTable("image i5 is gone")
    return numbered(positions)


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (3, False), (2, True)])
def test_one_failure_leaves_the_old_store_and_nothing_else(tmp_path, workers, processes):
    write_store(tmp_path / "s", "images.zarr", index_rows(4), STORE_INDEX, blocks(values(4), 4), ARRAYS, 4, 4)
    with pytest.raises(BadTable, match=r"^image i5 is gone$"), new_store(tmp_path / "s", 30, 4) as writer:
        writer.fill(failing, [writer.positions(k) for k in range(writer.shards)], workers, processes=processes)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert len(open_store(tmp_path / "s").index) == 4


def dying(positions: range) -> dict[str, np.ndarray]:
    os._exit(9)


def test_a_killed_worker_is_told_without_a_traceback(tmp_path):
    with pytest.raises(CovidpipeError, match="memory ran out"), new_store(tmp_path / "s", 8, 4) as writer:
        writer.fill(dying, [writer.positions(k) for k in range(writer.shards)], 2, processes=True)
    assert list(tmp_path.iterdir()) == []


def test_masks_have_their_own_index(tmp_path):
    row = {
        "n": 0,
        "image_id": "i0",
        "method": "alom2020",
        **Transform.fit(6, 6, 6).as_dict(),
        "reasons": [],
    }
    masks = {"lung_mask": np.ones((1, 6, 6), np.uint8)}
    write_store(tmp_path / "m", "masks.zarr", [row], MASK_INDEX, [masks], {"lung_mask": (6, 6)}, 1, 4)
    store = open_store(tmp_path / "m")
    assert store.index["method"].tolist() == ["alom2020"]
    assert store.read("lung_mask", [0]).all()


def test_no_store_is_told_with_the_way_out(tmp_path):
    with pytest.raises(BadTable, match=r"no such folder. Run the stage"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(BadTable, match=r"found none"):
        open_store(tmp_path)
