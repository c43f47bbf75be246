"""What SLURM's own commands tell: asked, never changed, but for `cancel`. Without SLURM every answer is empty."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

LEAST_MEMORY_MB = 1000  # less (SLURM's default is 1) means that memory is not declared on this cluster
PATIENCE = 20  # seconds; a controller that restarts answers late or not at all

# Reasons of waiting that no waiting ends: squeue's word -> what it means and what would work.
HOPELESS = {
    "PartitionTimeLimit": "asks for more time than its partition allows: lower `runtime`, or name another partition",
    "PartitionNodeLimit": "asks for more than its partition's nodes have: lower `mem_mb`, threads or `gpu`",
    "PartitionConfig": "asks for what its partition does not have: name another `slurm_partition`",
    "PartitionInactive": "waits in a partition that is closed: name another `slurm_partition`",
    "BadConstraints": "asks for a combination that no node has: look at `gpu_model`, `mem_mb` and `constraint`",
    "AccountNotAllowed": "is charged to an account that its partition does not take: set `slurm_account`",
    "InvalidAccount": "is charged to an account that does not exist: set `slurm_account`",
    "InvalidQOS": "asks for a quality of service that does not exist: set `qos`",
    "QOSNotAllowed": "asks for a quality of service that its account may not use: set `qos`",
    "JobHeldUser": "is held by you: `scontrol release`",
    "JobHeldAdmin": "is held by an administrator: ask why",
    "job_requeued_in_held_state": "was requeued too often and is held: `scontrol release`",
}
HOPELESS_ENDINGS = {
    "MaxWallDurationPerJobLimit": "asks for more time than one job of your account may have: lower `runtime`",
    "PerJobLimit": "asks for more than one job of your account may have: lower `mem_mb`, threads or `gpu`",
    "PerJob": "asks for more than one job of your account may have: lower `mem_mb`, threads or `gpu`",
}


@dataclass(frozen=True)
class Largest:
    """The most that any job may ask of this cluster; None: no limit, or not known."""

    minutes: int | None = None
    memory_mb: int | None = None

    @property
    def minutes_of_a_pair(self) -> int | None:
        """Time of each of two rules that the profile runs as one job, one after the other."""
        return None if self.minutes is None else self.minutes // 2


@dataclass(frozen=True)
class QueuedJob:
    """One line of squeue. `name` is the id of the Snakemake run, `comment` what the plugin says of the job.

    `restarts` counts how often SLURM itself queued it again: after preemption, or because its node was lost.
    """

    id: str
    state: str
    reason: str
    name: str
    node: str
    restarts: int
    comment: str


@dataclass(frozen=True)
class EndedJob:
    """What is known of a job that ended badly; empty where SLURM does not tell."""

    id: str
    state: str = ""
    reason: str = ""
    exit_code: str = ""
    node: str = ""
    elapsed: str = ""
    time_limit: str = ""
    memory: str = ""
    cancelled_by: str = ""


def ask(*command: str) -> str | None:
    """Output of a command, or None where it is not installed, fails, or does not answer in time."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, errors="replace")
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout


