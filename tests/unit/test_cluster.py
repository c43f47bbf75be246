"""What SLURM's commands, the journal of a run and the logs tell; SLURM itself is played by small scripts.

The real one is in tests/slurm.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from covidpipe import cli, paths
from covidpipe.cluster import faults, journal, preflight, slurm, status, watch
from covidpipe.cluster.faults import explain
from covidpipe.cluster.slurm import EndedJob
from covidpipe.config import dump, parse
from covidpipe.errors import CovidpipeError, UsageError

# --- SLURM's commands -----------------------------------------------------------------------------------------------


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A folder of commands that print what a test says; nothing else is found."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("COVIDPIPE_LARGEST", raising=False)

    def add(name: str, said: str, status: int = 0, error: str = "") -> None:
        file = folder / name
        file.write_text(f"#!/bin/sh\necho '{name}' \"$@\" >> {folder}/asked\n/bin/cat <<'E'\n{said}\nE\n")
        with file.open("a") as more:
            more.write(f"/bin/cat >&2 <<'E'\n{error}\nE\nexit {status}\n")
        file.chmod(0o755)

    add.asked = lambda: (folder / "asked").read_text() if (folder / "asked").exists() else ""
    return add


def test_without_slurm_every_answer_is_empty(commands):
    assert slurm.largest() == slurm.Largest(None, None)
    assert slurm.queued(name="x") == [] and slurm.ended("1") == EndedJob("1") and slurm.refusal("--mem=1") == ""
    assert slurm.largest().minutes_of_a_pair is None


def test_a_controller_that_fails_or_talks_nonsense_is_no_answer(commands):
    commands("squeue", "slurm_load_jobs error", status=1)
    commands("sinfo", "nonsense")
    assert slurm.queued(name="x") == [] and slurm.largest() == slurm.Largest(None, None)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("1:00:00|8000\n2-00:00:00|4000", (2880, 8000)),
        ("infinite|512000\n1:00:00|8000", (None, 512000)),  # where one partition has no limit there is none
        ("30:00|1", (30, None)),  # SLURM's default of 1 MB: memory is not declared
    ],
)
def test_the_most_that_a_job_may_ask_is_asked_once_for_all_jobs_of_a_run(said, wanted, commands):
    commands("sinfo", said)
    assert (slurm.largest().minutes, slurm.largest().memory_mb) == wanted
    assert slurm.largest() == slurm.Largest(*wanted)
    assert commands.asked().count("sinfo") == 1


def test_waiting_jobs_that_will_never_start_are_told_apart(commands):
    commands("squeue", "7|PENDING|PartitionTimeLimit|run||0|rule_x|\n8|RUNNING|None|run|g1|2|rule_y|")
    waiting, running = slurm.queued(name="run")
    assert slurm.hopeless(waiting.reason) and waiting.node == ""
    assert (running.comment, running.restarts) == ("rule_y", 2) and slurm.hopeless(running.reason) is None
    assert all(slurm.hopeless(reason) is None for reason in ("Resources", "Priority", "Dependency", "BeginTime"))


def test_an_ended_job_is_told_by_the_controller_and_who_cancelled_it_by_the_accounting(commands):
    commands("scontrol", "JobId=7 JobState=CANCELLED Reason=None ExitCode=0:15 RunTime=00:00:09 NodeList=g1")
    commands("sacct", "CANCELLED by 0|0:15|g1|00:00:09|01:00:00|4000M")
    job = slurm.ended("7")
    assert (job.state, job.node, job.cancelled_by) == ("CANCELLED", "g1", "0")
    assert (job.memory, job.time_limit) == ("4000M", "01:00:00")


def test_what_sbatch_refuses_is_told_in_its_words(commands):
    commands("sbatch", "", status=1, error="allocation failure: Requested node configuration is not available")
    assert slurm.refusal("--mem=9000") == "Requested node configuration is not available"
    commands("sbatch", "", error="sbatch: Job 5 to start at ...")
    assert slurm.refusal("--mem=9") == ""


# --- Causes ---------------------------------------------------------------------------------------------------------

JOB = EndedJob("7", state="FAILED", exit_code="1:0", node="g1", time_limit="01:00:00", memory="500M")
OVER = "slurmstepd: error: Job 7 exceeded memory limit (812000 > 512000), being killed"
TIME = "slurmstepd: error: *** JOB 7 ON g1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***"


@pytest.mark.parametrize(
    ("job", "slurm_log", "rule_log", "cause", "named"),
    [
        (JOB, OVER, "", "memory", "predict: mem_mb"),
        (JOB, "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", "", "memory", "500M"),
        (EndedJob("7", state="OUT_OF_MEMORY"), "", "", "memory", "mem_mb"),
        (JOB, TIME, "", "time", "predict: runtime"),
        (EndedJob("7", state="TIMEOUT", time_limit="00:10:00"), "", "", "time", "00:10:00"),
        (EndedJob("7", state="NODE_FAIL", node="g2"), "", "", "node", "g2 failed or was set down"),
        (EndedJob("7", state="CANCELLED", cancelled_by="0"), "", "", "cancelled", "by root (scancel)"),
        (EndedJob("7", state="CANCELLED", cancelled_by="4242424"), "", "", "cancelled", "by user 4242424"),
        (EndedJob("7", state="PREEMPTED"), "", "", "preempted", "make room"),
        (JOB, "", "OSError: [Errno 28] No space left on device", "disk", "Make room"),
        (JOB, "", "OSError: [Errno 122] Disk quota exceeded", "disk", "quota"),
        (JOB, "bash: line 1: covidpipe: command not found", "", "environment", "preflight"),
        (JOB, "", "ResourceExhaustedError: OOM when allocating tensor on GPU:0 device", "gpu", "gpu_model"),
        (JOB, "", "working\ncovidpipe: x.png: there is no such file", "error", "exit code 1: x.png: there is no such"),
        (JOB, "", "", "error", "its logs say no more"),
        (None, "", "covidpipe: said so", "error", "said so"),
    ],
)
def test_the_cause_is_named_and_where_to_change_it(job, slurm_log, rule_log, cause, named):
    told = explain("Segmenting few, shard 00003", ["predict"], job, slurm_log, rule_log)
    assert told.cause == cause and named in told.sentence, told
    assert told.sentence.startswith("Segmenting few, shard 00003")
    assert (job is None) == ("SLURM job 7" not in told.sentence)


def test_a_full_disk_is_found_even_where_no_log_could_be_written():
    assert explain("x", ["predict"], JOB, free_bytes=4096).cause == "disk"
    assert explain("x", ["predict"], JOB, free_bytes=2**40).cause == "error"
    assert explain("x", ["predict"], JOB, OVER, free_bytes=4096).cause == "memory"  # what SLURM says counts more


def test_what_sbatch_did_not_take_is_told_with_its_words():
    told = explain("Training a", ["train_model"], None, refused="Invalid account")
    assert told.cause == "refused" and "Invalid account" in told.sentence and faults.PROFILE in told.sentence


def test_the_end_of_a_long_log_is_enough_and_a_missing_one_is_none(tmp_path):
    (tmp_path / "log").write_bytes(b"x" * 100_000 + b"\xff\nlast")
    assert faults.tail(tmp_path / "log").endswith("last") and len(faults.tail(tmp_path / "log")) <= faults.TAIL
    assert faults.tail(tmp_path / "none") == ""
    assert faults.free_bytes(tmp_path / "not" / "yet") > 0


# --- The journal ----------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    return parse({"study": "s", "results": str(tmp_path / "results"), "cohorts": {"few": {"path": "scans"}}}, "test")


def write(config, *entries, **start):
    file = paths.journal(config)
    file.parent.mkdir(parents=True, exist_ok=True)
    first = journal.first_line("", "run-1") | start
    lines = [{"time": 100.0 + i, **entry} for i, entry in enumerate([first, *entries])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def job(number, rule="predict", **more):
    text = more.pop("text", f"{rule} {number}")
    return {"event": "job", "id": number, "rule": rule, "text": text, "wildcards": {}, "benchmark": None, **more}


def test_a_run_is_running_while_its_process_is_and_killed_when_it_left_no_last_word(config):
    file = write(config)
    assert journal.read(file).state == "running"
    assert journal.read(write(config, birth="1")).state == "killed"  # another process has its number now
    assert journal.read(write(config, pid=2**22 + 7, birth="1")).state == "killed"
    assert journal.read(write(config, host="elsewhere")).state == "unknown"
    assert journal.read(write(config, {"event": "end", "state": "done"}, birth="1")).state == "done"
    assert journal.read(file.with_name("none")) is None


def test_what_happened_to_a_job_is_read_back_even_if_the_last_line_is_cut_off(config):
    file = write(
        config, job("1"), job("2"), {"event": "submitted", "slurm": "17", "jobs": ["1", "2"]},
        {"event": "fault", "jobs": ["1", "2"], "slurm": "17", "cause": "time", "sentence": "too long"},
        job("1"), {"event": "finished", "id": "1"}, {"event": "progress", "done": 1, "total": 9},
    )  # fmt: skip
    with file.open("a") as more:
        more.write('{"event": "finis')
    run = journal.read(file)
    assert (run.done, run.total) == (1, 9)
    assert run.jobs["1"].state == "done" and run.jobs["2"].state == "failed"
    assert run.jobs["2"].sentence == "too long" and run.jobs["2"].slurm == "17"


# --- The hooks ------------------------------------------------------------------------------------------------------


class Group(list):
    jobid, toposorted, global_resources = "uuid", (), None


@pytest.fixture
def said(config, tmp_path, commands, monkeypatch):
    """A logger like Snakemake's with a watch on it, and what was said."""
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.02)
    logger, lines = logging.getLogger(f"test {tmp_path}"), []
    logger.setLevel(logging.INFO)
    logger.addHandler(type("Lines", (logging.Handler,), {"emit": lambda self, record: lines.append(record.msg)})())
    log = tmp_path / "snakemake.log"
    log.write_text("Building DAG\nSLURM run ID: run-9\n")
    watch.start(config, [str(log)], logger)
    return logger, lines


