"""Nothing of a name, a date or a folder leaves: files full of markers in, and a search of everything written."""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import canaries
import h5py
import imagecodecs
import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_cohort as tiny
import zarr

from covidpipe import cli, workflow
from covidpipe.config import dump, load
from covidpipe.errors import CovidpipeError
from covidpipe.inference import engine
from covidpipe.io import rows
from covidpipe.io.files import read_table
from covidpipe.report.body import without_writing
from covidpipe.schemas import IMAGES, INFECTION, REJECTED
from covidpipe.stages import collect, ingest, predict, quantify, report


def test_the_search_finds_a_marker_however_it_is_written(tmp_path):
    word = canaries.Markers().word()
    forms = {
        "plain": word.encode(),
        "small": word.lower().encode(),
        "wide": word.encode("utf-16-le"),
        "hex": word.encode().hex().encode(),
        **{f"base64-{n}": base64.b64encode(b"x" * n + word.encode() + b"yz") for n in range(6)},
        "uid": f"{canaries.UID}.5".encode(),
        "day": b"born 1931-02-07",
    }
    for name, content in forms.items():
        (tmp_path / name).write_bytes(b"before " + content + b" after")
    (tmp_path / word).touch()
    (tmp_path / "none").write_bytes(b"19310208 CNRQ7")
    found = {line.split(" ")[0] for line in canaries.leaks(tmp_path)}
    assert found == {*forms, word}


def _png(form: str, word: bytes) -> bytes:
    """A picture that holds a word in its pixels, or in a chunk of text."""
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    words = PIL.PngImagePlugin.PngInfo()
    place = np.frombuffer(word, np.uint8)
    if form == "channel":
        pixels[3, : len(place), 1] = place
    elif form == "row":
        pixels[3] = np.resize(np.frombuffer(word.ljust(192), np.uint8), (64, 3))
    elif form == "gray":
        pixels[3, : len(place)] = place[:, None]
    elif form != "iTXt":
        words.add(b"tEXt", word) if form == "tEXt" else words.add(b"zTXt", b"a\0\0" + zlib.compress(word))
    if form == "iTXt":
        words.add_itxt("a", word.decode("latin-1"), zip=True)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png", pnginfo=words)
    return file.getvalue()


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner", content)
    return file.getvalue()


def _tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        info = tarfile.TarInfo("inner")
        info.size = len(content)
        packed.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _parquet(word: bytes, place: str) -> bytes:
    filling = ["filling"] * 500
    columns = {"text": [*filling, word.decode("latin-1") if place == "cell" else "x"], "n": list(range(501))}
    columns["packed"] = [None] * 500 + [word if place == "binary cell" else b""]
    told = {"note": word} if place == "metadata" else None
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata(told), file, compression="zstd", write_statistics=False)
    return file.getvalue().to_pybytes()


def _hdf5(word: bytes, place: str) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        values = np.frombuffer(word if place == "values" else b"x" * 40, np.uint8)
        made.create_dataset("layer/values", data=np.resize(values, 4000), compression="gzip", chunks=(500,))
        made["layer"].attrs["name"] = np.void(word) if place == "attribute" else b"x"
    return file.getvalue()


def _page(content: bytes, kind: str) -> bytes:
    return b"<html><script>const rows = '" + base64.b64encode(content) + b"'</script>" + kind.encode()


