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
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pydicom
import yaml

from covidpipe.io.files import write_text
from covidpipe.phantoms import Phantom, phantom_volume
from covidpipe.stages.phantoms import _Patient, ct_dicom
from tests.memory import high_water
from tests.tree import ROOT

SLICES = 50  # of a patient
DICOM_EACH = 10  # patients, of whom one is a series of DICOM files
SIZE = 64  # rows and columns of a slice
GRID = 64
SHARD = 4096  # what costs little an image is worth large shards
RECORD = ROOT / "tests" / "benchmarks" / "whole.csv"
STAGES = ("ingest", "predict", "quantify", "collect", "report")
OF_SHARDS = ("predict", "quantify")


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
    file.write_bytes(content)
    os.utime(file, (1.6e9, 1.6e9))


def make(folder: Path, patients: Iterable[int]) -> None:
    """Patients' files, in folders of a thousand patients."""
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


def run(folder: Path, what: str, images: int) -> dict[str, Any]:
    """One run of Snakemake, and what it took."""
    results, begun = folder / "results", folder / "begun"
    once = not begun.exists()
    if once:  # how many jobs earlier runs had
        begun.write_text(json.dumps({stage: len(benchmarks(folder, stage)) for stage in OF_SHARDS}), encoding="ascii")
    first = json.loads(begun.read_text(encoding="ascii"))

    def jobs() -> dict[str, pd.DataFrame]:
        return {stage: benchmarks(folder, stage)[first.get(stage, 0) :] for stage in STAGES}

    before = 0.0 if once else sum(some["cpu_time"].sum() for some in jobs().values())
    seconds, cpu_seconds, most = snakemake(folder, "--rerun-incomplete")
    begun.unlink()
    out = results / "cohorts" / "whole"
    if refused := pq.read_metadata(out / "rejected.parquet").num_rows:
        raise SystemExit(f"{refused} images were rejected, wanted none: {results}")
    took = jobs()
    plan_seconds, _, plan_bytes = snakemake(folder, "--dry-run", "--forcerun", "predict")
    return {
        "images": images,
        "run": what,
        "once": once,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds + before, 1),
        "jobs": sum(map(len, took.values())),
        "files": sum(len(files) for _, _, files in os.walk(results)),
        "rows": pq.read_metadata(out / "infection.parquet").num_rows,
        "planner_mb": most >> 20,
        "plan_seconds": round(plan_seconds, 1),
        "plan_mb": plan_bytes >> 20,
        **{f"{stage}_mb": round(some["max_rss"].max()) for stage, some in took.items()},
        **{f"{stage}_cpu": round(some["cpu_time"].sum(), 1) for stage, some in took.items()},
    }


def snakemake(folder: Path, *options: str) -> tuple[float, float, int]:
    """Snakemake over the cohort: seconds by the clock and of processor with all its jobs', and its own most bytes."""
    command = [
        *(sys.executable, "-m", "snakemake", "cohort", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"),
        *("--configfile", str(study(folder)), "--directory", str(folder)),
        *("--set-threads", "predict=1", "ingest=2", *options),
    ]
    began, most = time.monotonic(), 0
    with (folder / "snakemake.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)})
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            most = max(most, high_water(process.pid))
            time.sleep(0.2)
    _, status, used = ended
    if status:
        raise SystemExit(f"Snakemake stopped; its log: {folder / 'snakemake.log'}")
    return time.monotonic() - began, used.ru_utime + used.ru_stime, most


def benchmarks(folder: Path, stage: str) -> pd.DataFrame:
    """What Snakemake tells of a stage's jobs so far: all shards', but of the last ingest and collect alone."""
    own = folder / "results" / "cohorts" / "whole" / "benchmarks"
    files = [folder / "results" / "benchmarks" / stage / "whole.tsv", own / f"{stage}.tsv"]
    files += sorted((own / stage).glob("*.tsv"))  # until `collect` puts them together
    found = [pd.read_csv(file, sep="\t", na_values="-") for file in files if file.exists()]
    return pd.concat([pd.DataFrame(columns=["max_rss", "cpu_time"], dtype=float), *found])


def measured(place: Path, images: int) -> Iterator[dict[str, Any]]:
    folder, patients = place / str(images), images // SLICES
    scans, made, grown = (folder / name for name in ("scans", "made", "grown"))
    if not made.exists():  # written again, files would be read again
        make(scans, range(patients))
        made.touch()
    if not grown.exists():
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
    for images in counts:
        for row in measured(place, images):
            print(row, flush=True)
            known = pd.concat([pd.read_csv(RECORD), pd.DataFrame([row])]) if RECORD.exists() else pd.DataFrame([row])
            known = known.drop_duplicates(["images", "run"], keep="last").sort_values(["images", "run"])
            write_text(RECORD, known.to_csv(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
