"""What Snakemake itself costs: planning of many shards, and jobs that do nothing, on the test cluster.

python -m tests.slurm.overhead [MINUTES [JOBS...]]

Jobs are run as root where SLURM is installed, 10, 1,000 and 10,000 of them, each time for MINUTES (20) at most: what is
not over by then is cancelled, and the latencies are those of the jobs that are.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.slurm.cluster import Cluster, search_path, why_not
from tests.slurm.study import PATIENCE, ROOT, Study

COUNTS = (10, 1_000, 10_000)
MINUTES = 20

SNAKEFILE = """\
rule all:
    input: expand("done/{n}", n=range(COUNT))
rule nothing:
    output: "done/{n}"
    threads: 4
    shell: "touch {output}"
"""


def plan(folder: Path, shards: int, *profile: str) -> tuple[float, float]:
    """Seconds and MB of a dry run of a cohort that is ingested and has so many shards."""
    images = folder / "results" / "ingest" / "many" / "images.parquet"
    images.parent.mkdir(parents=True, exist_ok=True)
    (folder / "scans").mkdir(exist_ok=True)
    pq.write_table(pa.table({"image_id": [str(n) for n in range(shards)]}), images)
    cut = {"image_id": [str(n) for n in range(shards)], "shard": range(shards), "made": ["once"] * shards}
    pq.write_table(pa.table(cut), images.with_name("shards.parquet"))
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


def latency(folder: Path, cluster: Cluster, count: int, minutes: float) -> None:
    """Jobs that do nothing and have a node each, of three: how long all take, and what becomes of the time of one."""
    study = Study(folder, cluster.environment, configfile=None, groups=None, slurm_init_seconds_before_status_checks=10)
    (folder / "Snakefile").write_text(SNAKEFILE.replace("COUNT", str(count)))
    log = folder / "snakemake.log"
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--default-resources", "mem_mb=300"]
    started = time.time()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=study.environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
    wall = time.time() - started
    said = log.read_text()
    slurm_ids = dict(re.findall(r"^Job (\d+) has been submitted with SLURM jobid (\d+)", said, re.MULTILINE))
    noticed = {
        slurm_ids[job]: datetime.strptime(when, "%a %b %d %H:%M:%S %Y").timestamp()
        for when, job in re.findall(r"^\[(.+)\]\nFinished jobid: (\d+) \(Rule: nothing\)", said, re.MULTILINE)
    }
    columns = "JobID,Submit,Start,End"
    listed = cluster.run("sacct", "-X", "-n", "-P", "-S", "now-1days", "-o", columns, SLURM_TIME_FORMAT="%s").stdout
    steps, first = [], wall
    for line in listed.splitlines():
        job, *when = line.split("|")
        if job in slurm_ids.values():
            first = min(first, int(when[0]) - started)
        if job in noticed:
            submitted, begun, over = map(int, when)
            steps.append((begun - submitted, over - begun, noticed[job] - over, noticed[job] - submitted))
    print(
        f"{count:>7,} jobs: the first sent after {first:.0f} s; after {wall:.0f} s {len(slurm_ids):,} were sent, ",
        end="",
    )
    print(f"{len(steps):,} over")
    if not steps:
        return
    for name, values in zip(("queue", "node", "notice", "in all"), zip(*steps, strict=True), strict=True):
        middle, most = statistics.median(values), sorted(values)[int(0.9 * (len(values) - 1))]
        print(f"{'':>7} {name}: {middle:.0f} s in the median, 90 % within {most:.0f} s", flush=True)


def main(minutes: str | float = MINUTES, *counts: str) -> None:
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0]}))
    os.environ["PATH"] = search_path()
    jobs = [int(count) for count in counts] or COUNTS
    with tempfile.TemporaryDirectory() as folder:
        for shards in jobs:
            plan(Path(folder), shards)
            plan(Path(folder), shards, "--profile", str(ROOT / "slurm"))
        reason = why_not()
        if reason:
            print(f"no jobs were run: {reason}")
            return
        cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))
        try:
            cluster.start()
            for count in jobs:
                latency(Path(folder) / f"{count}", cluster, count, float(minutes))
        finally:
            cluster.stop()
            shutil.rmtree(cluster.folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