def info(logger, number, rule, text, log, **more):
    facts = {
        "event": "job_info", "jobid": number, "rule_name": rule, "rule_msg": text, "wildcards": {"shard": "00001"},
        "benchmark": None, "log": [str(log)], "resources": {}, "local": False,
    }  # fmt: skip
    logger.info(None, extra=facts | more)


def failed(logger, number, rule, message="", **aux):
    facts = {"event": "job_error", "jobid": number, "rule_name": rule, "rule_msg": message, "aux": aux, "indent": False}
    logger.error(None, extra=facts)


def test_a_failed_job_is_explained_at_once_and_again_at_the_end(said, config, tmp_path, commands):
    logger, lines = said
    commands("scontrol", "JobId=17 JobState=TIMEOUT NodeList=g1 TimeLimit=00:10:00")
    info(logger, 5, "predict", "Segmenting few, shard 00001", tmp_path / "predict.log")
    info(logger, 6, "predict", "Segmenting few, shard 00002", tmp_path / "predict.log")
    logger.info(f"Job 5 has been submitted with SLURM jobid 17 (log: {tmp_path}/17.log).")
    failed(logger, 5, "predict", external_jobid="17")
    assert "Segmenting few, shard 00001 (SLURM job 17 on g1) ran into its time limit of 00:10:00" in lines[-1]
    failed(logger, 6, "predict", "SLURM sbatch failed. The error message was 'Invalid account'.\n  sbatch call: x")
    assert "was not taken by SLURM: Invalid account" in lines[-1]
    logger.info(None, extra={"event": "job_finished", "job_id": 5})
    logger.info(None, extra={"event": "progress", "done": 1, "total": 2})
    run = journal.read(paths.journal(config))
    assert run.slurm_run == "run-9" and (run.done, run.total) == (1, 2)
    assert run.jobs["5"].state == "done" and run.jobs["5"].slurm == "17" and run.jobs["6"].state == "failed"
    watch.end("failed")
    lasting, passing, how = lines[-3:]
    assert lasting.startswith("Not done:") and "Invalid account" in lasting and "time limit" not in lasting
    assert passing.startswith("Failed once and done since:") and "time limit" in passing
    assert "goes on from what is done" in how
    assert journal.read(paths.journal(config)).state == "failed"