CODED = {
    "plain": lambda word: word.encode(),
    "utf-16-le": lambda word: word.encode("utf-16-le"),
    "utf-16-be": lambda word: word.encode("utf-16-be"),
    "base64": lambda word: base64.b64encode(b"xy" + word.encode()),
    "hex": lambda word: word.encode().hex().encode(),
}
PLACES = {
    "text": lambda word: b"before " + word + b" after",
    "gzip": gzip.compress,
    "archive": _zipped,
    "archive in an archive": lambda word: _zipped(_zipped(word)),
    "tar": _tarred,
    "zstd": imagecodecs.zstd_encode,
    **{f"Parquet {place}": lambda word, place=place: _parquet(word, place) for place in ("binary cell", "metadata")},
    **{f"PNG {form}": lambda word, form=form: _png(form, word) for form in ("tEXt", "zTXt", "gray", "row", "channel")},
    "picture in a page": lambda word: _page(_png("gray", word), "img"),
    "deflated in a page": lambda word: _page(zlib.compress(bytes(300) + word, 9), "rows"),
    "deflated without a header in a page": lambda word: _page(zlib.compress(bytes(300) + word, 9)[2:-4], "rows"),
    "gzip in a page": lambda word: _page(gzip.compress(bytes(300) + word), "rows"),
    **{f"HDF5 {place}": lambda word, place=place: _hdf5(word, place) for place in ("values", "attribute")},
    "network": lambda word: _zipped(_hdf5(word, "values")),
}


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("place", PLACES)
def test_the_search_finds_a_marker_wherever_it_is_put(tmp_path, place, coding):
    """Each place in each coding: a search that finds nothing has then looked."""
    word = canaries.Markers().word()
    (tmp_path / "file").write_bytes(PLACES[place](CODED[coding](word)))
    (tmp_path / "other").write_bytes(PLACES[place](CODED[coding]("NOTHING-IN-HERE")))
    assert {line.split(" ")[0] for line in canaries.leaks(tmp_path)} == {"file"}


@pytest.mark.parametrize("coding", ["plain", "base64", "hex"])
def test_the_search_finds_a_marker_in_what_holds_only_words(tmp_path, coding):
    """Cells of a table, packed text of a picture, a name as Snakemake's metadata have it."""
    word = canaries.Markers().word()
    coded = CODED[coding](word)
    (tmp_path / "cell").write_bytes(_parquet(coded, "cell"))
    (tmp_path / "iTXt").write_bytes(_png("iTXt", coded))
    name = base64.urlsafe_b64encode(b"results/" + coded + b"/images.parquet").decode()
    (tmp_path / name).touch()
    assert {line.split(" (")[0] for line in canaries.leaks(tmp_path)} == {"cell", "iTXt", name}


@pytest.mark.parametrize("coding", CODED)
def test_the_search_finds_a_marker_in_a_store(tmp_path, coding):
    """In compressed shards as the pipeline writes them, and in attributes."""
    coded = CODED[coding](canaries.Markers().word())
    images = np.random.default_rng(0).integers(0, 255, (4, 16, 64), dtype=np.uint8)
    clean = zarr.create_array(tmp_path / "clean.zarr", data=images, chunks=(1, 16, 64), shards=(2, 16, 64))
    assert clean.attrs is not None and canaries.leaks(tmp_path) == []
    images[3, 0, : len(coded)] = np.frombuffer(coded, np.uint8)
    zarr.create_array(tmp_path / "pixels.zarr", data=images, chunks=(1, 16, 64), shards=(2, 16, 64))
    assert any("pixels.zarr" in line and "(array)" in line for line in canaries.leaks(tmp_path))
    if not coding.startswith("utf"):
        clean.attrs["note"] = coded.decode()
        assert any("clean.zarr" in line for line in canaries.leaks(tmp_path))


