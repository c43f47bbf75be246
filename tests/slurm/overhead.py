"""What Snakemake itself costs: planning of many shards, and a job that does nothing, on the test cluster.

python -m tests.slurm.overhead            (about 4 minutes; the cluster's part as root, where SLURM is installed)
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.slurm.cluster import Cluster, search_path, why_not
from tests.slurm.study import ROOT, Study

SHARDS = (10, 1_000, 10_000)
NOTHING = 10  # jobs that do nothing

SNAKEFILE = """\
rule all:
    input: expand("{n}.txt", n=range(NOTHING)), "chain-2.txt"
rule nothing:
    output: "{n,[0-9]+}.txt"
    shell: "touch {output}"
rule first:
    output: "chain-0.txt"
    shell: "touch {output}"
rule second:
    input: "chain-0.txt"
    output: "chain-1.txt"
    shell: "touch {output}"
rule third:
    input: "chain-1.txt"
    output: "chain-2.txt"
    shell: "touch {output}"
"""


def plan(folder: Path, shards: int, *profile: str) -> tuple[float, float]:
    """Seconds and MB of a dry run of a cohort that is ingested and has so many shards."""
    images = folder / "results" / "ingest" / "many" / "images.parquet"
    images.parent.mkdir(parents=True, exist_ok=True)
    (folder / "scans").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image_id": [str(n) for n in range(shards)]}), images)
    images.with_name("signatures.parquet").touch()
    study = {"cohorts": {"many": {"path": "scans", "modality": "xr"}}, "methods": ["alom2020"], "shard_images": 1}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [
        *(sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--snakefile", str(ROOT / "Snakefile")),
        *("--rerun-triggers", "mtime", "--configfile", "study.yaml", *profile),
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    code = f"import resource, subprocess, sys; subprocess.run({command!r}, check=True, stdout=subprocess.DEVNULL)"
    code += "; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    told = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    where = "with the profile" if profile else "local"
    print(f"{shards:>7,} shards, {where:<16} {wall:6.1f} s ({cpu:6.1f} s of processor), {float(told.stdout):.0f} MB")
    return wall, float(told.stdout)


def latency(folder: Path) -> None:
    """Ten jobs side by side and three one after the other that do nothing: what each costs on the cluster."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))
    cluster.start()
    try:
        study = Study(folder, cluster.environment, cores=1, configfile=None, groups=None)
        (folder / "Snakefile").write_text(SNAKEFILE.replace("NOTHING", str(NOTHING)))
        for seconds in (2, 10):
            for file in folder.glob("*.txt"):
                file.unlink()
            command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--quiet", "all"]
            command += ["--slurm-init-seconds-before-status-checks", str(seconds), "--default-resources", "mem_mb=300"]
            started = time.monotonic()
            subprocess.run(command, cwd=folder, env=study.environment, check=True, capture_output=True)
            wall = time.monotonic() - started
            print(f"{NOTHING} jobs beside a chain of 3, first look after {seconds} s: {wall:.0f} s")
        listed = cluster.run("sacct", "-X", "-n", "-P", "-o", "ElapsedRaw,TotalCPU").stdout.split()
        elapsed = [int(line.split("|")[0]) for line in listed]
        print(f"a job that does nothing runs for {sum(elapsed) / len(elapsed):.1f} s on its node")
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)


def main() -> None:
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0]}))
    os.environ["PATH"] = search_path()
    with tempfile.TemporaryDirectory() as folder:
        for shards in SHARDS:
            plan(Path(folder), shards)
            plan(Path(folder), shards, "--profile", str(ROOT / "slurm"))
        reason = why_not()
        if reason:
            print(f"no jobs were run: {reason}")
        else:
            latency(Path(folder) / "nothing")


if __name__ == "__main__":
    main()
