"""The main job in one command: a path in, tables and a report out, by the project's Snakemake workflow."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import covidpipe
from covidpipe import paths
from covidpipe.cluster import journal
from covidpipe.config import Config, dump, parse
from covidpipe.errors import CovidpipeError, UsageError
from covidpipe.io.files import read_frame, write_text
from covidpipe.io.hive import infection_in
from covidpipe.progress import CLEAR, EVERY_SECONDS, TOLD, Rate
from covidpipe.report.terminal import table_head
from covidpipe.schemas import METRICS_SUMMARY
from covidpipe.workflow import cohort_models

# What Snakemake prints when a job starts, by a rule's `message`, and when jobs end.
STARTED = re.compile(r"^(?:Job \d+: )(?P<message>.+)$")
PROGRESS = re.compile(r"^(?P<done>\d+) of (?P<all>\d+) steps")
FAILED = re.compile(r"^(?:\w*Error|\w*Exception|Error in rule|    log: )")


def run(
    path: Path,
    out: Path,
    *,
    methods: list[str] | None = None,
    modality: str | None = None,
    intensity: str | None = None,
    segment: str = "all",
    covariates: Path | None = None,
    cores: int | None = None,
    name: str | None = None,
) -> None:
    """Quantify the images at `path`; tables, report and the config used go to `out`, what is in between to `out`/work.

    Parameters
    ----------
    path : Path
        Folder, archive, single file or list of files.
    out : Path
        A folder, made if need be. The same command again goes on from what is done.
    methods : list of str, optional
        Default: all that fit the images.
    modality, intensity : str, optional
        What all images are; default: decided per file.
    segment : str
        What khan2020 segments: ``all``, or those screened ``positives``, as published.
    covariates : Path, optional
        CSV that the summary is cut by (`covidpipe.io.covariates`).
    cores : int, optional
        Default: all.
    name : str, optional
        What the cohort is called in every table. Default: as the folder or file.

    Raises
    ------
    UsageError
        `out` lies inside `path`, or holds something else.
    CovidpipeError
        `path` does not exist or is empty, or the workflow failed: its log says why.
    """
    if path.is_dir() and not holds_files(path):
        raise CovidpipeError(f"{path}: no file can be seen in it. Give the folder of the images, or a list.")
    config = config_for(
        path,
        out,
        methods=methods,
        modality=modality,
        intensity=intensity,
        segment=segment,
        covariates=covariates,
        name=name,
    )
    if name is None:
        print(
            f"In every table the cohort is called `{next(iter(config.cohorts))}`, as its folder; --name changes that."
        )
    (name,) = config.cohorts
    cohort_models(config, name)  # missing weights are told here, before anything is made
    file = out.resolve() / "config.yaml"
    write_text(file, f"# Written by covidpipe {covidpipe.__version__}.\n{dump(config)}")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile()), "--configfile", str(file)),
        *("--directory", config.results, "--cores", str(cores or "all"), "--rerun-incomplete", "--show-failed-logs"),
    ]
    Path(config.results).mkdir(parents=True, exist_ok=True)
    print(f"Running: {shlex.join(command)}", flush=True)
    with only_run(config) as claim:
        follow(command, Path(config.results) / "snakemake.log", out.resolve() / "logs", claim)
    show(config)


def config_for(
    path: Path,
    out: Path,
    *,
    methods: list[str] | None,
    modality: str | None,
    intensity: str | None,
    segment: str,
    covariates: Path | None = None,
    name: str | None = None,
) -> Config:
    """The config of one cohort, with absolute paths, so that it means the same wherever it is used again."""
    source, folder = path.resolve(), out.resolve()
    if not source.exists():
        raise CovidpipeError(f"{path}: there is no such file or folder. Give a folder, an archive or a list of images.")
    if folder == source or folder.is_relative_to(source):
        raise UsageError(f"--out {out} lies inside {path}: its files would be taken for images. Choose another folder.")
    if folder.is_file():
        raise UsageError(f"--out {out} is a file; wanted a folder.")
    if covariates is not None and not covariates.is_file():
        raise CovidpipeError(f"--covariates {covariates}: there is no such file. Give a CSV with a column `patient`.")
    cohort = {"path": str(source), "modality": modality, "intensity": intensity, "out": str(folder)}
    cohort["covariates"] = str(covariates.resolve()) if covariates is not None else None
    raw = {
        "results": str(folder / "work"),
        "cohorts": {cohort_name(source) if name is None else name: cohort},
        "segment": segment,
    }
    if methods:
        raw["methods"] = list(dict.fromkeys(methods))
    return parse(raw, "covidpipe cohort")


def holds_files(folder: Path) -> bool:
    """True at the first file below `folder`, or link to something, that is not hidden."""
    return any(item.is_file() or item.is_symlink() for item in folder.rglob("*") if not item.name.startswith("."))


def cohort_name(source: Path) -> str:
    """A name for the table's `cohort` column: the folder's, or the file's without its endings.

    >>> cohort_name(Path("/data/My scans (2).tar.gz"))
    'My-scans-2'
    """
    stem = source.name if source.is_dir() else re.sub(r"(\.tar)?\.[A-Za-z0-9]+$", "", source.name)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "cohort"


def snakefile() -> Path:
    """The project's Snakefile, beside the package."""
    file = Path(covidpipe.__file__).parent.parent / "Snakefile"
    if not file.exists():
        raise CovidpipeError(
            f"No Snakefile beside the package ({file.parent}): the workflow comes with the project's repository. "
            "Clone it and install it from there with `make env` or `pip install --editable .`."
        )
    return file


