"""The ways to an environment besides `make env`: what of them can be checked where neither conda nor Apptainer is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BUILDS = ("cpu", "gpu")


@pytest.mark.parametrize("build", BUILDS)
def test_conda_gives_a_python_that_fits_and_nothing_that_the_lock_gives(build):
    environment = yaml.safe_load((ROOT / "envs" / f"{build}.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    python, pip = environment["dependencies"]
    assert pip == "pip"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = (tuple(map(int, version.split("."))) for version in re.findall(r"3\.\d+", wanted))
    assert low <= tuple(map(int, python.removeprefix("python=").split("."))) < high


def post_deploy(build: str, folder: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script as Snakemake does in a new environment, whose Python only notes what it is asked for."""
    prefix = folder / "prefix" / "bin"
    prefix.mkdir(parents=True)
    python = prefix / "python"
    python.write_text(f'#!/bin/bash\necho "$@" >> {folder}/asked\n')
    python.chmod(0o755)
    script = folder / "copied-away.sh"
    script.write_text((ROOT / "envs" / f"{build}.post-deploy.sh").read_text())
    environment = {"PATH": f"{prefix}:/usr/bin:/bin", **variables}
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=False)
    asked = folder / "asked"
    return done, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize("build", BUILDS)
def test_a_new_conda_environment_gets_the_locked_packages_and_this_covidpipe(build, tmp_path):
    done, asked = post_deploy(build, tmp_path, COVIDPIPE_ROOT=str(ROOT))
    assert done.returncode == 0, done.stderr
    lock, package = asked
    assert lock == f"-m pip install --quiet --require-hashes --requirement {ROOT}/envs/{build}.lock"
    assert Path(lock.split()[-1]).is_file()
    assert package == f"-m pip install --quiet --no-deps --no-build-isolation --editable {ROOT}"


def test_outside_of_the_workflow_the_script_says_what_it_lacks(tmp_path):
    done, asked = post_deploy("cpu", tmp_path)
    assert done.returncode != 0 and not asked and "COVIDPIPE_ROOT: is not set" in done.stderr


def test_the_image_takes_along_what_the_repository_has_and_all_that_the_command_needs():
    text = (ROOT / "envs" / "covidpipe.def").read_text()
    files = re.search(r"^%files\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)[1].split()[::2]
    assert all((ROOT / file).exists() for file in files)
    assert {"Snakefile", "covidpipe", "workflow", "config", "envs", "pyproject.toml"} <= set(files)
    assert "envs/{{ BUILD }}.lock" in text and "--require-hashes" in text
    assert re.search(r"From: python:(3\.\d+)", text)[1] == "3.11"
    sections = re.findall(r"^%(\w+)", text, re.MULTILINE)
    assert sections == ["arguments", "files", "post", "environment", "test", "runscript", "labels", "help"]


@pytest.mark.workflow
def test_with_apptainer_jobs_run_in_the_image_and_without_it_they_do_not(tmp_path):
    """Apptainer is played by a script that notes its arguments and runs the command without an image."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "apptainer"
    fake.write_text(
        f'#!/bin/bash\n[ "$1" = --version ] && {{ echo "apptainer version 1.3.0"; exit; }}\n'
        f'echo "$@" >> {tmp_path}/asked\nwhile [ "$1" != /bin/sh ] && [ "$1" != bash ] && [ "$1" != /bin/bash ] '
        '&& [ $# -gt 1 ]; do shift; done\nexec "$@"\n'
    )
    fake.chmod(0o755)
    (tmp_path / "image.sif").touch()
    (tmp_path / "study.yaml").write_text("phantoms: {few: {patients: 1, size: 64, slices: 2}}\n")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(fake.parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COVIDPIPE_SIF": str(tmp_path / "image.sif"),
    }
    command = [sys.executable, "-m", "snakemake", "results/phantoms/few/ct", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", "1", "--configfile", "study.yaml"]
    told = subprocess.run(
        [*command, "--sdm", "apptainer", "--apptainer-args=--nv"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    asked = (tmp_path / "asked").read_text()
    assert str(tmp_path / "image.sif") in asked and "--nv" in asked and "covidpipe phantoms" in asked
    (tmp_path / "asked").unlink()
    again = subprocess.run([*command, "--force"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert again.returncode == 0 and not (tmp_path / "asked").exists()
