"""A study of a few films, run by the real `snakemake --profile slurm` in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TABLE = "results/cohorts/films/infection.parquet"
SHARDS = 4
PATIENCE = 1800  # seconds: what takes longer hangs. Never waited for in vain; a busy machine takes minutes for a run

STUDY = {
    "study": "films",
    "results": "results",
    "phantoms": {"few": {"patients": 2 * SHARDS, "size": 64, "slices": 4, "seed": 3}},
    "cohorts": {"films": {"path": "results/phantoms/few/xr/images", "modality": "xr", "methods": ["alom2020"]}},
    "shard_images": 2,
}

# Stands before the real command on the PATH and acts a fault out, once: what $ACTS/{stage}-{shard} says.
ACTOR = """\
#!/bin/bash
shard=""
for ((i = 1; i <= $#; i++)); do [ "${!i}" = --shard ] && { j=$((i + 1)); shard=-${!j}; }; done
act="$ACTS/$1$shard"
if mv "$act" "$act.acted" 2> /dev/null; then
    echo "$SLURM_JOB_ID" > "$act.job"
    eval "$(cat "$act.acted")"
fi
exec {real} "$@"
"""

begun: list[subprocess.Popen[str]] = []  # every run of a test, for its end


def _hears_ctrl_c() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Study:
    """A folder with a config, the profile under its own name, and an actor of faults.

    Parameters
    ----------
    folder : Path
    environment : dict
        Of the commands: where SLURM's configuration is.
    code : Path
        Where the package is: this working tree, or a clone of it.
    **profile
        Entries of the profile that this study changes; a dict is merged into the profile's own.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *, code: Path = ROOT, **profile: Any):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        self.acts = folder / "acts"
        self.acts.mkdir(exist_ok=True)
        actor = folder / "bin" / "covidpipe"
        actor.parent.mkdir(exist_ok=True)
        real = Path(sys.executable).with_name("covidpipe")
        actor.write_text(ACTOR.replace("{real}", str(real)))
        actor.chmod(0o755)
        path = os.pathsep.join([str(actor.parent), str(real.parent), environment["PATH"]])
        self.environment = environment | {
            "PATH": path, "ACTS": str(self.acts), "COVIDPIPE_ID_KEY": str(folder / "id.key"),
            "PYTHONPATH": str(code),  # this code and no other, wherever the environment was installed from
        }  # fmt: skip
        self.environment.pop("COVIDPIPE_LARGEST", None)
        (folder / "id.key").touch(0o600)
        (folder / "id.key").write_text("0" * 64)
        self.profile(**profile)

    def profile(self, **changes: Any) -> None:
        """The project's own profile with what a test cluster needs, and `changes`, as ./slurm."""
        # asked often: jobs here take seconds
        entries = yaml.safe_load((ROOT / "slurm" / "config.yaml").read_text())
        entries |= {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 5, "configfile": "study.yaml"}
        for key, value in changes.items():
            key = key.replace("_", "-")
            if isinstance(value, dict):
                value = {**entries.get(key, {}), **value}
            entries[key] = value
        (self.folder / "slurm").mkdir(exist_ok=True)
        (self.folder / "slurm" / "config.yaml").write_text(yaml.safe_dump(entries))

    def act(self, stage: str, shell: str) -> None:
        """Let the next job of a stage (and shard: ``quantify-00001``) do this first."""
        (self.acts / stage).write_text(shell)

    def acted_by(self, stage: str, seconds: float = PATIENCE) -> str:
        """Wait until a fault is acted out, and return its SLURM job."""
        file = self.acts / f"{stage}.job"
        wait(lambda: file.exists() and file.read_text().strip() != "", f"{stage} to begin", seconds)
        return file.read_text().strip()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin `snakemake` with these arguments, by the folder's own Snakefile if it has one."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        command += [] if (self.folder / "Snakefile").exists() else ["--snakefile", str(ROOT / "Snakefile")]
        self.output = self.folder / "output.txt"
        with self.output.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT, text=True,
                start_new_session=True, preexec_fn=_hears_ctrl_c,
            )  # fmt: skip
        begun.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seconds: float = PATIENCE) -> int:
        """Wait for a run, at most so long; what it said is in `said`."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)
            raise AssertionError(f"not over after {seconds} s:\n{self.said[-4000:]}") from None

    def run(self, *arguments: str, seconds: float = PATIENCE) -> int:
        return self.finish(self.start(*arguments), seconds)

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def covidpipe(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "covidpipe.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )

    def table(self) -> bytes:
        return (self.folder / TABLE).read_bytes()


def copied(base: Study, folder: Path, **profile: Any) -> Study:
    """A study whose shards are segmented and not yet quantified: what all tests of faults begin with."""
    study = Study(folder, base.environment, **profile)
    shutil.copytree(base.folder / "results", folder / "results", dirs_exist_ok=True)
    for table in (folder / "results" / "cohorts" / "films").rglob("infection.parquet"):
        table.unlink()
    return study


def clone(folder: Path) -> None:
    """A clean clone of this working tree: what git tracks, as it is now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def wait(what: Callable[[], bool], name: str, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited {seconds} s for {name}"
        time.sleep(0.1)