class Pulse(threading.Thread):
    """Tells how far a run is: a line that renews itself on a terminal, a line every half minute elsewhere.

    Parameters
    ----------
    logs : Path, optional
        Folder of the jobs' logs, in which long jobs say how many images they have done.
    """

    def __init__(self, logs: Path | None):
        super().__init__(daemon=True)
        self.logs, self.started, self.ended = logs, time.time(), threading.Event()
        self.live = sys.stdout.isatty()
        self.lock = threading.Lock()
        self.rate: Rate | None = None
        self.done = 0

    def jobs(self, done: int, total: int) -> None:
        """So many jobs are done; the total grows once it is known how many shards there are."""
        if self.rate is None or self.rate.total != total:
            self.rate = Rate(total, "jobs", before=done)
        self.done = done

    def line(self) -> str:
        """Jobs and, if one of them tells it, images."""
        told = (
            [self.rate.told(self.done)]
            if self.rate is not None and self.rate.before < self.done < self.rate.total
            else []
        )
        return "; ".join([*filter(None, [self._images()]), *told])

    def _images(self) -> str:
        """What the job says that wrote to its log last; nothing where it is through."""
        if self.logs is None:
            return ""
        found = [(file.stat().st_mtime, file) for file in self.logs.rglob("*.log")]
        newest = max(((when, file) for when, file in found if when >= self.started), default=None)
        if newest is None:
            return ""
        said = list(TOLD.finditer(newest[1].read_text(encoding="utf-8", errors="replace")[-4000:]))
        return said[-1][0] if said and said[-1]["done"] != said[-1]["total"] else ""

    def say(self, line: str) -> None:
        """Print a line of its own."""
        with self.lock:
            print(f"{CLEAR if self.live else ''}{line}", flush=True)

    def run(self) -> None:
        while not self.ended.wait(1.0 if self.live else EVERY_SECONDS):
            line = self.line()
            if line and self.live:
                with self.lock:
                    print(f"{CLEAR}{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
            elif line:
                self.say(f"{'':8}{line}")

    def end(self) -> None:
        self.ended.set()
        self.join()
        if self.live:
            print(CLEAR, end="", flush=True)


@contextmanager
def only_run(config: Config) -> Iterator[int]:
    """Claim a study's folder of results for this run, and yield what its processes are to hold on to.

    The claim is the kernel's: it ends with the last process that holds it, however that ends. A lock that Snakemake
    left behind when it was killed is then one that nobody needs.

    Raises
    ------
    CovidpipeError
        Another run works there.
    """
    results = Path(config.results)
    before = journal.read(paths.journal(config))
    with (results / ".claim").open("w") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = before is not None and before.state == "running"  # by Snakemake itself, which claims nothing
        except BlockingIOError:
            taken = True
        if taken:
            who = f" (process {before.pid} on {before.host})" if before is not None else ""
            raise CovidpipeError(
                f"{results}: another run{who} works in this folder: two would write the same files. Wait until it is "
                "done, or end it, or give another --out."
            )
        for left in (results / ".snakemake" / "locks").glob("*.lock"):
            left.unlink()
        yield claim.fileno()


def follow(command: list[str], log: Path, logs: Path | None = None, claim: int | None = None) -> None:
    """Run Snakemake, print one line for each job that starts, and keep everything it says in `log`.

    Parameters
    ----------
    command : list of str
    log : Path
    logs : Path, optional
        Folder of the jobs' own logs: how many images they have done is told from there.
    claim : int, optional
        An open file that Snakemake is to hold on to (`only_run`).

    Raises
    ------
    CovidpipeError
        It failed; the message quotes its faults.
    """
    started = time.monotonic()
    faults: list[str] = []
    done = ""
    # A group of its own: one Ctrl-C, or a closed terminal, reaches Snakemake and its jobs exactly once, through us.
    endings = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(ending, signal.default_int_handler) for ending in endings]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=() if claim is None else (claim,),
    )
    assert process.stdout is not None
    pulse = Pulse(logs)
    pulse.start()
    try:
        with log.open("w", encoding="utf-8") as kept:
            for line in process.stdout:
                kept.write(line)
                if found := PROGRESS.match(line):
                    done = f"{found['done']} of {found['all']} done"
                    pulse.jobs(int(found["done"]), int(found["all"]))
                elif found := STARTED.match(line):
                    minutes, seconds = divmod(int(time.monotonic() - started), 60)
                    pulse.say(f"{minutes:3d}:{seconds:02d}  {found['message']}  {done and f'({done})'}".rstrip())
                elif FAILED.match(line) or line.startswith("covidpipe: "):
                    faults.append(line.rstrip())
        if process.wait() == 0:
            return
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise
    finally:
        pulse.end()
        for ending, handler in zip(endings, before, strict=True):
            signal.signal(ending, handler)
    told = "\n".join(f"  {line}" for line in in_words(faults))
    raise CovidpipeError(
        f"The run stopped. Its log is {log}.\n{told}\nMend this and run the same command: it goes on from what is done."
    )


