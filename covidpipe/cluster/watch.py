"""Hooks of the Snakefile: a journal of the run, and a sentence that names the cause whenever a job fails."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import threading
import time
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.cluster import faults, journal, slurm
from covidpipe.config import Config
from covidpipe.words import counted

SUBMITTED = re.compile(r"^Job (\S+) has been submitted with SLURM jobid (\S+) \(log: (.+)\)\.$")
SLURM_RUN = re.compile(r"^SLURM run ID: (\S+)$", re.MULTILINE)
SBATCH_SAID = re.compile(r"error message was '(.*?)'", re.DOTALL)
LOOK_EVERY = 15  # seconds between looks at SLURM's queue
CANCELLING = 60  # seconds that the jobs of a run that was killed are given to end


class Watch(logging.Handler):
    """Listens to Snakemake's events in its main process.

    Parameters
    ----------
    file : Path
        The journal, begun anew.
    results : Path
        Folder whose disk may be full.
    start : dict
        Its first line.
    logger : logging.Logger
        Snakemake's.
    """

    def __init__(self, file: Path, results: Path, start: dict[str, Any], logger: logging.Logger):
        super().__init__(logging.INFO)
        self.results, self.logger, self.slurm_run = results, logger, start["slurm_run"]
        self.jobs: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, Any] = {}
        self.slurm_logs: dict[str, str] = {}
        self.told: list[tuple[list[str], faults.Fault]] = []
        self.finished: set[str] = set()
        self._file: io.FileIO | None = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)  # a run that still writes to the old one keeps it to itself
            self._file = io.FileIO(file, "w")
        except OSError as error:
            logger.warning(f"covidpipe: {file} cannot be written ({error.strerror}): status will know less.")
        self._write(start)
        self._over = threading.Event()
        self._events = {
            "job_info": self._job,
            "group_info": self._group,
            "job_finished": self._done,
            "progress": self._progress,
            "job_error": self._job_error,
            "group_error": self._group_error,
        }

    # --- Events ---------------------------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Never in Snakemake's way: what goes wrong here is told at debug level and forgotten."""
        try:
            kind = getattr(record, "event", None)
            if kind is None:
                if found := SUBMITTED.match(str(record.msg)):
                    self._submitted(*found.groups())
            elif taken := self._events.get(str(kind)):
                taken(record)
        except Exception as error:
            self.logger.debug("covidpipe's watch: %r", error)

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is not None and not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk: the run matters more than its journal
                self._file.write(json.dumps(entry | {"time": time.time()}).encode() + b"\n")

    def _job(self, record: Any) -> None:
        words = ", ".join(f"{key} {value}" for key, value in record.wildcards.items())
        job = {
            "id": str(record.jobid),
            "rule": record.rule_name,
            "text": (record.rule_msg or f"{record.rule_name} {words}").strip(),
            "wildcards": {key: str(value) for key, value in record.wildcards.items()},
            "benchmark": record.benchmark,
        }
        self.jobs[job["id"]] = job | {"logs": list(record.log), "resources": record.resources, "local": record.local}
        self._write({"event": "job", **job})

    def _group(self, record: Any) -> None:
        for job in record.jobs:
            group = job.dag.get_job_group(job)
            self.groups[str(group.jobid)] = group
            self.groups[str(job.dag.jobid(job))] = group

    def _members(self, job: str) -> list[str]:
        group = self.groups.get(job)
        return [job] if group is None else [str(member.dag.jobid(member)) for member in group]

    def _submitted(self, job: str, slurm_job: str, log: str) -> None:
        self.slurm_logs[slurm_job] = log
        self._write({"event": "submitted", "slurm": slurm_job, "jobs": self._members(job)})

    def _done(self, record: Any) -> None:
        self.finished.add(str(record.job_id))
        self._write({"event": "finished", "id": str(record.job_id)})

    def _progress(self, record: Any) -> None:
        self._write({"event": "progress", "done": record.done, "total": record.total})

    def _job_error(self, record: Any) -> None:
        if record.indent:  # a member of a group, which was told of as a whole
            return
        ids, said = [str(record.jobid)], str(record.rule_msg or "")
        self._explain(ids, record.aux.get("external_jobid"), said)

    def _group_error(self, record: Any) -> None:
        self._explain([str(info["jobid"]) for info in record.job_error_info], getattr(record, "external_jobid", None))

    # --- Causes ---------------------------------------------------------------------------------------------------

    def _explain(self, ids: list[str], slurm_job: str | None, said: str = "") -> None:
        known = [self.jobs[job] for job in ids if job in self.jobs]
        log = faults.tail(self.slurm_logs[slurm_job]) if slurm_job in self.slurm_logs else ""
        failing = re.findall(r"Error in rule (\w+)", log)
        known = [job for job in known if job["rule"] in failing] or known
        refused = ""
        if slurm_job is None and self.slurm_run is not None and not any(job["local"] for job in known):
            refused = slurm.in_short((SBATCH_SAID.search(said) or [said, said])[1]) or self._refusal(ids)
        fault = faults.explain(
            " and ".join(job["text"] for job in known[:2]) or "A job",
            [job["rule"] for job in known],
            slurm.ended(slurm_job) if slurm_job is not None else None,
            log,
            "\n".join(faults.tail(file) for job in reversed(known) for file in job["logs"]),
            free_bytes=faults.free_bytes(self.results),
            refused=refused,
        )
        self.told.append((ids, fault))
        self._write({"event": "fault", "jobs": ids, "slurm": slurm_job, **fault.__dict__})
        self.logger.error(f"covidpipe: {fault.sentence}")

    def _refusal(self, ids: list[str]) -> str:
        """What sbatch says of a group of jobs: Snakemake keeps it to itself."""
        group = self.groups.get(ids[0])
        return "" if group is None else slurm.refusal(*asked(_of_group(group))) or "sbatch failed."

    # --- Queue ----------------------------------------------------------------------------------------------------

    def look_after_jobs(self) -> None:
        """Tell, once each, of what SLURM does with jobs and Snakemake does not say; until `end`."""
        told: set[tuple[str, str, int]] = set()
        away = False
        while not self._over.wait(LOOK_EVERY):
            queue = slurm.queued(name=self.slurm_run)
            if (not queue and slurm.silent()) != away:
                away = not away
                self.logger.warning(
                    "covidpipe: SLURM's controller does not answer. Jobs run on; Snakemake waits until it is back."
                    if away
                    else "covidpipe: SLURM's controller is back."
                )
            for job in queue:
                for tell in (_waits_for_ever, _was_restarted):
                    news, key = tell(job), (job.id, tell.__name__, job.restarts)
                    if news is not None and key not in told:
                        told.add(key)
                        self.logger.warning(f"covidpipe: SLURM job {job.id} ({job.comment}) {news}")

    # --- End ------------------------------------------------------------------------------------------------------

    def end(self, state: str) -> None:
        """Write the last line, and tell what went wrong on the way: what stands in the way first."""
        self._over.set()
        self._write({"event": "end", "state": state})
        self.logger.removeHandler(self)
        if self._file is not None:
            self._file.close()
        lasting = [fault for ids, fault in self.told if not self.finished.issuperset(ids)]
        passing = [fault for ids, fault in self.told if self.finished.issuperset(ids)]
        for title, some in (("Not done", lasting), ("Failed once and done since", passing)):
            sentences = list(dict.fromkeys(fault.sentence for fault in some))
            if sentences:
                more = f"\n  and {len(sentences) - 10} more: covidpipe status" if len(sentences) > 10 else ""
                self.logger.error(f"{title}:\n  " + "\n  ".join(sentences[:10]) + more)
        if state == "failed":
            self.logger.error("The same command goes on from what is done.")


