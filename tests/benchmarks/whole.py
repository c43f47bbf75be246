"""Whole cohorts of growing size, by Snakemake: what an image costs in 1,000 and in a million.

``python -m tests.benchmarks.whole FOLDER 1000 10000 100000 1000000``

Each cohort is made of copies of one synthetic patient's 50 slices of 64 x 64 pixels: every tenth as DICOM files that
differ in patient, study, series and instance, the others as NIfTI volumes. A shard computes slices of the same pixels
once, so what is measured is everything that is done for an image but networks. A method with all three networks that
come along is run on a grid of 64 x 64.

After the first run a thousandth of the patients is added, one file changes and one goes, and the same command is run
again. FOLDER keeps everything: given again, runs that were broken off go on; what Snakemake itself took before is then
missing from their figures, and `once` says so. Times are of processor, all processes together: what others do on the
machine counts less in them.
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import yaml

from covidpipe.io.files import write_text
from covidpipe.phantoms import Phantom, phantom_volume
from covidpipe.stages.phantoms import _Patient, ct_dicom
from tests.tree import ROOT

SLICES = 50  # of a patient
DICOM_EACH = 10  # patients, of whom one is a series of DICOM files
SIZE = 64  # rows and columns of a slice
GRID = 64
SHARD = 4096  # what costs little an image is worth large shards
RECORD = ROOT / "tests" / "benchmarks" / "whole.csv"
COLUMNS = (
    *("images", "run", "once", "seconds", "cpu_seconds", "jobs", "files", "rows"),
    *("planner_mb", "ingest_mb", "predict_mb", "quantify_mb", "collect_mb"),
    *("planner_cpu", "ingest_cpu", "predict_cpu", "quantify_cpu", "collect_cpu"),
)
STAGES = ("ingest", "predict", "quantify", "collect")


@functools.cache
def phantom() -> Phantom:
    return phantom_volume(7, size=SIZE, slices=SLICES, infected=True)


@functools.cache
def slices() -> list[tuple[bytes, list[bytes]]]:
    """Files of one patient, and the identifiers in each that another patient's are to replace."""
    patient = _Patient(Path(), 0, 0, True, SIZE, SLICES)
    found = []
    for index in range(SLICES):
        dataset = ct_dicom(patient, phantom(), index)
        dataset.PatientID = "PATIENT-0000000"
        uids = [dataset[f"{what}UID"].value for what in ("SOPInstance", "StudyInstance", "SeriesInstance")]
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        found.append((buffer.getvalue(), [uid.encode() for uid in uids]))
    return found


def series(place: Path, number: int) -> None:
    """A patient as DICOM files, one a slice."""
    place.mkdir(parents=True, exist_ok=True)
    for index, (content, uids) in enumerate(slices()):
        told = content.replace(b"PATIENT-0000000", b"PATIENT-%07d" % number)
        for uid in uids:
            told = told.replace(uid, uid[:-7] + b"%07d" % number)
        write(place / f"{index:03d}.dcm", told)


@functools.cache
def voxels() -> tuple[nibabel.Nifti1Image, bytes]:
    """One patient as a volume, columns from right to left and rows from front to back, and its voxels compressed."""
    between, row_mm, column_mm = phantom().spacing_mm
    array = phantom().hu.astype(np.int16).transpose(2, 1, 0)
    volume = nibabel.Nifti1Image(array, np.diag([-column_mm, -row_mm, between, 1]))
    return volume, gzip.compress(volume.to_bytes()[352:], mtime=0)


def volume(file: Path, number: int) -> None:
    """A patient as a NIfTI volume: a file whose head alone is another patient's."""
    one, compressed = voxels()
    head = bytearray(one.to_bytes()[:352])
    head[148:163] = b"PATIENT-%07d" % number  # `descrip`
    write(file, gzip.compress(bytes(head), mtime=0) + compressed)


def write(file: Path, content: bytes) -> None:
    if file.exists():
        return
    file.write_bytes(content)
    os.utime(file, (1.6e9, 1.6e9))


def make(folder: Path, patients: Iterable[int]) -> None:
    """Patients' files, in folders of a thousand patients; what is there is left as it is, or it would be read again."""
    for number in patients:
        place = folder / f"{number // 1000:05d}" / f"{number:07d}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % DICOM_EACH == 0:
            series(place, number)
        else:
            volume(place.with_suffix(".nii.gz"), number)


def study(folder: Path) -> Path:
    config = {
        "results": str(folder / "results"),
        "cohorts": {"whole": {"path": str(folder / "scans"), "modality": "ct"}},
        "methods": ["khan2020"],
        "harmonize": {"source_size": GRID},
        "shard_images": SHARD,
    }
    write_text(folder / "study.yaml", yaml.safe_dump(config))
    return folder / "study.yaml"


