"""A trial of the cluster before any real job: what is looked at on the login node and on each kind of node.

The login node writes a note; a job on a CPU node and one on a GPU node read it and write down what they find; back on
the login node the three are compared. Every finding that is not well says what to change.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covidpipe import __version__
from covidpipe.cluster import faults, slurm
from covidpipe.config import Config
from covidpipe.cores import available_cores
from covidpipe.errors import CovidpipeError, UsageError
from covidpipe.io.files import read_json, write_json

KINDS = ("login", "cpu", "gpu")
MARKS = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}  # of a finding's status, on a terminal
LEAST_FREE_GIB = 5.0  # of results: a cohort of some thousand images with its masks
MOST_SKEW = 5.0  # seconds between a node's clock and the file server's


@dataclass(frozen=True)
class Finding:
    """``status``: ok, warning, or wrong; `told` says what was found and, if it is not well, what to change."""

    status: str
    what: str
    told: str


def run(config: Config, kind: str, *, out: Path | None, note: Path | None, answers: list[Path] | None) -> None:
    """One step: look around (``login``, ``cpu``, ``gpu``) and write the answer, or compare answers (``verdict``).

    Raises
    ------
    UsageError
        A file that the step needs is not named.
    CovidpipeError
        The verdict: something keeps jobs from running.
    """
    if kind == "verdict":
        if answers is None:
            raise UsageError(
                "preflight verdict wants --answers LOGIN CPU GPU. All of it: snakemake --profile slurm preflight."
            )
        read = {name: _read(file) for name, file in zip(KINDS, answers, strict=True)}
        if read["login"] is None:
            raise CovidpipeError(f"{answers[0]}: the login node's own answer cannot be read. Run the preflight again.")
        found = compare(read)
        print(page(found))
        if any(finding.status == "wrong" for _, finding in found):
            raise CovidpipeError("this cluster is not ready. What to change stands above.")
        return
    if out is None:
        raise UsageError(f"preflight {kind} wants --out FILE. All of it: snakemake --profile slurm preflight.")
    write_json(out, look(config, kind, None if note is None else _read(note), out))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def look(config: Config, kind: str, note: dict[str, Any] | None, file: Path) -> dict[str, Any]:
    """What this machine finds, as it is written to `file`.

    Parameters
    ----------
    config : Config
    kind : {"login", "cpu", "gpu"}
    note : dict or None
        What the login node wrote; None on the login node itself, or where its file is not seen.
    file : Path
        Where the answer will be written: its disk is looked at.
    """
    findings = [
        *_environment(),
        *_disk(Path(config.results), file),
        *_images(config, note),
    ]
    facts: dict[str, Any] = {
        "kind": kind, "host": socket.gethostname(), "node": os.environ.get("SLURMD_NODENAME", ""), "time": time.time(),
        "token": os.urandom(8).hex() if note is None else note["token"], "version": __version__,
        "python": sys.executable, "key": key_mark(), "sources": _sources(config),
    }  # fmt: skip
    if kind == "login":
        findings += _login()
    else:
        findings += [*_given(), *_same_as_login(facts, note)]
    if kind == "gpu":
        findings += _gpu()
    return facts | {"findings": [asdict(finding) for finding in findings]}


def compare(answers: dict[str, dict[str, Any] | None]) -> list[tuple[str, Finding]]:
    """All findings by place; `answers` has None where a node's file is not seen on the login node."""
    found: list[tuple[str, Finding]] = []
    login = answers["login"]
    assert login is not None
    for kind, answer in answers.items():
        if answer is None or answer["token"] != login["token"]:
            told = "its answer is not seen here: `results` must lie on a disk that all nodes share"
            found.append((kind, Finding("wrong", "shared disk", told)))
            continue
        place = kind if kind == "login" or not answer["node"] else f"{kind} ({answer['node']})"
        found += [(place, Finding(**finding)) for finding in answer["findings"]]
    return found