def test_a_group_is_explained_by_the_rule_that_failed_in_it(said, tmp_path, commands):
    logger, lines = said
    commands("scontrol", "JobId=18 JobState=FAILED NodeList=g2 ExitCode=1:0")
    dag = SimpleNamespace(jobid=lambda member: member.number, get_job_group=lambda member: group)
    group = Group(SimpleNamespace(number=number, dag=dag) for number in (11, 12))
    logger.info(None, extra={"event": "group_info", "jobs": list(group)})
    info(logger, 11, "predict", "Segmenting few", tmp_path / "predict.log")
    info(logger, 12, "quantify", "Quantifying few", tmp_path / "quantify.log")
    (tmp_path / "18.log").write_text("Error in rule quantify:\n")
    (tmp_path / "quantify.log").write_text("covidpipe: no such table\n")
    (tmp_path / "predict.log").write_text("8 images\n")
    logger.info(f"Job uuid has been submitted with SLURM jobid 18 (log: {tmp_path}/18.log).")
    members = [{"jobid": 11}, {"jobid": 12}]
    facts = {"event": "group_error", "job_error_info": members, "external_jobid": "18"}
    logger.error(None, extra=facts)
    assert lines[-1] == "covidpipe: Quantifying few (SLURM job 18 on g2) failed with exit code 1: no such table"
    watch.end("done")


