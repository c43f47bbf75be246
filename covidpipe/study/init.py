"""A commented config to begin a study with: few questions, each of which a flag answers as well."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from covidpipe.config import NAME_PATTERN, Cohort, Config, parse
from covidpipe.errors import CovidpipeError, UsageError, choose
from covidpipe.registry import METHODS, MODALITIES

MACHINES = ("local", "slurm")
EITHER = "either"  # the files say, or it is guessed

Ask = Callable[[str, str], str]


def run(
    study: str,
    *,
    images: Path | None = None,
    modality: str | None = None,
    methods: Sequence[str] | None = None,
    machine: str | None = None,
    out: Path | None = None,
    force: bool = False,
    ask: Ask | None = None,
) -> Path:
    """Write the config of a study with one cohort, and say what to do next.

    Parameters
    ----------
    study : str
        Name of the study, and of its cohort.
    images : Path, optional
        Folder, archive, file or list of files.
    modality : {"ct", "xr"}, optional
    methods : sequence of str, optional
        Default: all that fit the modality.
    machine : {"local", "slurm"}, optional
    out : Path, optional
        The config. Default: ``STUDY.yaml`` in ``config/``, where there is one, else here.
    force : bool
        Replace a file that is there.
    ask : callable, optional
        Takes a question and the answer that nothing means, and gives what is said. Default: the terminal, if there is
        one; what is not said then has its default, but for `images`.

    Raises
    ------
    UsageError
        A name that cannot be one, or an answer that does not go with the others.
    CovidpipeError
        There are no images, or the config is there already.
    """
    if not re.match(NAME_PATTERN, study):
        raise UsageError(f"A study cannot be called `{study}`: letters, digits, `_`, `-` and `.`, such as winter_2021.")
    file = out or (Path("config") if Path("config").is_dir() else Path()) / f"{study}.yaml"
    if file.exists() and not force:
        raise CovidpipeError(f"{file} is there already. Give --force to replace it, or --out another file.")
    ask = ask or (_on_terminal if sys.stdin.isatty() else None)
    if images is None:
        if ask is None:
            raise UsageError("Where are the images? Give --images FOLDER (or an archive, or a list of files).")
        images = Path(ask("Where are the images (folder, .zip, .tar.gz, or .csv/.txt list of files)?", "")).expanduser()
    if not str(images).strip("."):
        raise UsageError("Where are the images? Wanted a folder, an archive or a list of files; nothing was said.")
    if not images.exists():
        raise CovidpipeError(f"{images}: there is no such file or folder. Give one that this machine sees.")
    if modality is None and ask is not None:
        said = choose(ask(f"Are they all ct, all xr, or {EITHER}?", EITHER), (*MODALITIES, EITHER), "kind of image")
        modality = None if said == EITHER else said
    fitting = [name for name in METHODS if modality is None or modality in METHODS[name].roles]
    usual = [name for name in Config().methods if name in fitting]
    if not methods and ask is not None:
        methods = re.split(r"[,\s]+", ask(f"Which methods ({', '.join(METHODS)})?", ",".join(usual)).strip())
    methods = list(dict.fromkeys(choose(name, METHODS, "method") for name in methods or usual))
    unfit = [name for name in methods if name not in fitting]
    if unfit:
        raise UsageError(f"{', '.join(unfit)}: not defined for {modality}. What fits: {', '.join(fitting)}.")
    if machine is None:
        machine = ask(f"Which machine ({' or '.join(MACHINES)})?", MACHINES[0]) if ask is not None else MACHINES[0]
    text = config_text(study, images.resolve(), modality, methods, choose(machine, MACHINES, "machine"), file)
    parse(yaml.safe_load(text), str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(f"{file}: written. Look into it, then:")
    for line in commands(images.resolve(), file, machine):
        print(f"  {line}")
    return file


def _on_terminal(question: str, default: str) -> str:
    shown = f" [{default}]" if default else ""
    return input(f"{question}{shown} ").strip() or default


def commands(images: Path, file: Path, machine: str) -> list[str]:
    """What to run with the config, in this order."""
    from covidpipe.stages.cohort import snakefile

    where = os.path.relpath(snakefile())
    flag = "" if where == "Snakefile" else f"--snakefile {shlex.quote(where)} "
    profile = "--profile slurm" if machine == "slurm" else "--cores all"
    config = shlex.quote(str(file))
    lines = [f"covidpipe check {shlex.quote(str(images))}"]
    if machine == "slurm":
        lines.append(f"snakemake {flag}{profile} --configfile {config} preflight")
    return [*lines, f"snakemake {flag}{profile} --configfile {config}", f"covidpipe show --config {config}"]


def config_text(
    study: str, images: Path, modality: str | None, methods: Sequence[str], machine: str, file: Path
) -> str:
    """The config: what was said, and as comments what else is often wanted, each key with its meaning.

    Parameters
    ----------
    study : str
    images : Path
        Absolute, so that it means the same from anywhere.
    modality : str or None
    methods : sequence of str
    machine : {"local", "slurm"}
    file : Path
        Where it will lie, for the commands in its head.
    """
    head = [
        f"# Study {study}: one cohort, quantified by {' and '.join(methods)} with the networks that come along.",
        "# Written by `covidpipe init`; `covidpipe config` prints every key there is. To run it:",
        *(f"#   {line}" for line in commands(images, file, machine)),
        "",
    ]
    cohort: list[str] = [
        _line("path", str(images), Cohort),
        _line("modality", modality, Cohort, off=modality is None, instead="ct"),
        _line("methods", list(methods), Cohort),
        _line("intensity", None, Cohort, off=True, instead="windowed_8bit"),
        _line("covariates", None, Cohort, off=True, instead=f"{study}.csv"),
    ]
    body = [
        _line("study", study, Config),
        _line("results", f"results/{study}", Config),
        "",
        "cohorts:",
        f"  {study}:",
        *(f"    {line}" for line in cohort),
        "",
        "# Often wanted; take the # away to change them.",
        *(_line(key, None, Config, off=True) for key in ("segment", "report_cases", "shard_images", "seed")),
        "",
        "# Networks of your own in place of those that come along: config/README.md.",
    ]
    return "\n".join([*head, *body]) + "\n"


def _line(key: str, value: Any, section: type[Any], *, off: bool = False, instead: Any = None) -> str:
    field = section.model_fields[key]
    shown = field.default if off and instead is None else instead if off else value
    plain = yaml.safe_dump(shown, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    meaning = f"  # {field.description}" if field.description else ""
    return f"{'# ' if off else ''}{key}: {plain}{meaning}"
