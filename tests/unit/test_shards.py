"""Shards: every image in exactly one, none larger than it may be, and none touched by what comes beside it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tiny_cohort as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from covidpipe import paths
from covidpipe.cluster.status import benchmark_seconds
from covidpipe.errors import BadTable
from covidpipe.io.files import read_table, write_table
from covidpipe.io.shards import assign, cut, digests, owners, read_shard, shard_folders, with_shards
from covidpipe.schemas import IMAGES, INFECTION, REJECTED, SHARDS
from covidpipe.stages import collect, ingest
from covidpipe.workflow import Shard, shard_made, shards_of

NOTHING = pa.table({"row": pa.array([], pa.string()), "shard": pa.array([], pa.int32())})


def rows_of(numbers) -> pa.Array:
    return pa.array([f"{number:04d}" for number in sorted(numbers)], pa.string())


def after(rows: pa.Array, before: pa.Table, most: int) -> pa.Table:
    return pa.table({"row": rows, "shard": pa.array(assign(rows, before, most), pa.int32())})


def members(table: pa.Table) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for row, shard in zip(table["row"].to_pylist(), table["shard"].to_pylist(), strict=True):
        found.setdefault(shard, set()).add(row)
    return found


@given(
    generations=st.lists(st.sets(st.integers(0, 60)), min_size=1, max_size=8),
    most=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_no_shard_gains_a_row_and_few_are_cut_anew(generations, most):
    known = NOTHING
    for generation in generations:
        now = after(rows_of(generation), known, most)
        assert len(now) == len(generation)
        old, new = members(known), members(now)
        assert all(len(rows) <= most for rows in new.values())
        for number, rows in new.items():
            assert number > max(old, default=-1) or rows <= old[number]
        came = set(rows_of(generation).to_pylist()) - set(known["row"].to_pylist())
        computed = set().union(*(rows for number, rows in new.items() if number not in old))
        assert came <= computed
        assert len(computed) <= 2 * (len(came) + most)
        assert sum(number not in old for number in new) == math.ceil(len(computed) / most)
        known = now


@pytest.mark.parametrize("each", [1, 5, 30])
def test_small_increments_neither_leave_many_shards_nor_compute_rows_many_times(each):
    most, known, computed = 64, NOTHING, 0
    runs = 600 // each
    for run in range(1, runs + 1):
        old = members(known)
        known = after(rows_of(range(run * each)), known, most)
        computed += sum(len(rows) for number, rows in members(known).items() if number not in old)
    assert computed <= runs * each * (1 + math.log2(most / each))
    assert len(members(known)) <= 2 * runs * each / most + math.log2(most)


def test_larger_shards_than_may_be_are_cut_anew_and_smaller_ones_stay():
    whole = after(rows_of(range(20)), NOTHING, 8)
    assert [len(rows) for rows in members(whole).values()] == [8, 8, 4]
    assert after(rows_of(range(20)), whole, 50) == whole
    assert sorted(len(rows) for rows in members(after(rows_of(range(20)), whole, 5)).values()) == [1, 4, 5, 5, 5]


@given(
    generations=st.lists(st.dictionaries(st.integers(0, 60), st.integers(1, 7)), min_size=1, max_size=8),
    most=st.integers(7, 12),
)
@settings(max_examples=100, deadline=None)
def test_rows_of_different_cost_are_cut_by_what_they_cost(generations, most):
    """A row of another cost is another row: its digest tells."""
    known = NOTHING
    for generation in generations:
        cost = {f"{number:04d}{each}": each for number, each in sorted(generation.items())}
        number = assign(pa.array(cost, pa.string()), known, most, np.array(list(cost.values()), int))
        now = pa.table({"row": pa.array(cost, pa.string()), "shard": pa.array(number, pa.int32())})
        old, new = members(known), members(now)
        assert all(sum(cost[row] for row in rows) <= most for rows in new.values())
        for shard, rows in new.items():
            assert shard > max(old, default=-1) or rows <= old[shard]
        computed = [rows for shard, rows in sorted(new.items()) if shard not in old]
        for some, following in pairwise(computed):
            assert sum(cost[row] for row in some) + cost[min(following)] > most
        came = sum(each for row, each in cost.items() if row not in set(known["row"].to_pylist()))
        assert sum(cost[row] for rows in computed for row in rows) <= 2 * (came + most)
        known = now


def test_films_of_many_pixels_are_in_shards_of_fewer(tmp_path):
    sides = [512, 512, 2048, 2048, 4096, 4096, 1024, 20_000, None]
    images = pa.concat_tables([images_of([n], rows=side, columns=side) for n, side in enumerate(sides)])
    assert write(tmp_path, images, 5)["shard"].to_pylist() == [0, 0, 0, 0, 1, 2, 2, 3, 4]
    assert write(tmp_path, images, 5)["shard"].to_pylist() == [0, 0, 0, 0, 1, 2, 2, 3, 4]


def images_of(numbers, **more) -> pa.Table:
    rows = [
        {"image_id": f"{n:016x}", "path": f"{n}.png", "frame": 0, "accepted": True, "warnings": [], "slice_index": n}
        | more
        for n in numbers
    ]
    return pa.Table.from_pylist(rows, schema=IMAGES.schema)


def test_a_digest_moves_with_every_column():
    one = {"patient_id": "p", "rows": 3, "row_spacing_mm": 0.1, "warnings": ["a", "b"], "label": True, "reason": None}
    first = digests(images_of([1], **one))
    changes = ({"patient_id": None}, {"rows": 4}, {"row_spacing_mm": 0.1000001}, {"warnings": ["a"]}, {"label": None},
               {"reason": "blank"}, {"study_id": "p", "patient_id": None})  # fmt: skip
    told = {digests(images_of([1], **(one | change)))[0].as_py() for change in changes}
    assert len(told | {first[0].as_py()}) == len(changes) + 1
    assert digests(images_of([1], **one)) == first


def write(folder, table, most):
    write_table(folder / "images.parquet", table, IMAGES)
    return cut(table, folder / "shards.parquet", most)


def test_shards_of_a_table_that_grew(tmp_path):
    images = tmp_path / "images.parquet"
    write(tmp_path, images_of(range(0, 20, 2)), 4)
    first = shards_of(images, 4)
    assert [(one.number, one.images) for one in first] == [(0, 4), (1, 4), (2, 2)]
    write(tmp_path, images_of([*range(2, 20, 2), 3, 15]), 4)
    second = shards_of(images, 4)
    assert [(one.number, one.images) for one in second] == [(0, 3), (1, 4), (3, 4)]  # 2 was small: taken along
    assert [one.made for one in second[:2]] == [one.made for one in first[:2]]
    assert shard_made(images, "00001") == first[1].made and len({one.made for one in (*first, *second)}) == 4
    assert read_shard(images, 3, 4)["slice_index"].to_pylist() == [3, 15, 16, 18]
    assert read_shard(images, 0, 4)["slice_index"].to_pylist() == [2, 4, 6]
    assert {row["slice_index"]: number for row, number in with_shards(images, 4)}[15] == 3
    for name in ("00000", "00002"):
        (tmp_path / "all" / name).mkdir(parents=True)
    assert [folder.name for folder in shard_folders([tmp_path / "all"], images, 4)] == ["00000", "00001", "00003"]
    with pytest.raises(BadTable, match="names for shard 2, found 0"):
        read_shard(images, 2, 4)
    write_table(images, images_of(range(5)), IMAGES)
    with pytest.raises(BadTable, match=r"images of .* are in no shard"):
        owners(images, read_table(images, IMAGES)["image_id"])


def test_an_image_whose_row_moves_goes_to_a_new_shard(tmp_path):
    write(tmp_path, images_of(range(4)), 2)
    moved = pa.concat_tables([images_of(range(3)), images_of([3], row_spacing_mm=2.0)])
    assert write(tmp_path, moved, 2)["shard"].to_pylist() == [0, 0, 2, 2]  # with the one that was left alone


def test_what_is_to_be_computed_once_more_gets_a_shard_of_its_own(tmp_path):
    first = write(tmp_path, images_of(range(4)), 2)
    again = cut(images_of(range(4)), tmp_path / "shards.parquet", 2, first["image_id"].combine_chunks()[2:])
    assert again["shard"].to_pylist() == [0, 0, 2, 2]


def test_images_that_were_lost_are_tried_again(tmp_path):
    config = tiny.config(tmp_path)
    images = images_of(range(4))
    assert len(ingest.lost(config, "c", images)) == 0
    gone = {"cohort": "c", "frame": 0, "reason": "unreadable", "sentence": "Gone."}
    told = [gone | {"image_id": one} for one in ("other", f"{2:016x}")]
    write_table(paths.cohort(config, "c") / "rejected.parquet", told, REJECTED)
    assert ingest.lost(config, "c", images).to_pylist() == [f"{2:016x}"]
    assert len(ingest.lost(config, "khan2020", images)) == 0


def test_a_cut_that_cannot_be_read_is_made_anew(tmp_path, caplog):
    (tmp_path / "shards.parquet").write_bytes(b"rubbish")
    assert write(tmp_path, images_of(range(3)), 2)["shard"].to_pylist() == [0, 0, 1]
    assert "cut anew" in caplog.text


def test_an_empty_cohort_has_one_shard(tmp_path):
    assert len(write(tmp_path, images_of([]), 2)) == 0
    assert shards_of(tmp_path / "images.parquet", 2) == [Shard(0, 0)]
    assert len(read_shard(tmp_path / "images.parquet", 0, 2)) == 0


def infection(folder, numbers, share=1.0):
    rows = [
        {
            "cohort": "c",
            "image_id": f"{n:016x}",
            "slice_index": n,
            "method": method,
            "qc_status": "ok",
            "qc_reasons": [],
            "pipeline_version": "0",
            "schema_version": "0",
            "infection_percent": share,
        }
        for n in numbers
        for method in ("alom2020", "khan2020")
    ]
    write_table(folder / "infection.parquet", rows, INFECTION)


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_the_table_is_put_together_in_order_whatever_shard_a_row_is_in(piece, tmp_path, monkeypatch):
    """What has left a shard is not taken from it, though its results are still there."""
    monkeypatch.setattr(collect, "PIECE", piece)
    images, out = tmp_path / "images.parquet", tmp_path / "out"
    write(tmp_path, images_of(range(0, 20, 2)), 4)
    infection(out / "shards" / "00000", [0, 2, 4, 6], 7.0)
    infection(out / "shards" / "00001", [8, 10, 12, 14], 7.0)
    infection(out / "shards" / "00002", [16, 18])
    for name in ("logs/predict/00001.log", "logs/predict/00003.log", "benchmarks/quantify/00003.tsv"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"s\tio\n{name[-5]}\t0\n")
    (out / "benchmarks" / "quantify.tsv").write_text("s\tio\n9\t0\n")
    moved = pa.concat_tables([images_of([0, 2, 3, 6, 8, 12, 14, 15, 16, 18]), images_of([4], rows=3)])
    write(tmp_path, moved.sort_by("slice_index"), 4)
    infection(out / "shards" / "00003", [3, 4, 15, 16], 5.0)
    infection(out / "shards" / "00004", [18], 5.0)
    folders = shard_folders([out / "shards"], images, 4)
    collect.run(tiny.config(tmp_path), "c", images, [folder / "infection.parquet" for folder in folders], out)
    table = read_table(out / "infection.parquet", INFECTION)
    assert table["slice_index"].to_pylist() == np.repeat([0, 2, 3, 4, 6, 8, 12, 14, 15, 16, 18], 2).tolist()
    old = table.filter(pc.equal(table["infection_percent"], 7.0))["slice_index"].to_pylist()
    assert sorted(set(old)) == [0, 2, 6, 8, 12, 14]
    assert sorted(folder.name for folder in (out / "shards").iterdir()) == ["00000", "00001", "00003", "00004"]
    assert not [*(out / "logs" / "predict").iterdir(), *(out / "benchmarks" / "quantify").iterdir()]
    assert (out / "logs" / "predict.log").read_text() == "s\tio\n1\t0\ns\tio\n3\t0\n"
    assert benchmark_seconds(out / "benchmarks" / "quantify.tsv") == [9, 3]


def test_the_earlier_cut_keeps_to_its_declared_columns(tmp_path):
    table = write(tmp_path, images_of(range(3)), 2)
    assert read_table(tmp_path / "shards.parquet", SHARDS) == table