def test_the_watch_never_stands_in_snakemakes_way(said):
    logger, lines = said
    logger.error(None, extra={"event": "job_error"})  # nothing of what an error has
    logger.info("Job 5 has been submitted with SLURM jobid 17 (log: x).")
    watch.end("done")
    watch.end("done")
    assert not any(str(line).startswith("covidpipe") for line in lines)


def test_what_slurm_does_with_waiting_jobs_is_told_once(said, commands):
    _, lines = said

    def wait_for(words):
        end = time.monotonic() + 120
        while words not in "\n".join(map(str, lines)):
            assert time.monotonic() < end, (words, lines)
            time.sleep(0.02)

    squeue = "7|PENDING|PartitionTimeLimit|run-9||0|rule_a|\n8|PENDING|BeginTime|run-9||1|rule_b|"
    commands("sinfo", "g2 (broken fan)")
    commands("squeue", squeue + "\n9|PREEMPTED|None|run-9|g1|0|rule_c|\n10|PENDING|Priority|run-9||0|rule_d|")
    wait_for("job 9 ")
    time.sleep(0.2)  # for a second look
    commands("scontrol", "Slurmctld(primary) at x is DOWN")
    commands("squeue", "")
    wait_for("does not answer")
    commands("squeue", squeue)
    wait_for("is back")
    watch.end("done")
    text = "\n".join(map(str, lines))
    assert "SLURM job 7 (rule_a) asks for more time than its partition allows" in text
    assert "SLURM job 8 (rule_b) was queued again by SLURM (time 1)" in text and "g2 (broken fan)" in text
    assert "SLURM job 9 (rule_c) was preempted and SLURM does not start it again" in text and "job 10" not in text
    assert text.count("job 7") == 1 and text.count("controller does not answer") == 1


def test_a_journal_that_cannot_be_written_stops_nothing(config, said, commands, tmp_path, monkeypatch):
    logger, lines = said
    watch.end("done")
    file = paths.journal(config)
    file.unlink()
    file.mkdir()
    watch.start(config, [], logger)
    assert "cannot be written" in lines[-1]
    info(logger, 5, "predict", "Segmenting", tmp_path / "log")
    watch.end("done")
    file.rmdir()
    watch.start(config, [], logger)
    first = file.open()
    watch.start(config, [], logger)  # another run of the same study: the file of the first is its own
    watch.end("done")
    assert len(first.readlines()) == 1 and journal.read(file).state == "done"
    first.close()


def test_jobs_of_a_run_that_was_killed_are_cancelled_before_the_next(config, commands, tmp_path):
    write(config, birth="1")
    commands("squeue", "7|RUNNING|None|run-1|g1|0|rule_predict|")
    left = tmp_path / "commands" / "squeue"
    commands("scancel", "")
    scancel = tmp_path / "commands" / "scancel"
    scancel.write_text(scancel.read_text().replace("exit 0", f"/bin/rm {left}"))
    logger, lines = logging.getLogger("sweep"), []
    logger.addHandler(type("Lines", (logging.Handler,), {"emit": lambda self, record: lines.append(record.msg)})())
    watch.start(config, [], logger)
    watch.end("done")
    assert "was killed and left 1 SLURM jobs: 7" in lines[0]
    assert "scancel --name run-1" in commands.asked()


@pytest.mark.parametrize("start", [{}, {"host": "elsewhere", "birth": "1"}, {"slurm_run": None, "birth": "1"}])
def test_jobs_of_a_run_that_may_still_be_watched_are_left_alone(start, config, commands, caplog):
    write(config, **start)
    commands("squeue", "7|RUNNING|None|run-1|g1|0|rule_predict|")
    commands("scancel", "")
    watch.start(config, [], logging.getLogger("left alone"))
    watch.end("done")
    assert "scancel" not in commands.asked()
    assert ("scancel --name run-1" in caplog.text) == ("host" in start)