def minutes(text: str) -> int | None:
    """SLURM's ``days-hours:minutes:seconds`` as minutes; None: unlimited.

    >>> minutes("1-02:00:00"), minutes("30:00"), minutes("2:30:00"), minutes("infinite")
    (1560, 30, 150, None)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not found:
        return None
    days, *clock = found.groups()
    given = [int(part) for part in clock if part is not None]
    if days is not None:
        hours, rest = given[0], given[1] if len(given) > 1 else 0
        return int(days) * 1440 + hours * 60 + rest
    return given[0] * 60 + given[1] if len(given) == 3 else given[0]


def largest() -> Largest:
    """The longest time limit of a partition and the memory of the largest node.

    ``COVIDPIPE_LARGEST`` (minutes and MB, as ``60:8000``) is set by the first who asks: the jobs of a run inherit it
    and leave the controller alone.
    """
    known = os.environ.get("COVIDPIPE_LARGEST")
    if known is None:
        listed = ask("sinfo", "--noheader", "--exact", "-o", "%l|%m")
        rows = [line.split("|") for line in (listed or "").splitlines() if line.count("|") == 1]
        limits = [minutes(limit) for limit, _ in rows]
        finite = [limit for limit in limits if limit is not None]
        memory = max((int(memory) for _, memory in rows if memory.isdigit()), default=0)
        longest = str(max(finite)) if finite and len(finite) == len(limits) else ""
        most = str(memory) if memory >= LEAST_MEMORY_MB else ""
        known = os.environ["COVIDPIPE_LARGEST"] = f"{longest}:{most}"
    longest, _, most = known.partition(":")
    return Largest(int(longest) if longest else None, int(most) if most else None)


def queued(*, name: str | None = None, ids: Iterable[str] = ()) -> list[QueuedJob]:
    """Jobs of a run that wait or run, or those of `ids`."""
    chosen = ["--name", name] if name is not None else ["--jobs", ",".join(ids)]
    columns = "JobArrayID:|,State:|,Reason:|,Name:|,NodeList:|,RestartCnt:|,Comment:|"
    listed = ask("squeue", "--noheader", "--states=PD,R,CG,CF,S,PR,RQ", "-O", columns, *chosen)
    rows = [line.split("|") for line in (listed or "").splitlines()]
    return [
        QueuedJob(job, state, reason, run, node, int(restarts), comment)
        for job, state, reason, run, node, restarts, comment in (row[:7] for row in rows if len(row) > 6)
        if restarts.isdigit()
    ]


def silent() -> bool:
    """True if there is a SLURM here and its controller does not answer."""
    return shutil.which("scontrol") is not None and "is UP" not in (ask("scontrol", "ping") or "")


def lost_nodes() -> str:
    """Nodes that are down or drained now, with the reason that was given for each."""
    listed = ask("sinfo", "--noheader", "-R", "-o", "%N (%E)") or ""
    return ", ".join(dict.fromkeys(line.strip() for line in listed.splitlines() if line.strip()))


def hopeless(reason: str) -> str | None:
    """What is wrong with a waiting job that will never start, or None if it may.

    >>> hopeless("Resources") is None
    True
    >>> hopeless("QOSMaxWallDurationPerJobLimit")
    'asks for more time than one job of your account may have: lower `runtime`'
    """
    if reason in HOPELESS:
        return HOPELESS[reason]
    return next((told for ending, told in HOPELESS_ENDINGS.items() if reason.endswith(ending)), None)


def given(job: str) -> dict[str, str]:
    """What the controller knows of a job, by its own words; nothing some minutes after the job's end."""
    shown = ask("scontrol", "show", "job", "-o", job) or ""
    return dict(re.findall(r"(\w+(?:/\w+)?)=(\S*)", shown))


def ended(job: str) -> EndedJob:
    """What the controller, and where there is one the accounting, know of a job."""
    facts = given(job)
    accounted = (
        ask("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode,NodeList,Elapsed,Timelimit,ReqMem") or ""
    )
    rows = [line.split("|") for line in accounted.splitlines()]
    state, code, node, elapsed, limit, memory = rows[-1] if rows and len(rows[-1]) == 6 else [""] * 6
    by = re.fullmatch(r"CANCELLED by (\d+)", state)
    return EndedJob(
        id=job,
        state=facts.get("JobState") or state.split(" ")[0],
        reason=facts.get("Reason", ""),
        exit_code=facts.get("ExitCode") or code,
        node=facts.get("NodeList") or node.replace("None assigned", ""),
        elapsed=facts.get("RunTime") or elapsed,
        time_limit=facts.get("TimeLimit") or limit,
        memory=facts.get("MinMemoryNode") or memory,
        cancelled_by=by[1] if by else "",
    )


def refusal(*asked: str) -> str:
    """What sbatch says against a job that asks for this, or an empty text where it would take it."""
    if shutil.which("sbatch") is None:
        return ""
    tried = subprocess.run(
        ["sbatch", "--test-only", *asked, "--wrap", "true"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return "" if tried.returncode == 0 else in_short(tried.stderr)


def in_short(said: str) -> str:
    """What sbatch said against a job, without its preambles.

    >>> in_short("sbatch: error: invalid partition specified: x\\nsbatch: error: Batch job submission failed: No")
    'invalid partition specified: x; No'
    """
    preamble = r"^(?:sbatch: )?(?:error: )?(?:Batch job submission failed: |allocation failure: )?"
    return "; ".join(re.sub(preamble, "", line).strip() for line in said.splitlines() if line.strip())


def cancel(name: str) -> None:
    """Cancel the jobs of a run."""
    ask("scancel", "--name", name)
