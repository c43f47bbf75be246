"""The main job, as a user runs it: a folder in, the table out; with the weights that come along."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import pydicom
import pytest
from skimage.exposure import rescale_intensity

from covidpipe.io.files import read_json, read_table
from covidpipe.provenance import PACKAGE
from covidpipe.schemas import IMAGES, INFECTION, REJECTED
from covidpipe.stages import phantoms
from tests.unit import canaries

pytestmark = pytest.mark.workflow

HOSPITAL = 18  # files of `canaries.cohort`


def cohort(path: Path, out: Path, key: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "covidpipe.cli", "cohort", str(path), "--out", str(out), "--cores", "2"]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"COVIDPIPE_ID_KEY": str(key)}, check=False
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """CT and X-rays of two synthetic patients, three files that are no use, and a folder full of markers."""
    folder = tmp_path_factory.mktemp("main") / "phantoms"
    phantoms.run(folder, patients=2, size=96, slices=4, seed=11)
    scans = folder.parent / "scans"
    scans.mkdir()
    for modality in ("ct", "xr"):
        (folder / modality / "images").rename(scans / modality)
    for file in sorted(scans.rglob("*.dcm")):
        _name(file)
    whole = sorted(scans.rglob("*.dcm"))[0].read_bytes()
    (scans / f"{canaries.WORD}-cut-short.dcm").write_bytes(whole[: len(whole) // 2])
    (scans / "empty.png").write_bytes(b"")
    (scans / "notes.txt").write_text("patient walked in")
    chest = pydicom.dcmread(sorted((scans / "ct").rglob("*.dcm"))[0]).pixel_array
    assert canaries.cohort(scans / "hospital", rescale_intensity(chest, out_range="uint8")).count > 15_000
    return scans


def _name(file: Path) -> None:
    """Call a file, its folder and everything in its header after somebody."""
    header = pydicom.dcmread(file)
    for keyword in ("PatientName", "PatientID", "ReferringPhysicianName", "InstitutionName", "SeriesDescription"):
        setattr(header, keyword, f"{canaries.WORD}{header.PatientID[-4:]}")
    header.StudyDate = header.PatientBirthDate = canaries.DAY
    header.private_block(0x0029, canaries.WORD, create=True).add_new(1, "LO", canaries.WORD)
    named = file.parent / f"{canaries.WORD}^JOHN" / f"{canaries.WORD}-{file.name}"
    named.parent.mkdir(exist_ok=True)
    header.save_as(named)
    file.unlink()


@pytest.fixture(scope="module")
def done(scans, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess, Path]:
    folder = tmp_path_factory.mktemp("out")
    return folder / "first", cohort(scans, folder / "first", folder / "id.key"), folder / "id.key"


def test_every_file_is_in_the_table(done, scans):
    out, run, _ = done
    assert run.returncode == 0, run.stdout + run.stderr
    said = run.stdout + run.stderr + "".join(log.read_text() for log in out.rglob("*.log"))
    assert "Traceback" not in said
    files = [path for path in scans.rglob("*") if path.is_file() or path.is_symlink()]
    table = read_table(out / "infection.parquet", INFECTION)
    images = read_table(out / "work" / "ingest" / "scans" / "images.parquet", IMAGES)
    assert len(images) == len(files) == 2 * 4 + 2 + 3 + HOSPITAL
    assert len(table) == 2 * len(images)
    rejected = read_table(out / "rejected.parquet", REJECTED).to_pylist()
    reasons = Counter(row["reason"] for row in rejected)
    assert reasons.pop("unreadable") == 2 + 6 and reasons.pop("unsupported_format") == 2 and reasons.total() == 7
    by_method = {(row["modality"], row["method"]): row for row in table.to_pylist() if row["modality"]}
    assert by_method["xr", "khan2020"]["qc_reasons"] == ["method_not_for_modality"]
    shipped = read_json(PACKAGE / "weights" / "ct_screening" / "run.json")
    name = f"{shipped['recipe']['model']}@{shipped['weights_sha256'][:12]}"
    assert by_method["ct", "khan2020"]["classifier_id"] == name
    told = [row for row in table.to_pylist() if row["infection_percent"] is not None]
    assert told and all(row["infected_px"] <= row["lung_px"] for row in told)


def test_its_companions_are_there_and_the_command_is_told(done):
    out, run, _ = done
    for file in ("patients.parquet", "codebook.csv", "datapackage.json", "report.html", "config.yaml", "run.json"):
        assert (out / file).is_file(), file
    assert "Running: " in run.stdout and "-m snakemake" in run.stdout
    assert "<html" in (out / "report.html").read_text() and "http://" not in (out / "report.html").read_text()


def test_no_name_is_in_anything_that_was_written_or_said(done, scans):
    """Tables, logs, report, caches and what Snakemake keeps of its jobs."""
    out, run, _ = done
    assert canaries.leaks(scans) and (out / "work" / ".snakemake" / "metadata").is_dir()
    (out / "said").write_text(run.stdout + run.stderr)
    assert canaries.leaks(out) == []


def test_duckdb_reads_it(done):
    sql = (
        f"select method, count(*), avg(infection_percent) from '{done[0] / 'infection.parquet'}' group by 1 order by 1"
    )
    rows = duckdb.sql(sql).fetchall()
    assert [(method, count) for method, count, _ in rows] == [("alom2020", 13 + HOSPITAL), ("khan2020", 13 + HOSPITAL)]


def test_the_same_run_gives_the_same_bytes(done, scans, tmp_path):
    out, _, key = done
    again = cohort(scans, tmp_path / "second", key)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (out / "infection.parquet").read_bytes() == (tmp_path / "second" / "infection.parquet").read_bytes()


def test_a_second_call_does_nothing_again(done, scans):
    out, _, key = done
    before = (out / "infection.parquet").stat().st_mtime_ns
    again = cohort(scans, out, key)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (out / "infection.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize(("path", "says"), [("nowhere", "there is no such file or folder")])
def test_a_missing_folder_is_told_and_nothing_is_made(path, says, tmp_path):
    run = cohort(tmp_path / path, tmp_path / "out", tmp_path / "key")
    assert run.returncode == 3 and says in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()