def page(found: list[tuple[str, Finding]]) -> str:
    """The findings as lines for a terminal, and a verdict."""
    lines = [f"{MARKS[finding.status]}  {place}: {finding.what}: {finding.told}" for place, finding in found]
    wrong = sum(finding.status == "wrong" for _, finding in found)
    lines.append(
        "This cluster is ready."
        if not wrong
        else f"{wrong} {'thing keeps' if wrong == 1 else 'things keep'} jobs from running: see WRONG above."
    )
    return "\n".join(lines)


# --- What is looked at ----------------------------------------------------------------------------------------------


def _environment() -> list[Finding]:
    missing = []
    for package in ("numpy", "pyarrow", "zarr", "pydicom", "cv2", "keras"):
        try:
            __import__(package)
        except Exception as error:  # a library of the system that is missing shows in many ways
            missing.append(f"{package} ({error})")
    if missing:
        told = (
            f"{', '.join(missing)} cannot be imported by {sys.executable}: build the environment on a node of this kind"
        )
        return [Finding("wrong", "environment", told)]
    told = f"covidpipe {__version__}, Python {platform.python_version()} at {sys.prefix}"
    return [Finding("ok", "environment", told)]


def _disk(results: Path, file: Path) -> list[Finding]:
    findings = []
    free = faults.free_bytes(results)
    gib = 0.0 if free is None else free / 2**30
    status = "ok" if gib >= LEAST_FREE_GIB else "warning" if gib > 0.1 else "wrong"
    advice = "" if status == "ok" else "; make room, or set `results` in the config to a larger disk"
    findings.append(Finding(status, "disk of the results", f"{gib:.1f} GiB free{advice}"))
    try:
        trial = file.with_name(f".{file.name}.{os.getpid()}.trial")
        trial.parent.mkdir(parents=True, exist_ok=True)
        trial.write_text("trial")
        skew = abs(trial.stat().st_mtime - time.time())
        trial.unlink()
        if skew > MOST_SKEW:
            told = f"{skew:.0f} s apart from the file server's: tell your administrators; Snakemake compares file times"
            findings.append(Finding("warning", "clock", told))
    except OSError as error:
        told = f"{file.parent} cannot be written: {error.strerror}. Set `results` in the config to a folder of yours"
        findings.append(Finding("wrong", "disk of the results", told))
    scratch = shutil.disk_usage(os.environ.get("TMPDIR", "/tmp")).free / 2**30
    if scratch < 1:
        told = f"{scratch:.1f} GiB free in {os.environ.get('TMPDIR', '/tmp')}: set TMPDIR to a larger place"
        findings.append(Finding("warning", "scratch disk", told))
    return findings


def _sources(config: Config) -> dict[str, bool]:
    """Folders of images that the study reads, and whether they are there; what the study makes itself is left out."""
    names = [*config.cohorts, *{recipe.dataset for recipe in config.training.values()}]
    roots = {config.source_root(name) for name in names}
    own = Path(config.results).resolve()
    return {str(root): root.exists() for root in sorted(roots) if not root.resolve().is_relative_to(own)}


def _images(config: Config, login: dict[str, Any] | None) -> list[Finding]:
    findings = []
    for root, seen in _sources(config).items():
        if seen:
            findings.append(Finding("ok", "images", f"{root} is seen"))
        elif login is not None and login["sources"].get(root):
            told = f"{root} is seen on the login node and not here: copy the images to a disk that all nodes share"
            findings.append(Finding("wrong", "images", told))
        else:
            findings.append(Finding("wrong", "images", f"{root} is not there: change the config, or mount it"))
    return findings


def key_mark() -> str:
    """A mark of the key for identifiers that gives nothing of it away: equal on two machines if the key is."""
    from covidpipe.errors import BadConfig
    from covidpipe.provenance import id_key, keyed_hash

    try:
        return keyed_hash("preflight", key=id_key())
    except BadConfig:
        return ""