def in_words(faults: list[str]) -> list[str]:
    """What Snakemake and its jobs said of a failure, each thing once; where a job told it in words, these and its log.

    Examples
    --------
    >>> in_words(["Error in rule a:", "    log: a.log", "covidpipe: x: gone.", "covidpipe: Reading failed: x: gone."])
    ['covidpipe: Reading failed: x: gone.', '    log: a.log']
    >>> in_words(["MissingInputException in rule a:", "MissingInputException in rule a:"])
    ['MissingInputException in rule a:']
    """
    once = list(dict.fromkeys(faults))
    told = [line for line in once if line.startswith("covidpipe: ")]
    first = [a for a in told if not any(a != b and b.endswith(a.removeprefix("covidpipe: ")) for b in told)]
    return [*first, *(line for line in once if line.startswith("    log: "))] if told else once


def show(config: Config) -> None:
    """Print the head of each cohort's table, its error where the truth is known, and where everything is."""
    if not config.cohorts:
        raise UsageError(
            "The config has no cohort, so no table to show. `covidpipe status` tells what its networks do."
        )
    for name in config.cohorts:
        folder = paths.cohort(config, name)
        table = infection_in(folder)
        print(f"\n{name}\n{table_head(table)}")
        summary = paths.cohort_metrics(config, name) / "summary.parquet"
        if summary.exists():
            print("\nagainst the true masks:")
            for row in read_frame(summary, METRICS_SUMMARY).to_dict("records"):
                print(f"  {row['subject']:<24} {row['measure']:<24} {_interval(row)}")
        print(f"\ntable   {_short(table)}\nreport  {_short(folder / 'report.html')}")


def _interval(row: dict) -> str:
    if row["value"] is None or row["value"] != row["value"]:
        return f"undefined  (n = {row['n']})"
    known = row["low"] == row["low"] and row["low"] is not None
    limits = f"  [{row['low']:.2f}, {row['high']:.2f}]" if known else ""
    return f"{row['value']:8.2f}{limits}  (n = {row['n']})"


def _short(path: Path) -> str:
    near = os.path.relpath(path)
    return str(path.resolve()) if near.startswith("..") else near