@contextmanager
def _heard(file: Path) -> Iterator[None]:
    """Write to a file what this process and its workers say on standard error, and every logger from INFO on."""
    with file.open("w") as heard:
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        said = logging.StreamHandler(stream=heard)
        root, level = logging.getLogger(), logging.getLogger().level
        root.addHandler(said)
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(said)
            os.dup2(kept, 2)
            os.close(kept)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, Path, str]:
    """The cohort's folder, everything that a run of it wrote, and everything that it said."""
    folder = tmp_path_factory.mktemp("private")
    root, written = folder / f"{canaries.WORD}-ward", folder / "written"
    image, _, _ = tiny.chest(360)
    marks = canaries.cohort(root, image)
    assert marks.count > 15_000
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1.6e9, 1.6e9))  # long ago: what ingest finds in them is kept for the next run
    config = tiny.config(
        written, cohorts={"c": {"path": str(root), "intensity": "windowed_8bit"}}, segment="all", report_cases=6
    )
    with _heard(folder / "said.txt"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "PACKAGE", folder / "package")
        tiny.write_networks(folder / "package")
        workflow.write_config(config)
        images, shard = written / "ingest" / "c" / "images.parquet", written / "shards" / "00000"
        ingest.run(config, "c", images)
        predict.run(config, "c", images, 0, shard)
        quantify.run(config, "c", images, shard, 0, shard / "infection.parquet")
        collect.run(config, "c", images, [shard / "infection.parquet"], written / "out")
        table = written / "out" / "infection.parquet"
        pooled = written / "out" / "patients.parquet"
        report.run(config, "c", images, table, [shard], written / "out" / "report.html", patients=pooled)
        given = {"name": "c", "cohort_out": str(written / "results" / "cohorts" / "c"), "shard": "00000"}
        params = {
            stage: workflow.settings(config, stage, given)
            for stage in ("ingest", "predict", "quantify", "collect", "report")
        }
        (written / "params.json").write_text(json.dumps(params))  # what Snakemake keeps of a job
    return root, written, (folder / "said.txt").read_text()


def test_nothing_that_is_written_or_said_holds_a_marker(done):
    root, written, said = done
    seen = read_table(written / "ingest" / "c" / "images.parquet", IMAGES).to_pylist()
    files = [path for path in root.rglob("*") if path.is_file() or path.is_symlink()]
    assert len(seen) == len(files) and sum(row["accepted"] for row in seen) >= 5
    assert len(canaries.leaks(root)) >= len(files)  # the search sees what is there to be seen
    assert read_table(written / "out" / "rejected.parquet", REJECTED).num_rows == sum(not r["accepted"] for r in seen)
    assert "data:image" in (written / "out" / "report.html").read_text()
    assert (written / "ingest" / "c" / "known.sealed").stat().st_size > 1_000
    assert canaries.leaks(written) == []
    (written / "said.log").write_text(said)
    assert said and canaries.leaks(written) == []


def test_every_image_kept_its_percentage(done):
    """Sealing hides a path, and loses no file: each accepted image was read again by those who need it."""
    rows = read_table(done[1] / "out" / "infection.parquet", INFECTION).to_pylist()
    told = [row for row in rows if row["method"] == "alom2020" and row["qc_status"] != "rejected"]
    assert told and all(row["infection_percent"] == pytest.approx(20, abs=3) for row in told)


def test_an_archive_tells_no_more_than_a_folder(done, tmp_path):
    root, _, _ = done
    archive = tmp_path / f"{canaries.WORD}.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(root.rglob("*.png"))[:3]:
            if path.is_file():
                packed.write(path, path.relative_to(root))
    out = tmp_path / "out"
    ingest.run(
        tiny.config(tmp_path, cohorts={"c": {"path": str(archive), "modality": "ct"}}), "c", out / "images.parquet"
    )
    assert canaries.leaks(out, without=(out / "unpacked",)) == []
    assert (out / "unpacked").stat().st_mode & 0o077 == 0  # the images themselves, for their owner only


def test_what_fails_names_neither_a_file_nor_a_header(done, tmp_path, caplog):
    """What a reader did not foresee is told by its kind and the line of ours that it came through."""
    root, _, _ = done
    record = next(iter(ingest.gather(root, None, tiny.config(tmp_path).limits)[1]))
    task = rows.Task(root, record, "ct", None, tiny.config(tmp_path).limits)

    def fails(*_):
        raise LookupError(canaries.Markers().word())

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.DEBUG):
        patch.setattr(rows, "open_file", fails)
        (row,) = rows.read_rows(task)
    assert "LookupError" in row["sentence"] and "LookupError" in caplog.text
    (tmp_path / "log").write_text(caplog.text + row["sentence"])
    assert canaries.leaks(tmp_path) == []


