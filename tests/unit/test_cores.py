"""Cores: what SLURM gave and never more, in every pool and every library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from covidpipe import cores
from covidpipe.cores import THREAD_VARIABLES, available_cores, limit_libraries

MINE = len(os.sched_getaffinity(0))  # asked before a test says otherwise


@pytest.fixture(autouse=True)
def eight_cores_and_no_job(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for variable in (*THREAD_VARIABLES, "SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("per_task", "on_node", "wanted"),
    [
        (None, None, 8),
        ("3", None, 3),
        ("3", "6", 3),  # a step gets a part of what its job has on the node
        (None, "6", 6),  # --cpus-per-gpu: nothing is said per task
        ("16", None, 8),  # a cluster that declares more than there is, or a task bound to fewer cores
        ("", None, 8),
        ("0", None, 8),
        ("x", None, 8),
    ],
)
def test_what_slurm_gave_and_never_more(per_task, on_node, wanted, monkeypatch):
    for variable, value in (("SLURM_CPUS_PER_TASK", per_task), ("SLURM_CPUS_ON_NODE", on_node)):
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert available_cores() == wanted


def test_libraries_are_told_in_a_job_only(monkeypatch):
    limit_libraries()
    assert not any(variable in os.environ for variable in THREAD_VARIABLES)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # asked for on purpose
    monkeypatch.setenv("MKL_NUM_THREADS", "64")  # Snakemake's, of a rule that wanted more than it was given
    limit_libraries()
    told = {variable: os.environ[variable] for variable in THREAD_VARIABLES}
    assert told == dict.fromkeys(THREAD_VARIABLES, "3") | {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("module", ["io/parallel.py", "stages/harmonize.py", "stages/wavelet.py", "stages/phantoms.py"])
def test_who_starts_a_pool_asks_how_large_it_may_be(module):
    source = Path(cores.__file__).parent / module
    assert "available_cores()" in source.read_text(encoding="utf-8")


def in_a_job(code: str, cores: int) -> Any:
    """What a Python of its own prints as JSON, in a job with `cores` cores on a node that lends eight to anybody."""
    start = "import json, os\nos.sched_getaffinity = lambda _: set(range(8))\n"
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": str(cores), "TF_CPP_MIN_LOG_LEVEL": "2"}
    told = subprocess.run(
        [sys.executable, "-c", start + code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(told.stdout)


def test_pools_and_libraries_of_a_job_stay_within_its_cores():
    code = """
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from covidpipe.cores import available_cores, limit_libraries
limit_libraries()
import cv2, pyarrow, numpy
from threadpoolctl import threadpool_info
from covidpipe.io import store
seen = []
class Pool(ThreadPoolExecutor):
    def __init__(self, workers):
        seen.append(workers)
        super().__init__(workers)
store.ThreadPoolExecutor, store._make_and_write = Pool, lambda *given: None
with tempfile.TemporaryDirectory() as folder:
    store.Writer(Path(folder), "images.zarr", 6, 1).fill(dict, list(range(6)), available_cores())
blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
print(json.dumps([*seen, pyarrow.cpu_count(), cv2.getNumThreads(), *blas]))
"""
    found = in_a_job(code, 2)
    assert found[:3] == [2, 2, 2]
    assert set(found[3:]) == {min(2, MINE)}  # BLAS takes no more than there are


def test_tensorflow_takes_the_cores_and_grows_its_memory_on_the_gpus_of_the_job():
    code = """
import tensorflow as tf
grown = []
tf.config.list_physical_devices = lambda kind: [f"{kind}:0"]
tf.config.experimental.set_memory_growth = lambda gpu, on: grown.append([gpu, on])
from covidpipe.provenance import prepare_backend
prepare_backend(1)
threads = tf.config.threading
print(json.dumps([threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads(), grown]))
"""
    assert in_a_job(code, 3) == [3, 1, [["GPU:0", True]]]  # side by side, operations end in any order
