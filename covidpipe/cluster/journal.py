"""The journal of a run: one JSON line an event, so that another process can tell what is done, running and failed.

Snakemake's own log is for people; this is written beside the study's config by the hooks of the Snakefile.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Job:
    """A Snakemake job of a run. `times` are seconds since 1970."""

    id: str
    rule: str
    text: str
    wildcards: dict[str, str] = field(default_factory=dict)
    benchmark: str | None = None
    slurm: str | None = None
    started: float = 0.0
    ended: float | None = None
    state: str = "running"
    sentence: str = ""


@dataclass
class Run:
    """What a journal tells of the newest run.

    ``state``: running, done, failed, or killed (it left no last word and its process is gone); ``unknown`` where it was
    started on another machine, whose processes cannot be seen from here.
    """

    started: float
    host: str
    pid: int
    log: str
    slurm_run: str | None
    folder: str
    state: str
    done: int = 0
    total: int = 0
    ended: float | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)


def birth(pid: int) -> str:
    """When a process began, in the kernel's ticks: with it, a process id is never another's. Empty: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def first_line(log: str, slurm_run: str | None) -> dict[str, Any]:
    """Who runs: what tells later whether this process is still there."""
    pid = os.getpid()
    return {
        "event": "start", "host": socket.gethostname(), "pid": pid, "birth": birth(pid), "log": log,
        "slurm_run": slurm_run, "folder": str(Path.cwd()),
    }  # fmt: skip


def read(path: Path) -> Run | None:
    """The run that a journal tells of, or None where there is none. A last line that was cut off is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    entries = []
    for line in lines:
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    if not entries or entries[0].get("event") != "start":
        return None
    start = entries[0]
    run = Run(
        started=start["time"], host=start["host"], pid=start["pid"], log=start["log"], slurm_run=start["slurm_run"],
        folder=start["folder"], state=_alive(start),
    )  # fmt: skip
    for entry in entries[1:]:
        _take(run, entry)
    return run


def _alive(start: dict[str, Any]) -> str:
    if start["host"] != socket.gethostname():
        return "unknown"
    return "running" if birth(start["pid"]) == start["birth"] else "killed"


def _take(run: Run, entry: dict[str, Any]) -> None:
    kind, when = entry["event"], entry["time"]
    if kind == "progress":
        run.done, run.total = entry["done"], entry["total"]
    elif kind == "job":
        known = {key: entry[key] for key in ("id", "rule", "text", "wildcards", "benchmark")}
        run.jobs[entry["id"]] = Job(**known, started=when)
    elif kind == "submitted":
        for job in entry["jobs"]:
            if job in run.jobs:
                run.jobs[job].slurm = entry["slurm"]
    elif kind == "finished":
        if entry["id"] in run.jobs:
            run.jobs[entry["id"]].state, run.jobs[entry["id"]].ended = "done", when
    elif kind == "fault":
        run.faults.append(entry)
        for job in entry["jobs"]:
            if job in run.jobs:
                run.jobs[job].state, run.jobs[job].ended = "failed", when
                run.jobs[job].sentence = entry["sentence"]
    elif kind == "end":
        run.state, run.ended = entry["state"], when
