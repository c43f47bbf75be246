"""Everything seen is a row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from test_dicom import dicom

from covidpipe.config import Config, Source, parse
from covidpipe.errors import BadConfig
from covidpipe.io import parallel
from covidpipe.io.files import read_table
from covidpipe.io.rows import Task
from covidpipe.io.sources import image_root, read_list, walk
from covidpipe.provenance import id_key, keyed_hash
from covidpipe.records import ImageRecord
from covidpipe.schemas import IMAGES
from covidpipe.sealed import place, unseal
from covidpipe.stages import ingest


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (70, 80), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good images, a copy, pages, rubbish of several kinds, and what must not be seen."""
    root = tmp_path / "in"
    picture(root / "b/1.png")
    picture(root / "b/2.png", 1)
    picture(root / "a/copy.png", 1)
    tifffile.imwrite(
        root / "pages.tif", np.random.default_rng(2).integers(0, 255, (3, 70, 80), np.uint8), photometric="minisblack"
    )
    (root / "README").write_text("about these images")
    (root / "empty.dcm").touch()
    (root / "half.png").write_bytes((root / "b/1.png").read_bytes()[:900])
    (root / "gone.png").symlink_to(root / "nowhere.png")
    picture(root / ".hidden/3.png")
    (root / ".DS_Store").touch()
    return root


def rows_of(root: Path, **source) -> list[dict]:
    return ingest.inspect(root, **{"modality": "ct", **source})


def test_every_file_is_a_row_with_a_reason(folder):
    rows = rows_of(folder)
    found = {(row["path"], row["frame"]): row["reason"] for row in rows}
    assert found == {
        ("README", 0): "unsupported_format",
        ("a/copy.png", 0): None,
        ("b/1.png", 0): None,
        ("b/2.png", 0): None,
        ("empty.dcm", 0): "unreadable",
        ("gone.png", 0): "unreadable",
        ("half.png", 0): "unreadable",
        ("pages.tif", 0): None,
        ("pages.tif", 1): None,
        ("pages.tif", 2): None,
    }
    assert [row["slice_index"] for row in rows if row["path"] == "pages.tif"] == [0, 1, 2]
    assert {row["path"] for row in rows if "duplicate" in row["warnings"]} == {"a/copy.png", "b/2.png"}
    for row in rows:
        assert (row["sentence"] is None) == row["accepted"]
        assert row["path"] not in (row["sentence"] or "")


def test_ids_are_unique_and_do_not_depend_on_the_place(folder, tmp_path):
    here = {row["path"]: row["image_id"] for row in rows_of(folder)}
    folder.rename(tmp_path / "elsewhere")
    there = {row["path"]: row["image_id"] for row in rows_of(tmp_path / "elsewhere")}
    assert here == there
    assert len(set(here.values())) == len(here)


def test_the_table_is_written_with_its_record(folder, tmp_path):
    config = parse({"cohorts": {"c": {"path": str(folder), "modality": "xr"}}}, "here")
    out = tmp_path / "out/images.parquet"
    ingest.run(config, "c", out)
    first = out.read_bytes()
    table = read_table(out, IMAGES)
    assert table.num_rows == 10
    assert set(table["intensity"].to_pylist()) == {"radiograph", None}
    assert json.loads((out.parent / "run.json").read_text())["counts"]["accepted"] == 6
    ingest.run(config, "c", out)
    assert out.read_bytes() == first


def test_an_archive_and_a_single_file(folder, tmp_path):
    import shutil

    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", folder, "b"))
    config = parse({"cohorts": {"z": {"path": str(archive)}, "f": {"path": str(folder / "b/1.png")}}}, "here")
    for name, paths in (("z", ["b/1.png", "b/2.png"]), ("f", ["1.png"])):
        out = tmp_path / name / "images.parquet"
        ingest.run(config, name, out)
        table = read_table(out, IMAGES)
        assert sorted(map(unseal, table["path"].to_pylist())) == paths
        root = image_root(config.source_root(name), out.parent / "unpacked")
        assert all(place(root, path).is_file() for path in table["path"].to_pylist())


def test_a_list_says_what_it_knows(folder):
    table = folder / "list.csv"
    table.write_text("file,patient,series,slice_index,modality\nb/1.png,P7,S,4,xr\nb/nowhere.png,,,,\n")
    first, second = ingest.inspect(table)
    assert (first["slice_index"], first["modality"], first["modality_source"]) == (4, "xr", "declared")
    assert first["patient_id"] == keyed_hash("patient", "P7", key=id_key())
    assert (second["reason"], second["patient_id"]) == ("unreadable", None)