def _waits_for_ever(job: slurm.QueuedJob) -> str | None:
    if job.state == "PREEMPTED":
        return "was preempted and SLURM does not start it again: stop with Ctrl-C and run the same command."
    why = slurm.hopeless(job.reason) if job.state == "PENDING" else None
    if why is None:
        return None
    return (
        f"{why} ({job.reason}). It will wait for ever: change {faults.PROFILE}, then Ctrl-C and the same command again."
    )


def _was_restarted(job: slurm.QueuedJob) -> str | None:
    if not job.restarts:
        return None
    nodes = slurm.lost_nodes()
    return (
        f"was queued again by SLURM (time {job.restarts}): it was preempted, or its node was lost"
        f"{f'; out of service now: {nodes}' if nodes else ''}. Nothing is to be done; SLURM waits two minutes with it."
    )


_watch: Watch | None = None


def start(config: Config, logs: list[str], logger: logging.Logger) -> None:
    """Begin the journal of a run, after looking after what a killed one left behind.

    Parameters
    ----------
    config : Config
    logs : list of str
        Snakemake's log files: Snakemake gives them to its hooks.
    logger : logging.Logger
        Snakemake's.
    """
    global _watch
    file = paths.journal(config)
    _sweep(journal.read(file), logger)
    log = logs[0] if logs else ""
    found = SLURM_RUN.search(Path(log).read_text(encoding="utf-8", errors="replace")) if log else None
    first = journal.first_line(log, found[1] if found else None)
    _watch = Watch(file, Path(config.results), first, logger)
    logger.addHandler(_watch)
    if found:
        threading.Thread(target=_watch.look_after_jobs, name="look after jobs", daemon=True).start()