def test_a_dry_run_tells_what_jobs_ask_for():
    resources = {"gpu": 2, "gpu_model": "a100", "_cores": 1, "mem_mb": 500, "runtime": 5, "slurm_account": "lab"}
    record = SimpleNamespace(event="job_info", rule_msg="Training", resources=resources)
    assert watch.show_resources(SimpleNamespace(dryrun=False), record) and record.rule_msg == "Training"
    assert watch.show_resources(SimpleNamespace(dryrun=True), record)
    assert record.rule_msg == "Training\nAsks for: 2 GPUs (a100), 1 core, 500 MB, 5 min, account lab"
    assert watch.in_words({"_cores": 2, "mem_mb": 1, "runtime": 2}) == "no GPU, 2 cores, 1 MB, 2 min"
    assert watch.asked(resources) == ["--cpus-per-task=1", "--mem=500", "--time=5", "--gpus=a100:2", "--account=lab"]


# --- Status ---------------------------------------------------------------------------------------------------------


def test_a_study_that_was_never_run(config, capsys):
    found = status.study(config)
    assert found.run is None and found.at_least and found.ends is None
    assert status.as_json(found)["state"] == "none" and "has not been run yet" in status.page(found)


@pytest.fixture
def half_done(tmp_path):
    """A cohort of 20 images in shards of 8: the first is quantified, the second segmented."""
    raw = {"study": "s", "results": str(tmp_path / "results"), "cohorts": {"few": {"path": "scans"}}, "shard_images": 8}
    config = parse(raw, "test")
    paths.images(config, "few").parent.mkdir(parents=True)
    pq.write_table(pa.table({"image_id": [str(n) for n in range(20)]}), paths.images(config, "few"))
    for k, files in enumerate((["index.parquet", "infection.parquet"], ["index.parquet"], [])):
        paths.shard(config, "few", k).mkdir(parents=True)
        for file in files:
            (paths.shard(config, "few", k) / file).touch()
    benchmarks = paths.cohort(config, "few") / "benchmarks" / "predict"
    benchmarks.mkdir(parents=True)
    for name, seconds in (("00000", 40.0), ("00001", 60.0)):
        (benchmarks / f"{name}.tsv").write_text(f"s\th:m:s\n{seconds}\t0:00:40\n")
    return config, benchmarks


def test_what_is_done_and_what_is_left(half_done):
    config, _ = half_done
    stages, images, at_least = status.results(config)
    counts = {stage.name: (stage.done, stage.of) for stage in stages}
    assert counts == {
        "ingest": (1, 1), "predict": (2, 3), "quantify": (1, 3), "collect": (0, 1), "report": (0, 1)
    }  # fmt: skip
    assert images == {"few": (20, 8)} and not at_least
    assert next(stage for stage in stages if stage.name == "predict").seconds == 50


def test_the_end_is_expected_from_what_this_run_got_done(half_done, commands):
    config, benchmarks = half_done
    write(
        config, job("1", benchmark=str(benchmarks / "00000.tsv")), {"event": "finished", "id": "1"},
        job("2", benchmark=str(benchmarks / "00001.tsv")), {"event": "finished", "id": "2"},
    )  # fmt: skip
    # 100 s of jobs in 200 s; left are 1 shard to segment, 2 to quantify, the table and the report: 5 jobs of 50 s each
    assert status.study(config, now=300.0).ends == pytest.approx(300 + 5 * 50 * 200 / 100)
    write(config)
    assert status.study(config, now=300.0).ends is None


def test_running_waiting_and_failed_jobs_are_told_with_their_reasons(half_done, commands, capsys):
    config, _ = half_done
    commands("squeue", "17|RUNNING|None|r|g1|0|c|\n18|PENDING|PartitionTimeLimit|r||0|c|\n19|PENDING|Priority|r||0|c|")
    submitted = [{"event": "submitted", "slurm": f"{16 + n}", "jobs": [f"{n}"]} for n in (1, 2, 3)]
    fault = {"event": "fault", "jobs": ["4"], "slurm": "20", "cause": "memory", "sentence": "too much"}
    progress = {"event": "progress", "done": 0, "total": 9}
    write(config, job("1"), job("2"), job("3"), *submitted, job("4"), fault, progress)
    found = status.study(config, now=300.0)
    told = status.as_json(found)
    assert [one["slurm_job"] for one in told["running"]] == ["17"]
    assert [one["reason"].split(":")[0] for one in told["waiting"]] == ["PartitionTimeLimit", "Priority"]
    assert [(one["cause"], one["sentence"]) for one in told["failed"]] == [("memory", "too much")]
    assert told["jobs"] == {"done": 0, "total": 9}
    text = status.page(found)
    assert "it asks for more time than its partition allows" in text and "failed:\n  too much" in text


