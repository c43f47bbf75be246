"""Images come, change and go: only they are computed, and the tables are those of a first run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.unit import tiny_cohort as tiny

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]


def chest(path: Path, seed: int) -> None:
    """A drawn CT slice of its own, of long ago."""
    image = tiny.chest(20 * (seed % 18))[0]
    noise = np.random.default_rng(seed).integers(0, 9, image.shape, np.uint8)
    cv2.imwrite(str(path), np.minimum(image, 240) + noise)
    os.utime(path, (1.6e9 + seed, 1.6e9 + seed))


def snakemake(folder: Path, results: str) -> tuple[Counter[str], str]:
    """How often each rule ran, and what ingest said."""
    study = {
        "results": results,
        "cohorts": {"c": {"path": "scans", "modality": "ct"}},
        "methods": ["alom2020"],
        "shard_images": 3,
    }
    (folder / f"{results}.yaml").write_text(yaml.safe_dump(study))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--configfile", f"{results}.yaml", "--cores", "2", f"{results}/cohorts/c/infection.parquet"),
    ]
    environment = os.environ | {"COVIDPIPE_ID_KEY": str(folder / "id.key")}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    ended = re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)$", ran.stdout + ran.stderr, re.MULTILINE)
    return Counter(ended), (folder / results / "logs" / "ingest" / "c.log").read_text()


def test_work_is_in_proportion_to_what_changed(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(9):
        chest(scans / f"{number}.png", number)
    shards = tmp_path / "grown" / "cohorts" / "c" / "shards"
    ran, said = snakemake(tmp_path, "grown")
    assert ran == {"ingest": 1, "predict": 3, "quantify": 3, "collect": 1}
    assert "9 of 9 files read" in said
    before = {file: file.stat().st_mtime_ns for file in shards.rglob("*") if file.is_file()}
    ran, _ = snakemake(tmp_path, "grown")
    assert not ran

    chest(scans / "new.png", 20)
    chest(scans / "4.png", 21)
    (scans / "7.png").unlink()
    ran, said = snakemake(tmp_path, "grown")
    assert ran == {"ingest": 1, "predict": 1, "quantify": 1, "collect": 1}
    assert "2 of 9 files read" in said
    assert {folder.name for folder in shards.iterdir()} == {"00000", "00001", "00002", "00003"}
    assert {file: file.stat().st_mtime_ns for file in before} == before

    for name in ("1.png", "2.png"):
        (scans / name).unlink()
    ran, said = snakemake(tmp_path, "grown")
    assert ran == {"ingest": 1, "collect": 1} and "0 of 7 files read" in said

    ran, said = snakemake(tmp_path, "fresh")
    assert ran == {"ingest": 1, "predict": 3, "quantify": 3, "collect": 1} and "7 of 7 files read" in said
    for table in ("ingest/c/images.parquet", *(f"cohorts/c/{t}.parquet" for t in ("infection", "patients", "summary"))):
        assert (tmp_path / "grown" / table).read_bytes() == (tmp_path / "fresh" / table).read_bytes(), table