def run(folder: Path, what: str, images: int) -> dict[str, object]:
    """One run of Snakemake, and what it took."""
    results = folder / "results"
    begun = results / ".begun"  # how many jobs of each stage earlier runs had
    once = not begun.exists()
    if once:
        results.mkdir(parents=True, exist_ok=True)
        begun.write_text(json.dumps({stage: len(told(folder, stage)) for stage in STAGES[1:3]}), encoding="ascii")
    first = json.loads(begun.read_text(encoding="ascii"))
    before = 0.0 if once else sum(cpu(told(folder, stage)[first.get(stage, 0) :]) for stage in STAGES)
    command = [
        *(sys.executable, "-m", "snakemake", "cohort", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"),
        *("--configfile", str(study(folder)), "--rerun-incomplete", "--directory", str(folder)),
        *("--set-threads", "predict=1", "ingest=2"),
    ]
    began = time.monotonic()
    with (folder / "snakemake.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})
        planner = 0.0
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            planner = max(planner, high_water(process.pid))
            time.sleep(1)
    _, status, used = ended
    seconds, own = time.monotonic() - began, used.ru_utime + used.ru_stime
    if status:
        raise SystemExit(f"Snakemake stopped; its log: {folder / 'snakemake.log'}")
    begun.unlink()
    if refused := pq.read_metadata(results / "cohorts" / "whole" / "rejected.parquet").num_rows:
        raise SystemExit(f"{refused} images were rejected, wanted none: {results}")
    row: dict[str, object] = {
        "images": images, "run": what, "once": once, "seconds": round(seconds, 1),
        "cpu_seconds": round(own + before, 1), "planner_mb": round(planner),
        "files": sum(len(files) for _, _, files in os.walk(results)),
        "rows": pq.read_metadata(results / "cohorts" / "whole" / "infection.parquet").num_rows, "jobs": 0,
    }  # fmt: skip
    jobs = {stage: told(folder, stage)[first.get(stage, 0) :] for stage in STAGES}
    row["jobs"] = sum(map(len, jobs.values()))
    row |= {
        f"{stage}_mb": round(max((float(job["max_rss"]) for job in some), default=0)) for stage, some in jobs.items()
    }
    row |= {f"{stage}_cpu": round(cpu(some), 1) for stage, some in jobs.items()}
    row["planner_cpu"] = round(own + before - sum(map(cpu, jobs.values())), 1)
    return row


def cpu(jobs: Iterable[dict[str, str]]) -> float:
    return sum(float(job["cpu_time"]) for job in jobs)


def told(folder: Path, stage: str) -> list[dict[str, str]]:
    """What Snakemake's benchmarks tell of a stage's jobs so far: all shards', but of the last ingest alone."""
    own = folder / "results" / "cohorts" / "whole" / "benchmarks"
    files = [folder / "results" / "benchmarks" / stage / "whole.tsv", own / f"{stage}.tsv"]
    files += sorted((own / stage).glob("*.tsv"))  # until `collect` puts them together
    return [
        line
        for file in files
        if file.exists()
        for line in csv.DictReader(file.read_text(encoding="utf-8").splitlines(), delimiter="\t")
    ]


def high_water(pid: int) -> float:
    """The most memory that a process had so far, in MB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def measured(place: Path, images: int) -> Iterator[dict[str, object]]:
    folder, patients = place / str(images), images // SLICES
    scans = folder / "scans"
    grown = folder / "grown"
    if not grown.exists():
        make(scans, range(patients))
        yield run(folder, "first", images)
        make(scans, range(patients, patients + max(1, patients // 1000)))
        changed = scans / "00000" / "0000000" / "000.dcm"
        content = changed.read_bytes()
        changed.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        (scans / "00000" / "0000001.nii.gz").unlink()
        grown.touch()
    yield run(folder, "grown", images)
    shutil.rmtree(scans)


def main(place: Path, *counts: int) -> None:
    known = []
    if RECORD.exists():
        known = list(csv.DictReader(RECORD.read_text(encoding="utf-8").splitlines()))
    for images in counts:
        for row in measured(place, images):
            print(row, flush=True)
            known = [one for one in known if (one["images"], one["run"]) != (str(images), row["run"])]
            known.append({name: str(row[name]) for name in COLUMNS})
            known.sort(key=lambda one: (int(one["images"]), one["run"]))
            text = "\n".join(",".join(one[name] for name in COLUMNS) for one in known)
            write_text(RECORD, f"{','.join(COLUMNS)}\n{text}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
