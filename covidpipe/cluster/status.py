"""What of a study is done, running and failed, and when it will be over: from its files, its journal and SLURM."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.cluster import journal, slurm
from covidpipe.cluster.journal import Job, Run
from covidpipe.config import Config
from covidpipe.words import duration
from covidpipe.workflow import has_truth, shards_of

MOST_BENCHMARKS = 200  # files that are read for the median of a stage


@dataclass
class Stage:
    """Results of one kind: ``done`` of ``of`` are there; seconds are those of one job that is over."""

    name: str
    done: int
    of: int
    seconds: float | None = None

    @property
    def left(self) -> int:
        return self.of - self.done


@dataclass
class Status:
    """All that `covidpipe status` tells.

    ``images``: cohort -> images seen, quantified so far. ``ends`` is seconds since 1970, or None where it cannot be
    told yet: no job of this run is over. ``at_least``: a cohort is not ingested, its shards are not among ``stages``.
    """

    study: str
    run: Run | None
    stages: list[Stage]
    images: dict[str, tuple[int, int]]
    at_least: bool
    running: list[Job] = field(default_factory=list)
    waiting: list[tuple[Job, str]] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    locked: bool = False
    ends: float | None = None


def study(config: Config, now: float | None = None) -> Status:
    """Look at the results of a config, at the journal of its newest run, and at SLURM's queue."""
    now = time.time() if now is None else now
    stages, images, at_least = results(config)
    found = Status(config.study, journal.read(paths.journal(config)), stages, images, at_least)
    run = found.run
    if run is None:
        return found
    found.locked = any(Path(run.folder, ".snakemake", "locks").glob("*.lock"))
    queued = {job.id: job for job in slurm.queued(name=run.slurm_run)} if run.slurm_run else {}
    if run.state in ("killed", "failed", "done"):
        found.left_behind = sorted(queued)
    for job in run.jobs.values():
        if job.state == "failed":
            found.failed.append(job)
        elif job.state == "running" and run.state in ("running", "unknown"):
            line = queued.get(job.slurm or "")
            if line is None or line.state != "PENDING":
                found.running.append(job)
            else:
                why = slurm.hopeless(line.reason)
                found.waiting.append((job, f"{line.reason}: it {why}" if why else line.reason))
    if run.state in ("running", "unknown"):
        found.ends = expected_end(run, stages, now)
    return found


def results(config: Config) -> tuple[list[Stage], dict[str, tuple[int, int]], bool]:
    """Results that a study needs, by stage: how many there are, and of how many; images by cohort."""
    trained = list(config.training.values())
    stages = [
        _stage(config, "ingest", (paths.images(config, name) for name in config.cohorts)),
        _stage(config, "train", (paths.model(config, recipe) / "model.keras" for recipe in trained)),
        _stage(config, "evaluate", (paths.metrics(config, recipe) / "summary.parquet" for recipe in trained)),
    ]
    images: dict[str, tuple[int, int]] = {}
    masks: list[Path] = []
    tables: list[Path] = []
    at_least = False
    for name in config.cohorts:
        listed = paths.images(config, name)
        if not listed.exists():
            at_least = True
            continue
        shards = {paths.shard(config, name, one.number): one.images for one in shards_of(listed, config.shard_images)}
        masks += [folder / "index.parquet" for folder in shards]
        tables += [folder / "infection.parquet" for folder in shards]
        done = sum(size for folder, size in shards.items() if (folder / "infection.parquet").exists())
        images[name] = (sum(shards.values()), done)
    folders = [paths.cohort(config, name) for name in config.cohorts]
    scored = [paths.cohort_metrics(config, name) for name in config.cohorts if has_truth(config, name)]
    stages += [
        _stage(config, "predict", masks),
        _stage(config, "quantify", tables),
        _stage(config, "collect", (folder / "infection.parquet" for folder in folders)),
        _stage(config, "score", (folder / "summary.parquet" for folder in scored)),
        _stage(config, "report", (folder / "report.html" for folder in folders)),
    ]
    return [stage for stage in stages if stage.of], images, at_least


def _stage(config: Config, name: str, files: Iterable[Path]) -> Stage:
    wanted = set(files)
    return Stage(name, sum(file.exists() for file in wanted), len(wanted), _seconds(config, name))


def _seconds(config: Config, stage: str) -> float | None:
    """Median duration of the jobs of a stage, from Snakemake's benchmarks."""
    folders = [Path(config.results) / "benchmarks", *(paths.cohort(config, n) / "benchmarks" for n in config.cohorts)]
    files = [file for folder in folders for file in (*(folder / stage).rglob("*.tsv"), *folder.glob(f"{stage}.tsv"))]
    known = [seconds for file in files[:MOST_BENCHMARKS] for seconds in benchmark_seconds(file)]
    return statistics.median(known) if known else None


def benchmark_seconds(file: str | Path) -> list[float]:
    """Wall times of the jobs that a benchmark tells of; none where Snakemake has not written it."""
    try:
        with Path(file).open(encoding="utf-8", newline="") as lines:
            return [float(row["s"]) for row in csv.DictReader(lines, delimiter="\t")]
    except (OSError, KeyError, ValueError):
        return []