def test_another_key_opens_nothing(done, tmp_path, monkeypatch):
    config = tiny.config(done[1], cohorts={"c": {"path": str(done[0])}})
    (tmp_path / "study.yaml").write_text(dump(config))
    assert canaries.leaks(tmp_path) == []
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "another.key"))
    with pytest.raises(CovidpipeError, match="sealed with another key"):
        load(tmp_path / "study.yaml")


def test_the_mapping_is_written_on_request_and_for_its_owner(done, tmp_path, capsys):
    root, written, _ = done
    config = tmp_path / "study.yaml"
    config.write_text(dump(tiny.config(written, results=str(written), cohorts={"c": {"path": str(root)}})))
    images = written / "ingest" / "c" / "images.parquet"
    out = tmp_path / "mapping.csv"
    assert cli.main(["mapping", "c", "--config", str(config), "--images", str(images), "--out", str(out)]) == 0
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image_id,patient_id,source_sha256,path"
    assert len(lines) == 1 + read_table(images, IMAGES).num_rows
    assert all(canaries.WORD in line for line in lines[1:])
    assert out.stat().st_mode & 0o777 == 0o600
    by_config = tmp_path / "by-config.csv"
    assert cli.main(["mapping", "c", "--config", str(config), "--out", str(by_config)]) == 0
    assert by_config.read_bytes() == out.read_bytes()
    assert canaries.WORD not in capsys.readouterr().out


# --- Writing in pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["ct", "xr"])
def test_writing_outside_of_the_body_is_blackened_and_the_body_is_not(modality):
    rows, columns = np.mgrid[:200, :240]
    body = ((rows - 100) / 70) ** 2 + ((columns - 120) / 90) ** 2 < 1
    lung = ((rows - 100) / 30) ** 2 + ((abs(columns - 120) - 40) / 22) ** 2 < 1
    grey = np.where(lung, 60, np.where(body, 190, 10)).astype(np.uint8)
    writing = np.zeros_like(body)
    writing[4:14, 4:60:4] = writing[186:196, 180:236:3] = writing[4:6, 4:60] = True
    grey[writing & ~body] = 255
    shown = without_writing(grey, lung, modality)
    assert not shown[writing & ~body].any()
    assert np.array_equal(shown[body], grey[body])


def test_a_film_that_is_all_body_stays_as_it_is():
    generator = np.random.default_rng(0)
    grey = generator.integers(90, 200, (120, 100)).astype(np.uint8)
    lung = np.zeros(grey.shape, bool)
    lung[30:90, 20:45] = lung[30:90, 55:80] = True
    grey[lung] = 40
    shown = without_writing(grey, lung, "xr")
    assert (shown == grey).mean() > 0.95 and np.array_equal(shown[lung], grey[lung])


def test_the_command_line_tells_the_cohorts_name_and_takes_another(tmp_path):
    """The name of a folder is what a cohort is called in every table, unless --name gives it another one."""
    (tmp_path / "Doe_John").mkdir()
    from covidpipe.stages.cohort import config_for

    nothing = {"methods": None, "modality": None, "intensity": None, "segment": "all"}
    assert list(config_for(tmp_path / "Doe_John", tmp_path / "out", **nothing).cohorts) == ["Doe_John"]
    named = config_for(tmp_path / "Doe_John", tmp_path / "out", name="ward-3", **nothing)
    assert list(named.cohorts) == ["ward-3"] and "Doe" not in dump(named)
    told = subprocess.run([sys.executable, "-m", "covidpipe.cli", "cohort", "--help"], capture_output=True, text=True)
    assert "--name" in told.stdout and "in every table" in " ".join(told.stdout.split())