def test_lists_of_plain_paths_and_wrong_lists(tmp_path):
    table = tmp_path / "list.txt"
    table.write_text("a, b.png\n\nc.png\n")
    assert [record.path for record in read_list(table)] == ["a, b.png", "c.png"]
    for text, words in (
        ("", "the list is empty"),
        ("name\nx\n", "wanted a column `path` or `file`, found name"),
        ("path,modality\nx,mr\n", "row 2: an unknown modality; it can be ct or xr"),
        ("path,slice_index\nx,-1\n", "row 2: slice_index is no whole number"),
    ):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(BadConfig, match=words):
            read_list(tmp_path / "list.csv")


def test_a_missing_source_is_named(tmp_path):
    config = parse({"cohorts": {"c": {"path": str(tmp_path / "nowhere")}}}, "here")
    with pytest.raises(BadConfig, match="nowhere: there is no such file or folder"):
        ingest.run(config, "c", tmp_path / "out/images.parquet")
    assert not (tmp_path / "out").exists()


def test_linked_folders_are_entered_once(folder):
    (folder / "b/back").symlink_to(folder)
    (folder / "linked").symlink_to(folder.parent / "outside")
    picture(folder.parent / "outside/9.png")
    assert [path for path in walk(folder) if path.endswith(".png")] == [
        *("a/copy.png", "b/1.png", "b/2.png", "gone.png", "half.png", "linked/9.png")
    ]


def test_no_date_reaches_the_table(tmp_path):
    (tmp_path / "in").mkdir()
    for name, day in (("a", "20200322"), ("b", "20200405")):
        dicom(tmp_path / "in" / name, StudyInstanceUID=f"1.{day}", StudyDate=day)
    rows = ingest.inspect(tmp_path / "in")
    assert [row["study_day"] for row in rows] == [0, 14]
    assert not any(day in json.dumps(rows) for day in ("20200322", "20200405", "2020-"))


def dies_on_poison(task: Task) -> list[dict]:
    """Stands in for a native decoder that takes its process down."""
    if "poison" in task.record.path:
        os.kill(os.getpid(), signal.SIGKILL)
    return [{"path": task.record.path, "reason": None}]


def test_a_crash_of_a_decoder_costs_one_file(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel, "read_rows", dies_on_poison)
    names = [f"{n}.png" for n in range(9)]
    names[4] = "poison.png"
    tasks = [Task(tmp_path, ImageRecord(name), None, None, Config().limits) for name in names]
    rows = [row for rows in parallel.read_in_parallel(tasks) for row in rows]
    assert [row["path"] for row in rows] == names
    assert [row["path"] for row in rows if row["reason"] == "unreadable"] == ["poison.png"]


def test_workers_that_cannot_start_are_not_blamed_on_the_files(folder):
    script = "from covidpipe.stages.ingest import inspect; from pathlib import Path; inspect(Path({!r}))"
    ended = subprocess.run(
        [sys.executable, "-"], input=script.format(str(folder)), capture_output=True, text=True, check=False
    )
    assert "Worker processes cannot be started" in ended.stderr


@pytest.mark.real_data
def test_every_odd_dicom_is_a_row(real_data: Path):
    root = real_data / "dicom-odd"
    rows = ingest.inspect(root)
    assert sorted(row["path"] for row in rows) == walk(root)
    reasons = {row["path"]: row["reason"] for row in rows}
    assert all(row["accepted"] for row in rows if "ct_chest" in row["path"] or "wg04" in row["path"])
    assert {reasons[path] for path in reasons if "ct_bad_series" in path} == {"not_hounsfield"}
    assert reasons["manifest.csv"] == "unsupported_format"
    assert reasons["pydicom_data/liver_deflate.dcm"] == "not_an_image"
    assert "unsupported_transfer_syntax" not in reasons.values()
    text = json.dumps([{k: v for k, v in row.items() if k != "path"} for row in rows])
    assert "MISTER" not in text


def test_identifiers_never_reach_the_table(tmp_path):
    picture(tmp_path / "in/1.png")
    rows = ingest.ingest(
        tmp_path / "in",
        [ImageRecord("1.png", patient="Doe^Jane", study="S-1", series="T-1")],
        Source(path=str(tmp_path / "in"), modality="ct"),
        Config().limits,
    )
    text = json.dumps(rows)
    assert not any(word in text for word in ("Doe", "S-1", "T-1"))
