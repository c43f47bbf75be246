"""`snakemake --profile slurm` on a real SLURM: resources, the same bytes as without, and what happens when things fail.

Every test of a fault begins with segmented shards and ends with the table that a run without SLURM and without faults
made.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from covidpipe import paths
from tests.slurm.cluster import GPUS
from tests.slurm.study import ROOT, SHARDS, TABLE, Study, clone, wait
from tests.unit.tiny_study import Study as Squares

pytestmark = pytest.mark.slurm


def test_the_literal_command_from_a_clean_clone(cluster, local, tmp_path):
    """GPU rules on GPU nodes, no more at once than GPUs, no GPU for the others; the same bytes as without SLURM."""
    root = tmp_path / "clone"
    clone(root)
    study = Study(tmp_path / "study", cluster.environment, code=root)
    study.folder, at_once, over = root, [], threading.Event()
    shutil.copy(tmp_path / "study" / "study.yaml", root / "study.yaml")

    def count() -> None:
        while not over.wait(0.3):
            at_once.append(sum("gres/gpu=1" in job["given"] for job in cluster.jobs()))

    counting = threading.Thread(target=count)
    counting.start()
    # one core for each job: what keeps jobs from running side by side is then the GPUs alone
    quick = ["--cores", "1", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
    try:
        status = study.run("--profile", "slurm", "--configfile", "study.yaml", *quick)
    finally:
        over.set()
        counting.join()
    assert status == 0, study.said
    assert study.table() == local.table()
    assert (root / "results" / "cohorts" / "films" / "report.html").is_file()

    jobs = [job for job in cluster.accounted() if job["state"] == "COMPLETED" and job["comment"]]
    networks = [job for job in jobs if "predict" in job["comment"]]
    others = [job for job in jobs if "predict" not in job["comment"]]
    assert len(networks) == SHARDS and len(others) >= 4
    assert {job["node"] for job in networks} <= set(GPUS)
    assert all("gres/gpu=1" in job["given"] for job in networks)
    assert not any("gres/gpu" in job["asked"] + job["given"] for job in others)
    assert max(at_once) == sum(count for _, count in GPUS.values()) < SHARDS

    told = json.loads(study.covidpipe("status", "--config", "study.yaml", "--json").stdout)
    assert told["state"] == "done" and told["images"] == {"films": {"seen": 2 * SHARDS, "quantified": 2 * SHARDS}}
    assert {stage["stage"]: stage["of"] - stage["done"] for stage in told["stages"]} == dict.fromkeys(
        ("ingest", "predict", "quantify", "collect", "report"), 0
    )


@pytest.mark.full_size
def test_the_demo_is_run_by_the_literal_command(cluster, tmp_path):
    """`snakemake --profile slurm` and nothing else: networks are trained, and the tables are those of one machine."""
    tables = {}
    cores = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())["cores"]
    alone = ("--cores", str(cores), "--configfile", "config/demo.yaml")
    for name, arguments in (("alone", alone), ("cluster", ("--profile", "slurm"))):
        root = tmp_path / name
        clone(root)
        study = Study(tmp_path / "study", cluster.environment, code=root)
        study.folder = root
        if name == "alone":  # as many as SLURM gives: sums of floats depend on how many cores share them
            study.environment["SLURM_CPUS_PER_TASK"] = str(cores)
        assert study.run(*arguments, seconds=3600) == 0, study.said
        found = sorted((root / "results" / "demo" / "cohorts").glob("*/infection.parquet"))
        tables[name] = {table.parent.name: table.read_bytes() for table in found}
    assert tables["cluster"] == tables["alone"] and len(tables["alone"]) == 2

    jobs = [job for job in cluster.accounted() if job["state"] == "COMPLETED" and job["comment"]]
    trained = [job for job in jobs if "train_model" in job["comment"]]
    assert len(trained) == 4
    assert all(job["node"] in GPUS and "gres/gpu=1" in job["given"] for job in trained)


def test_jobs_that_fail_run_over_and_are_cancelled_are_tried_again(cluster, local, segmented):
    """One fails, one takes too much memory, one too much time, one is cancelled from outside: all in one run."""
    study = segmented(set_resources={"quantify": {"mem_mb": "1000 * attempt", "runtime": "attempt"}})
    study.act("quantify-00000", "echo 'covidpipe: acted out' >&2; exit 3")
    study.act("quantify-00001", "python -c 'x = b\"x\" * 1_500_000_000; import time; time.sleep(60)'; exit 1")
    study.act("quantify-00002", "sleep 300")
    study.act("quantify-00003", "sleep 300")
    process = study.start(TABLE, "--profile", "slurm")
    cancelled = study.acted_by("quantify-00003")
    cluster.run("scancel", cancelled)
    slow = study.acted_by("quantify-00002")
    wait(lambda: "acted out" in study.said, "the first failure to be told")
    told = json.loads(study.covidpipe("status", "--config", "study.yaml", "--json").stdout)
    assert told["state"] == "running" and slow in {job["slurm_job"] for job in told["running"]}
    assert study.finish(process) == 0, study.said
    assert study.table() == local.table()

    said = study.said
    assert "Quantifying films, shard 00000" in said and "failed with exit code 1: acted out" in said
    assert "needed more than its memory of 1000M and was killed" in said and "quantify: mem_mb:" in said
    assert f"(SLURM job {slow} on " in said and "ran into its time limit of 00:01:00" in said
    assert f"(SLURM job {cancelled} on " in said and "was cancelled from outside by root (scancel)" in said
    assert said.count("Trying to restart job") == 4 and "Failed once and done since:" in said
    states = {job["id"]: job["state"] for job in cluster.accounted()}
    assert states[slow] == "TIMEOUT" and states[cancelled] == "CANCELLED by 0"


def test_a_lost_node_a_killed_slurmd_and_a_restarted_controller(cluster, local, segmented):
    """SLURM itself fails in three ways in one run: nothing is lost, and what happened is told."""
    study = segmented(set_threads={"quantify": 4})  # all of a node: each job has its own
    study.act("quantify-00000", "sleep 600")
    study.act("quantify-00001", "while [ ! -e acts/enough ]; do sleep 0.5; done")
    process = study.start(TABLE, "--profile", "slurm")
    lost, survivor = study.acted_by("quantify-00000"), study.acted_by("quantify-00001")
    cluster.end("slurmctld")
    wait(lambda: "SLURM's controller does not answer" in study.said, "the silence to be told")
    cluster.start_controller()
    wait(lambda: "SLURM's controller is back" in study.said, "its return to be told")

    nodes = {job["id"]: job["node"] for job in cluster.jobs()}
    assert nodes[lost] != nodes[survivor]
    cluster.run("scontrol", "update", f"nodename={nodes[lost]}", "state=down", "reason=acted out")
    cluster.end(f"slurmd-{nodes[survivor]}", signal.SIGKILL)  # its job goes on without it
    (study.acts / "enough").touch()
    assert study.finish(process) == 0, study.said
    assert study.table() == local.table()
    assert f"covidpipe: SLURM job {lost} (" in study.said and "was queued again by SLURM" in study.said
    assert survivor not in {job["id"] for job in cluster.accounted() if job["state"] != "COMPLETED"}


def test_a_node_that_fails_without_requeue_is_named(cluster, local, segmented):
    study = segmented(slurm_requeue=False, slurm_no_requeue=True)
    study.act("quantify-00000", "sleep 600")
    process = study.start(TABLE, "--profile", "slurm")
    lost = study.acted_by("quantify-00000")
    node = next(job["node"] for job in cluster.jobs() if job["id"] == lost)
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=acted out")
    assert study.finish(process) == 0, study.said
    assert study.table() == local.table()
    assert f"was lost with its node: {node} failed or was set down" in study.said


def test_ctrl_c_then_kill_9_then_go_on(cluster, local, segmented):
    study = segmented()
    study.act("quantify-00000", "sleep 600")
    process = study.start(TABLE, "--profile", "slurm")
    first = study.acted_by("quantify-00000")
    process.send_signal(signal.SIGINT)
    assert study.finish(process) != 0
    assert "Terminating processes on user request" in study.said and "goes on from what is done" in study.said
    wait(lambda: first not in {job["id"] for job in cluster.jobs()}, "the job to be cancelled")

    study.act("quantify-00001", "sleep 600")
    process = study.start(TABLE, "--profile", "slurm")
    second = study.acted_by("quantify-00001")
    process.kill()
    process.wait()
    told = json.loads(study.covidpipe("status", "--config", "study.yaml", "--json").stdout)
    assert (told["state"], told["locked"]) == ("killed", True) and second in told["left_behind"]

    assert study.run(TABLE, "--profile", "slurm") != 0
    assert "likely caused by a kill signal" in study.said and "--unlock" in study.said
    assert study.run("--profile", "slurm", "--unlock") == 0, study.said
    assert study.run(TABLE, "--profile", "slurm") == 0, study.said
    assert "was killed and left" in study.said and second in study.said
    assert study.table() == local.table()
    assert second not in {job["id"] for job in cluster.jobs()}


def test_a_full_shared_disk_is_named_and_room_lets_the_run_go_on(cluster, local, segmented, tmp_path):
    study = segmented(retries=0)
    results = study.folder / "results"
    results.rename(tmp_path / "kept")
    results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(results)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(tmp_path / "kept", results, dirs_exist_ok=True)
        study.act("quantify-00002", "cat /dev/zero > results/filler 2> /dev/null")
        assert study.run(TABLE, "--profile", "slurm") != 0
        assert "could not write: the disk of the results is full" in study.said, study.said
        assert "Make room and run the same command again" in study.said
        (results / "filler").unlink()
        assert study.run(TABLE, "--profile", "slurm") == 0, study.said
        assert study.table() == local.table()
    finally:
        subprocess.run(["umount", str(results)], check=True)


def test_what_the_cluster_cannot_give_is_told(cluster, segmented):
    """A partition that is not there, and a time limit that no partition allows: a word instead of an endless wait."""
    study = segmented("refused", retries=0, default_resources={"slurm_partition": "nowhere"})
    assert study.run(TABLE, "--profile", "slurm") != 0
    assert "was not taken by SLURM" in study.said and "invalid partition specified: nowhere" in study.said
    study = segmented("waiting", set_resources={"quantify": {"runtime": 600}})
    process = study.start(TABLE, "--profile", "slurm")
    wait(lambda: "It will wait for ever" in study.said, "the wait without end to be told")
    assert "asks for more time than its partition allows: lower `runtime`" in study.said
    process.send_signal(signal.SIGINT)
    study.finish(process)


def test_a_preempted_training_goes_on_from_its_last_epoch(cluster, tmp_path):
    """Stopped by SIGTERM, as before a time limit, and then queued again by SLURM, as in a preemption."""
    epochs = 30
    study = Study(tmp_path / "study", cluster.environment)
    squares = Squares(study.folder, recipe={"model": "unet", "width": 0.125}, schedule={"epochs": epochs})
    config = squares.config.model_copy(update={"results": "results"})
    (study.folder / "study.yaml").write_text(
        (study.folder / "study.yaml").read_text().replace(str(study.folder / "results"), "results")
    )
    recipe = config.training["square"]
    for made, place in (
        (squares.images, paths.images(config, recipe.dataset)),
        (squares.split, paths.split(config, recipe.dataset, recipe.protocol)),
        (squares.store, paths.store(config, recipe)),
    ):
        (study.folder / place).parent.mkdir(parents=True, exist_ok=True)
        made.rename(study.folder / place)
    for beside in ("signatures.parquet", "shards.parquet"):
        (study.folder / paths.images(config, recipe.dataset)).with_name(beside).touch()
    proof = study.folder / paths.apart(config, "training", "square")
    proof.parent.mkdir(parents=True)
    proof.write_text("{}")
    model = paths.model(config, recipe)
    log = study.folder / "results" / "logs" / "train" / model.relative_to(Path("results") / "models")
    log = log.with_name(f"{log.name}.log")

    def epoch() -> int:
        told = re.findall(r"epoch (\d+)/", log.read_text()) if log.exists() else []
        return int(told[-1]) if told else 0

    process = study.start(str(model / "model.keras"), "--profile", "slurm", "--allowed-rules", "train_model")
    wait(lambda: epoch() >= 3, "the first epochs")
    (job,) = cluster.jobs()
    assert "gres/gpu=1" in job["given"] and job["node"] in GPUS
    cluster.run("scancel", "--signal=TERM", job["id"])
    wait(lambda: job["id"] not in {running["id"] for running in cluster.jobs()}, "the training to stop")
    wait(lambda: epoch() >= 6 and "going on after epoch" in log.read_text(), "it to go on")
    stopped = int(log.read_text().split("going on after epoch ")[1].split(" ")[0])
    assert stopped >= 3
    (job,) = cluster.jobs()
    cluster.run("scontrol", "requeue", job["id"])
    assert study.finish(process) == 0, study.said
    record = json.loads((study.folder / model / "run.json").read_text())
    assert record["training"]["resumed_after_epochs"] >= 6
    assert epoch() == epochs
    assert "stopped by SIGTERM" in study.said, study.said


def test_the_trial_of_the_cluster_says_what_is_wrong_here(cluster, tmp_path):
    study = Study(tmp_path / "study", cluster.environment)
    study.run("preflight", "--profile", "slurm")
    lines = study.said.splitlines()
    for kind, node in (("cpu", ""), ("gpu", "g")):  # a job without a GPU may share a node with one that has
        found = [line for line in lines if line.startswith("ok") and f" {kind} ({node}" in line]
        assert any("shared disk: the note" in line for line in found), study.said
        assert any("environment: covidpipe" in line for line in found)
        assert any("in partition cpu, account" in line for line in found)
    assert any("SLURM gave number 0" in line for line in lines)
    wrong = {line.split(": ")[1] for line in lines if line.startswith("WRONG")}
    assert wrong == {"driver", "TensorFlow"}, study.said  # a GPU that is none