def _login() -> list[Finding]:
    if shutil.which("sbatch") is None:
        return [Finding("warning", "SLURM", "sbatch is not found: without it everything runs on this machine")]
    kinds = slurm.ask("sinfo", "--noheader", "-o", "%P %a %l %G") or ""
    told = "; ".join(" ".join(line.split()) for line in kinds.splitlines()) or "sinfo does not answer"
    findings = [Finding("ok" if kinds else "wrong", "partitions (state, time limit, GPUs)", told)]
    age = slurm.ask("scontrol", "show", "config") or ""
    line = next((line for line in age.splitlines() if line.startswith("MinJobAge")), "")
    seconds = next((int(word) for word in line.split() if word.isdigit()), None)
    if seconds is not None and seconds < 30:
        told = (
            f"{seconds} s: squeue forgets jobs before Snakemake asks. Set `slurm-status-command: sacct` in the profile"
        )
        findings.append(Finding("warning", "MinJobAge", told))
    return findings


def _given() -> list[Finding]:
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return [Finding("warning", "SLURM", "this is no SLURM job: run `snakemake --profile slurm preflight`")]
    given = slurm.given(job)
    told = f"{job} in partition {given.get('Partition', '?')}, account {given.get('Account', '?')}"
    told += f", {given.get('MinMemoryNode', '?')} of memory, {available_cores()} cores"
    findings = [Finding("ok", "job", told)]
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    allowed = len(os.sched_getaffinity(0))
    if asked.isdigit() and int(asked) > allowed:
        told = f"{asked} were asked for, and processes here may use {allowed}: lower `cores` in {faults.PROFILE}"
        findings.append(Finding("warning", "cores", told))
    return findings


def _same_as_login(facts: dict[str, Any], note: dict[str, Any] | None) -> list[Finding]:
    if note is None:
        told = "the login node's note is not seen here: `results` must lie on a disk that all nodes share"
        return [Finding("wrong", "shared disk", told)]
    findings = [Finding("ok", "shared disk", f"the note that {note['host']} wrote is seen")]
    for key, what in (("version", "covidpipe"), ("python", "Python")):
        if facts[key] != note[key]:
            told = f"{facts[key]}, and {note[key]} on the login node: both must use one environment on a shared disk"
            findings.append(Finding("wrong", what, told))
    if facts["key"] != note["key"]:
        told = "another one than on the login node: set COVIDPIPE_ID_KEY to a file on a disk that all nodes share"
        findings.append(Finding("wrong", "key for identifiers", told))
    return findings


def _gpu() -> list[Finding]:
    given = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES") or ""
    findings = []
    if "SLURM_JOB_ID" in os.environ and not given:
        told = f"the job was given none: ask for `gpu: 1` under `set-resources: preflight_gpu:` in {faults.PROFILE}"
        findings.append(Finding("wrong", "GPU", told))
    elif given:
        findings.append(Finding("ok", "GPU", f"SLURM gave number {given}"))
    listed = slurm.ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    findings.append(
        Finding("ok", "driver", "; ".join(listed.splitlines()))
        if listed
        else Finding("wrong", "driver", "nvidia-smi finds no GPU: is this node one with NVIDIA GPUs and their driver?")
    )
    import tensorflow as tf

    seen = tf.config.list_physical_devices("GPU")
    if seen:
        findings.append(Finding("ok", "TensorFlow", f"{tf.__version__} sees {len(seen)} GPU{'s' * (len(seen) > 1)}"))
    elif tf.test.is_built_with_cuda():
        told = f"{tf.__version__} is built for GPUs and sees none: its CUDA libraries do not fit this driver"
        findings.append(Finding("wrong", "TensorFlow", told))
    else:
        told = f"{tf.__version__} is built for CPUs only: build the environment from envs/gpu.lock (docs/cluster.md)"
        findings.append(Finding("wrong", "TensorFlow", told))
    return findings