def end(state: str) -> None:
    """The last hook: ``done`` or ``failed``."""
    if _watch is not None:
        _watch.end(state)


def _sweep(before: journal.Run | None, logger: logging.Logger) -> None:
    """Cancel the SLURM jobs of a run that was killed: nobody waits for them, and they write the same files."""
    if before is None or before.slurm_run is None or before.state not in ("killed", "unknown"):
        return
    left = slurm.queued(name=before.slurm_run)
    if not left:
        return
    if before.state == "unknown":
        logger.warning(
            f"covidpipe: {len(left)} SLURM jobs of the run that was started on {before.host} are still there. If that "
            f"run is over, end them, because they write the same files: scancel --name {before.slurm_run}"
        )
        return
    logger.warning(
        f"covidpipe: the last run (process {before.pid}) was killed and left {len(left)} SLURM jobs: "
        f"{', '.join(job.id for job in left[:10])}. They are cancelled, because this run makes the same files."
    )
    slurm.cancel(before.slurm_run)
    for _ in range(CANCELLING):
        if not slurm.queued(name=before.slurm_run):
            return
        time.sleep(1)


# --- What a job asks ------------------------------------------------------------------------------------------------


def asked(resources: Any) -> list[str]:
    """The options of sbatch for these resources."""
    kind = f"{resources.get('gpu_model')}:" if resources.get("gpu_model") else ""
    return [
        option
        for option, value in (
            (f"--cpus-per-task={resources.get('_cores')}", resources.get("_cores")),
            (f"--mem={resources.get('mem_mb')}", resources.get("mem_mb")),
            (f"--time={resources.get('runtime')}", resources.get("runtime")),
            (f"--gpus={kind}{resources.get('gpu')}", resources.get("gpu")),
            (f"--partition={resources.get('slurm_partition')}", resources.get("slurm_partition")),
            (f"--account={resources.get('slurm_account')}", resources.get("slurm_account")),
        )
        if value
    ]


def in_words(resources: Any) -> str:
    """GPU, cores, memory and time that a job asks for.

    >>> in_words({"gpu": 1, "_cores": 4, "mem_mb": 8000, "runtime": 60, "slurm_partition": "gpu"})
    '1 GPU, 4 cores, 8000 MB, 60 min, partition gpu'
    """
    kind, cores = resources.get("gpu_model"), resources.get("_cores")
    gpus = resources.get("gpu") or 0
    parts = [counted(gpus, "GPU") + (f" ({kind})" if kind else "") if gpus else "no GPU"]
    parts.append(counted(cores, "core"))
    parts += [f"{resources.get(key)} {unit}" for key, unit in (("mem_mb", "MB"), ("runtime", "min"))]
    for key, word in (("slurm_partition", "partition"), ("slurm_account", "account")):
        if resources.get(key):
            parts.append(f"{word} {resources.get(key)}")
    return ", ".join(parts)


def show_resources(workflow: Any, record: Any) -> bool:
    """A logging filter that lets everything pass: in a dry run each job also tells what it asks the cluster for.

    Snakemake itself prints the resources of rules without a message only.
    """
    kind = str(getattr(record, "event", ""))
    if workflow.dryrun and kind == "job_info" and record.rule_msg:
        record.rule_msg = f"{record.rule_msg}\nAsks for: {in_words(record.resources)}"
    elif workflow.dryrun and kind == "group_info":
        job = next(iter(record.jobs))
        record.msg = f"{record.msg}\nAsks for: {in_words(_of_group(job.dag.get_job_group(job)))}"
    return True


def _of_group(group: Any) -> Any:
    """What a group of jobs asks a cluster for: a dry run, being local, would add up what runs one after the other."""
    from snakemake.resources import GroupResources

    return GroupResources.basic_layered(group.toposorted, group.global_resources, run_local=False)
