"""Nothing of a name, a date or a folder leaves: files full of markers in, and a search of everything written."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import canaries
import numpy as np
import pytest
import tiny_cohort as tiny

from covidpipe import cli, workflow
from covidpipe.config import dump, load
from covidpipe.errors import CovidpipeError
from covidpipe.inference import engine
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
        report.run(config, "c", images, table, [shard], written / "out" / "report.html")
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
    task = ingest.Task(root, record, "ct", None, tiny.config(tmp_path).limits)

    def fails(*_):
        raise LookupError(canaries.Markers().word())

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.DEBUG):
        patch.setattr(ingest, "open_file", fails)
        (row,) = ingest.read_rows(task)
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
