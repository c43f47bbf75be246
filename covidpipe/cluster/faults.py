"""Why a job failed, in a sentence that names the cause and the repair: from SLURM's words, the logs and the disk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covidpipe.cluster.slurm import EndedJob

PROFILE = "slurm/config.yaml"
LITTLE_DISK = 50 * 2**20  # bytes; less is full: a log line and a table no longer fit
TAIL = 20_000  # bytes of a log that are looked at

# What is found in logs, by cause; the first that is found counts.
TRACES = {
    "memory": (
        r"exceeded (?:job |step )?memory limit|oom[-_ ]kill|Out Of Memory|memory limit .*being killed"
        r"|MemoryError|Cannot allocate memory|worker processes was killed, most likely because memory ran out"
    ),
    "time": r"DUE TO TIME LIMIT",
    "preempted": r"DUE TO PREEMPTION",
    "node": r"DUE TO NODE FAILURE|DUE TO NODE",
    "disk": r"No space left on device|Disk quota exceeded|Errno 28|Errno 122",
    "environment": r"covidpipe: command not found|No module named '?covidpipe|GLIBC_\S+' not found",
    "gpu": r"CUDA_ERROR_(?!NO_DEVICE)\w+|ResourceExhaustedError|failed to allocate \S+ .*(?:GPU|device)",
}


@dataclass(frozen=True)
class Fault:
    """Why a job failed: one word to count by, and a sentence for a person."""

    cause: str
    sentence: str


def explain(
    what: str,
    rules: Sequence[str],
    job: EndedJob | None,
    slurm_log: str = "",
    rule_logs: str = "",
    *,
    free_bytes: int | None = None,
    refused: str = "",
) -> Fault:
    """Name the cause of a failed job.

    Parameters
    ----------
    what : str
        The job in words: ``predict, shard 00003``.
    rules : sequence of str
        Its rules; the first is named in the repair.
    job : EndedJob or None
        What SLURM knows; None: it ran on this machine, or was never taken.
    slurm_log, rule_logs : str
        Ends of the logs of SLURM and of the rules.
    free_bytes : int, optional
        Free space of the folder of the results.
    refused : str
        What sbatch said, where it did not take the job.

    Returns
    -------
    Fault

    Examples
    --------
    >>> told = explain("train", ["train_model"], EndedJob("7", state="TIMEOUT", time_limit="01:00:00", node="g1"))
    >>> told.cause
    'time'
    >>> told.sentence.split(":")[0]
    'train (SLURM job 7 on g1) ran into its time limit of 01'
    """
    name = what + _where(job)
    key = f"`set-resources: {rules[0]}:" if rules else "`set-resources:"
    resumes = " It goes on from its last epoch." if "train_model" in rules else ""
    own = _last_words(rule_logs)
    logs = f"{slurm_log}\n{rule_logs}"
    found = next((cause for cause, pattern in TRACES.items() if re.search(pattern, logs, re.IGNORECASE)), "")
    state = job.state if job is not None else ""

    if refused:
        return Fault(
            "refused",
            f"{name} was not taken by SLURM: {refused.rstrip('.')}. Look at partition, account, memory, cores and GPU "
            f"in {PROFILE}; `sinfo` lists what there is, `snakemake --profile slurm preflight` tries it.",
        )
    if state == "TIMEOUT" or found == "time":
        limit = job.time_limit if job is not None and job.time_limit else "unknown length"
        return Fault(
            "time",
            f"{name} ran into its time limit of {limit}. A retry asks for more; to begin with more: {key} runtime:` "
            f"in {PROFILE} (minutes).{resumes}",
        )
    if state == "OUT_OF_MEMORY" or found == "memory":
        given = f" of {job.memory}" if job is not None and job.memory else ""
        return Fault(
            "memory",
            f"{name} needed more than its memory{given} and was killed. A retry asks for more; to begin with more: "
            f"{key} mem_mb:` in {PROFILE}.",
        )
    if (free_bytes is not None and free_bytes < LITTLE_DISK) or found == "disk":
        left = "" if free_bytes is None else f" ({free_bytes / 2**20:.0f} MB free)"
        return Fault(
            "disk",
            f"{name} could not write: the disk of the results is full{left}, or a quota is reached. Make room and run "
            "the same command again: it goes on from what is done.",
        )
    if state == "NODE_FAIL" or found == "node":
        node = job.node if job is not None and job.node else "unknown"
        return Fault(
            "node",
            f"{name} was lost with its node: {node} failed or was set down. The job did nothing wrong; a retry runs "
            "elsewhere.",
        )
    if state == "PREEMPTED" or found == "preempted":
        return Fault("preempted", f"{name} had to make room for another job.{resumes}")
    if state == "CANCELLED":
        by = f" by {_user(job.cancelled_by)}" if job is not None and job.cancelled_by else ""
        return Fault("cancelled", f"{name} was cancelled from outside{by} (scancel).")
    if found == "environment":
        return Fault(
            "environment",
            f"{name} did not find covidpipe on its node: the folder of this environment must be on a disk that compute "
            "nodes see. `snakemake --profile slurm preflight` says more.",
        )
    if found == "gpu":
        return Fault(
            "gpu",
            f"{name} failed on its GPU: {own or 'its memory was too small, or another process uses it'}. Ask for a "
            f"larger one ({key} gpu_model:` in {PROFILE}) or lower the batch size of the schedule.",
        )
    code = f" with exit code {job.exit_code.split(':')[0]}" if job is not None and job.exit_code else ""
    return Fault("error", f"{name} failed{code}: {own or 'its logs say no more'}")


def _where(job: EndedJob | None) -> str:
    if job is None:
        return ""
    return f" (SLURM job {job.id}{f' on {job.node}' if job.node and job.node != '(null)' else ''})"


def _user(uid: str) -> str:
    import pwd

    try:
        return pwd.getpwuid(int(uid)).pw_name
    except KeyError:
        return f"user {uid}"


def _last_words(log: str) -> str:
    """What the command itself said last: its message, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("covidpipe: ")]
    return (own or lines or [""])[-1].removeprefix("covidpipe: ")


def tail(file: str | Path) -> str:
    """The end of a log, or nothing where it cannot be read."""
    try:
        with Path(file).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL))
            return log.read().decode("utf-8", "replace")
    except OSError:
        return ""


def free_bytes(folder: Path) -> int | None:
    """Space that is left where `folder` is, or will be; 0 where no file can be added."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        nodes = os.statvfs(folder)
    except OSError:
        return None
    return 0 if nodes.f_files and not nodes.f_favail else shutil.disk_usage(folder).free