def test_a_killed_run_is_told_with_its_lock_and_its_jobs(half_done, commands, tmp_path, monkeypatch, capsys):
    config, _ = half_done
    monkeypatch.chdir(tmp_path)
    commands("squeue", "17|RUNNING|None|r|g1|0|c|")
    write(config, job("1"), birth="1")
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    file = tmp_path / "study.yaml"
    file.write_text(dump(config))
    assert cli.main(["status", "--config", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["locked"], told["left_behind"]) == ("killed", True, ["17"])
    assert cli.main(["status", "--config", str(file)]) == 0
    text = capsys.readouterr().out
    assert "snakemake --unlock" in text and "scancel --name run-1" in text and "was killed" in text


# --- The trial of a cluster -----------------------------------------------------------------------------------------


def answer(**more):
    facts = {"kind": "cpu", "host": "h", "node": "c1", "time": time.time(), "token": "t", "version": "1"}
    return facts | {"python": "p", "key": "k", "sources": {}, "findings": []} | more


def test_the_verdict_names_every_place_and_what_keeps_jobs_from_running():
    wrong = {"status": "wrong", "what": "GPU", "told": "none"}
    found = preflight.compare(
        {"login": answer(node=""), "cpu": answer(token="other"), "gpu": answer(node="g1", findings=[wrong])}
    )
    text = preflight.page(found)
    assert "WRONG    cpu: shared disk: its answer is not seen here" in text
    assert "WRONG    gpu (g1): GPU: none" in text and "2 things keep jobs from running" in text
    assert preflight.page(preflight.compare({"login": answer(node="")})) == "This cluster is ready."


def test_a_node_that_differs_from_the_login_node_says_in_what(config, commands, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4096")
    (tmp_path / "scans").mkdir()
    monkeypatch.chdir(tmp_path)
    login = preflight.look(config, "login", None, tmp_path / "login.json")
    same = preflight.look(config, "cpu", login, tmp_path / "cpu.json")
    by_what = {finding["what"]: finding for finding in same["findings"]}
    assert {by_what[what]["status"] for what in ("environment", "images", "shared disk", "job")} == {"ok"}
    assert by_what["cores"]["status"] == "warning"
    assert same["token"] == login["token"]
    monkeypatch.setenv("COVIDPIPE_ID_KEY", str(tmp_path / "another.key"))
    (tmp_path / "scans").rmdir()
    other = preflight.look(config, "cpu", login | {"python": "/usr/bin/python"}, tmp_path / "cpu.json")
    wrong = {finding["what"]: finding["told"] for finding in other["findings"] if finding["status"] == "wrong"}
    assert "COVIDPIPE_ID_KEY" in wrong["key for identifiers"] and "/usr/bin/python" in wrong["Python"]
    assert "seen on the login node and not here" in wrong["images"]
    unseen = preflight.look(config, "cpu", None, tmp_path / "cpu.json")
    assert "is not seen here" in {f["what"]: f["told"] for f in unseen["findings"]}["shared disk"]


def test_a_step_that_lacks_a_file_says_which(config, tmp_path, capsys):
    with pytest.raises(UsageError, match="--answers LOGIN CPU GPU"):
        preflight.run(config, "verdict", out=None, note=None, answers=None)
    with pytest.raises(UsageError, match="--out"):
        preflight.run(config, "cpu", out=None, note=None, answers=None)
    files = [tmp_path / f"{kind}.json" for kind in preflight.KINDS]
    for file in files[:2]:
        file.write_text(json.dumps(answer(node=file.stem)))
    with pytest.raises(CovidpipeError, match="not ready"):
        preflight.run(config, "verdict", out=None, note=None, answers=files)
    assert "gpu: shared disk" in capsys.readouterr().out


def test_nothing_of_the_key_is_told(config, monkeypatch):
    key = Path(os.environ["COVIDPIPE_ID_KEY"])
    mark = preflight.key_mark()
    assert len(mark) == 16 and mark not in key.read_text()