def expected_end(run: Run, stages: list[Stage], now: float) -> float | None:
    """When the run will be over, if the rest goes as it went: the work that is left, divided by the work done a second.

    Work is seconds of jobs, from the benchmarks; what a second of this run got done includes waiting in the queue and
    jobs side by side. A stage of which no job is over yet counts as the mean of the others.
    """
    over = [job for job in run.jobs.values() if job.state == "done"]
    usual = {stage.name: stage.seconds or 0.0 for stage in stages}  # of shards whose benchmarks `collect` put together
    worked = sum(
        next(iter(benchmark_seconds(job.benchmark)), usual.get(job.rule, 0.0)) for job in over if job.benchmark
    )
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    if not worked or not known or now <= run.started:
        return None
    mean = statistics.fmean(known)
    left = sum(stage.left * (mean if stage.seconds is None else stage.seconds) for stage in stages)
    return now + left * (now - run.started) / worked


# --- Told -----------------------------------------------------------------------------------------------------------

STATES = {
    "running": "running since {started} on {host} (process {pid})",
    "done": "finished {ended}",
    "failed": "stopped {ended}: the same command goes on from what is done",
    "killed": "was killed (process {pid} on {host} is gone without a last word)",
    "unknown": "started {started} on {host}: whether it still runs can be seen there only",
}


def page(status: Status) -> str:
    """The status as lines for a terminal."""
    run = status.run
    lines = [f"{status.study}: {_state(run)}"]
    if run is not None and run.total:
        lines.append(f"jobs of the last run: {run.done} of {run.total} done")
    if status.stages:
        lines += ["", f"{'stage':<10}{'done':>8}{'of':>8}{'each':>10}"]
    for stage in status.stages:
        each = "" if stage.seconds is None else duration(stage.seconds)
        lines.append(f"{stage.name:<10}{stage.done:>8,}{stage.of:>8,}{each:>10}")
    if status.at_least:
        lines.append("(more shards than these: a cohort is not ingested yet)")
    lines += [f"images of {name}: {done:,} of {seen:,} quantified" for name, (seen, done) in status.images.items()]
    lines += _some("running", [f"{job.text}{_slurm(job)}" for job in status.running])
    lines += _some("waiting", [f"{job.text}{_slurm(job)}: {why}" for job, why in status.waiting])
    lines += _some("failed", [job.sentence or job.text for job in status.failed])
    if status.ends is not None:
        lines += ["", f"expected end: {_clock(status.ends)} (in {duration(max(0.0, status.ends - time.time()))})"]
    if run is not None and run.state == "killed" and status.locked:
        lines += ["", "The folder is still locked by it: snakemake --unlock, then the same command as before."]
    if status.left_behind:
        ids = ", ".join(status.left_behind[:10])
        lines += ["", f"{len(status.left_behind)} SLURM jobs of that run are still there: {ids}."]
        lines += [f"The next run cancels them; to do it now: scancel --name {run.slurm_run if run else ''}"]
    return "\n".join(lines)


def as_json(status: Status) -> dict[str, Any]:
    """The status for programs."""
    run = status.run

    def told_of(job: Job) -> dict[str, Any]:
        return {"rule": job.rule, "wildcards": job.wildcards, "text": job.text, "slurm_job": job.slurm}

    return {
        "study": status.study,
        "state": "none" if run is None else run.state,
        "started": run.started if run else None,
        "ended": run.ended if run else None,
        "jobs": {"done": run.done, "total": run.total} if run else None,
        "stages": [
            {"stage": stage.name, "done": stage.done, "of": stage.of, "seconds_each": stage.seconds}
            for stage in status.stages
        ],
        "images": {name: {"seen": seen, "quantified": done} for name, (seen, done) in status.images.items()},
        "running": [told_of(job) for job in status.running],
        "waiting": [told_of(job) | {"reason": why} for job, why in status.waiting],
        "failed": [told_of(job) | {"cause": _cause(run, job), "sentence": job.sentence} for job in status.failed],
        "left_behind": status.left_behind,
        "locked": status.locked,
        "expected_end": status.ends,
        "log": run.log if run else None,
    }


def _cause(run: Run | None, job: Job) -> str | None:
    faults = [fault["cause"] for fault in run.faults if job.id in fault["jobs"]] if run else []
    return faults[-1] if faults else None


def _state(run: Run | None) -> str:
    if run is None:
        return "has not been run yet"
    ended = "" if run.ended is None else _clock(run.ended)
    return STATES[run.state].format(started=_clock(run.started), ended=ended, host=run.host, pid=run.pid)


def _clock(seconds: float) -> str:
    then = time.localtime(seconds)
    near = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M" if near else "%Y-%m-%d %H:%M", then)


def _slurm(job: Job) -> str:
    return f" (SLURM job {job.slurm})" if job.slurm else ""


def _some(title: str, lines: list[str]) -> list[str]:
    lines = list(dict.fromkeys(lines))
    if not lines:
        return []
    more = [f"  and {len(lines) - 10:,} more"] if len(lines) > 10 else []
    return ["", f"{title}:", *(f"  {line}" for line in lines[:10]), *more]
