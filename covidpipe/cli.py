"""The command line: one subcommand a stage, and `cohort`, the main job in one command.

Nothing heavy is imported before a command is chosen, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import gc
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from covidpipe import __version__
from covidpipe.cores import limit_libraries, private_files
from covidpipe.errors import CovidpipeError, UsageError, did_you_mean
from covidpipe.examples import EXAMPLES
from covidpipe.registry import DATASETS, METHODS, MODALITIES, MODELS, PROTOCOLS, READINGS

DONE, USAGE, BAD_INPUT, INTERRUPTED = 0, 2, 3, 130

# Faults of the machine, or of a path that was given, rather than of the program: told in one line, like bad input.
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room, and run the same command again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Give a path that you may use, or ask for permission"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
        "Give another path, or set that one right",
    ),
}

FIRST_STEPS = """first steps:
  covidpipe doctor                            what this machine can do, and what to change
  covidpipe check IMAGES                      what would be read, and what rejected and why
  covidpipe cohort IMAGES --out RESULTS       the table and the report
  covidpipe COMMAND --help                    its options, and an example

exit status: 0 done; 2 wrong usage; 3 bad input, or a fault of the machine; 75 stopped by a signal; 130 interrupted.
After 75 and 130 run the same command again: it goes on from what is done.
"""

Handler = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its status: 0 done, 2 usage, 3 bad input, 75 stopped by a signal, 130 interrupted."""
    given = parser().parse_args(argv)
    private_files()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up remarks are not ours
    limit_libraries()
    try:
        given.handler(given)
    except CovidpipeError as error:
        print(f"covidpipe: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ncovidpipe: interrupted. Run the same command again: it goes on from what is done.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `covidpipe codebook | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"covidpipe: {place}{error.strerror}. {REMEDIES[error.errno]}.", file=sys.stderr)
        return BAD_INPUT
    return DONE


class _Parser(argparse.ArgumentParser):
    """Tells of a word that it does not know the nearest one that it does, and where its help is."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = did_you_mean(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"not an argument of this command: {' '.join(unknown)}.{near}")
        return given, unknown

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
        near = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2])) if choice else ""
        super().error(f"{message}{'' if message[-1] in '.?' else '.'}{near} See `{self.prog} --help`.")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="covidpipe",
        description="Chest CT and X-ray images in, one table of infection percentages out. Research use only.",
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"covidpipe {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _user_commands(commands)
    _stage_commands(commands)
    return top


def _add(commands: Any, name: str, handler: Handler, help: str, example: str = "") -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=f"example:\n  {example}" if (example := example or EXAMPLES.get(name, "")) else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=handler)
    return command


def _user_commands(commands: Any) -> None:
    def of_table(command: argparse.ArgumentParser) -> None:
        command.add_argument("--table", help="infection, patients, rejected, ... (default: what the file says it is)")

    command = _add(
        commands,
        "cohort",
        _cohort,
        "quantify a folder or archive of images: the main job in one command",
        "covidpipe cohort scans/ --out results/scans --cores 4\n"
        "  covidpipe cohort films.zip --out results/films --modality xr --method alom2020",
    )
    command.add_argument("path", type=Path, help="folder, .zip, .tar.gz, single file, or .csv/.txt list of files")
    command.add_argument("--out", type=Path, required=True, help="folder of infection.parquet, the report, the config")
    command.add_argument("--method", action="append", choices=METHODS, help="may be repeated (default: both papers')")
    command.add_argument("--modality", choices=MODALITIES, help="what all images are (default: header, else a guess)")
    command.add_argument(
        "--intensity",
        choices=("hounsfield", "windowed_8bit", "radiograph"),
        help="what pixel values mean (default: decided per file)",
    )
    command.add_argument(
        "--segment",
        choices=("all", "positives"),
        default="all",
        help="khan2020: segment all images, or only those screened positive, as published (default: all)",
    )
    command.add_argument(
        "--covariates",
        type=Path,
        help="CSV to cut summary.parquet by: a column `patient` (or `path`), the others are covariates (age_band, sex)",
    )
    command.add_argument("--cores", type=positive_integer, help="processor cores to use (default: all)")
    command.add_argument(
        "--name", help="what the cohort is called in every table (default: the name of the folder, or of the file)"
    )

    command = _add(
        commands,
        "check",
        _check,
        "tell what would be read from a file or folder, and what would be rejected and why",
        "covidpipe check scans/ --json",
    )
    command.add_argument("path", type=Path)
    command.add_argument("--modality", choices=MODALITIES)
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "init",
        _init,
        "write a commented config to begin a study with; asks for what is not said",
        "covidpipe init winter --images scans/ --modality ct --machine slurm",
    )
    command.add_argument("study", help="name of the study, and of its cohort")
    command.add_argument("--images", type=Path, help="folder, .zip, .tar.gz, single file, or .csv/.txt list of files")
    command.add_argument("--modality", choices=MODALITIES, help="what all images are (default: header, else a guess)")
    command.add_argument("--method", action="append", choices=METHODS, help="may be repeated (default: all that fit)")
    command.add_argument("--machine", choices=("local", "slurm"), help="where it will run (default: local)")
    command.add_argument("--out", type=Path, help="the config (default: STUDY.yaml, in config/ if there is one)")
    command.add_argument("--force", action="store_true", help="replace a config that is there")

    command = _add(
        commands,
        "doctor",
        _doctor,
        "tell what this machine can do, and what to change",
        "covidpipe doctor --json",
    )
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "mapping",
        _mapping,
        "write which file each image of a cohort is: a CSV that may name patients, for its owner's eyes",
        "covidpipe mapping winter --config results/winter/config.yaml --out winter-files.csv",
    )
    command.add_argument("cohort", help="its name in the config")
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--images", type=Path, help="images.parquet of its ingest; default: where the config puts it")
    command.add_argument("--out", type=Path, required=True, help="CSV: image_id, patient_id, source_sha256, path")

    command = _add(
        commands,
        "show",
        _show,
        "print the head and the errors of a study's tables, and where they are; of one image, make a page of its steps",
        "covidpipe show --config results/scans/config.yaml\n"
        "  covidpipe show 5fd8e3baeb366ab0 --config results/scans/config.yaml",
    )
    command.add_argument("image", nargs="?", help="image_id of the table, or its first digits")
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--out", type=Path, help="the page (default: cases/IMAGE_ID.html beside the table)")
    command.add_argument("--json", action="store_true", help="of an image: what the tables say, and no page")

    command = _add(
        commands,
        "status",
        _status,
        "tell what of a study is done, running and failed, and when it will be over",
        "covidpipe status --config config/real_ct.yaml --json",
    )
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "preflight",
        _preflight,
        "one step of the trial of a cluster; all of it: snakemake --profile slurm preflight",
    )
    command.add_argument("kind", choices=("login", "cpu", "gpu", "verdict"))
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--out", type=Path, help="where the answer goes")
    command.add_argument("--note", type=Path, help="answer of the login node")
    command.add_argument("--answers", type=Path, nargs=3, metavar=("LOGIN", "CPU", "GPU"), help="what is compared")

    command = _add(commands, "models", _models, "list the networks", "covidpipe models --json")
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "datasets",
        _datasets,
        "list the datasets of the papers and of covidpipe, where they are had and what is present",
        "covidpipe datasets --json",
    )
    command.add_argument("--config", type=Path, help="config whose `data` and `datasets` are looked at")
    command.add_argument("--json", action="store_true")
    command.add_argument(
        "--missing", action="store_true", help="only those that --config needs and that are not there; status 3 if any"
    )

    command = _add(
        commands,
        "fetch",
        _fetch,
        "download a public dataset (resumed, checked), or say the steps where an account is needed",
        "covidpipe fetch coronacases --out downloads/coronacases",
    )
    command.add_argument("name", help="a dataset of config/datasets.yaml")
    command.add_argument("--out", type=Path, help="folder of the files (default: downloads/NAME)")

    command = _add(commands, "codebook", _codebook, "tell what every column of infection.parquet means")
    of_table(command)
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "validate",
        _validate,
        "check a table against its schema, and name the first row that breaks it",
        "covidpipe validate results/scans/infection.parquet",
    )
    command.add_argument("file", type=Path, help="a table, or the folder `infection` of a large one")
    of_table(command)
    command.add_argument("--json", action="store_true")

    command = _add(
        commands,
        "export",
        _export,
        "write infection.parquet for programs that do not read Parquet",
        "covidpipe export results/scans/infection.parquet --format xlsx --out infection.xlsx",
    )
    command.add_argument("file", type=Path, help="a table, or the folder `infection` of a large one")
    command.add_argument("--format", choices=("csv", "xlsx"), required=True)
    command.add_argument("--out", type=Path, help="default: the table's name with the format's ending")
    of_table(command)

    command = _add(
        commands,
        "dicom",
        _dicom,
        "write masks and percentages as DICOM objects to lie beside the images; they name the patients",
        "covidpipe dicom --config results/scans/config.yaml --out results/scans/dicom",
    )
    command.add_argument("--config", type=Path, required=True, help="of a cohort that is quantified")
    command.add_argument("--cohort", help="one of several (default: all)")
    command.add_argument("--out", type=Path, required=True)

    command = _add(commands, "ship", _ship, "copy a study's trained networks to where the shipped ones lie")
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="covidpipe/weights of the repository")

    _add(commands, "config", _config, "print every config key, its default and its meaning")

    command = _add(
        commands,
        "completion",
        _completion,
        "print what makes a shell complete these commands and their options",
        'eval "$(covidpipe completion bash)"    # in ~/.bashrc to keep it\n'
        "  covidpipe completion zsh > ~/.zfunc/_covidpipe",
    )
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def _stage_commands(commands: Any) -> None:
    def stage(name: str, handler: Handler, help: str, *arguments: str) -> argparse.ArgumentParser:
        command = _add(commands, name, handler, f"stage: {help}")
        for argument in arguments:
            if argument.startswith("-"):
                command.add_argument(argument, type=Path, required=True, metavar=argument[2:].upper())
            else:
                command.add_argument(argument)
        return command

    command = stage("phantoms", _phantoms, "make synthetic patients with exactly known masks", "--out")
    for option, value, help in (
        ("--patients", 12, "number of patients"),
        ("--size", 160, "rows and columns of a slice"),
        ("--slices", 16, "slices of a patient"),
        ("--seed", 0, "another seed makes other patients"),
    ):
        command.add_argument(option, type=int, default=value, help=f"{help} (default: {value})")
    stage(
        "ingest", _ingest, "list every image of a cohort or dataset, accepted or rejected", "name", "--config", "--out"
    )
    command = stage(
        "duplicates", _duplicates, "find images of one source, or of two, that must not be separated", "name", "--out"
    )
    command.add_argument("other", nargs="?", help="another source (default: the same)")
    for option in ("--images", "--signatures"):
        command.add_argument(option, type=Path, nargs="+", required=True, help="one for each source")
    command = stage(
        "split", _split, "cut a dataset into folds", "dataset", "--config", "--images", "--duplicates", "--out"
    )
    command.add_argument("--protocol", choices=PROTOCOLS, required=True)
    command = stage("apart", _apart, "prove that what networks are judged on is new to them")
    command.add_argument("kind", choices=("training", "cohorts"))
    command.add_argument("name", help="a recipe, judged on its test part, or a cohort")
    for option in ("--config", "--out"):
        command.add_argument(option, type=Path, required=True, metavar=option[2:].upper())
    command = stage("harmonize", _harmonize, "bring images to one grid", "name", "--config", "--images", "--out")
    command.add_argument("--size", type=positive_integer, required=True)
    command.add_argument("--workers", type=positive_integer)
    command = stage("wavelet", _wavelet, "enhance a harmonized store", "--config", "--store", "--out")
    command.add_argument("--reading", choices=READINGS, required=True)
    command.add_argument("--size", type=positive_integer, required=True)
    command = stage("lung_view", _lung_view, "cut the lungs out of a harmonized store", "--config", "--store", "--out")
    command.add_argument("--size", type=positive_integer, required=True)
    stage("train", _train, "train one network", "recipe", "--config", "--store", "--split", "--images", "--out")
    stage(
        "evaluate",
        _evaluate,
        "measure a network on its test part",
        *("recipe", "--config", "--model", "--store", "--split", "--images", "--out"),
    )
    stage("leakage", _leakage, "published beside grouped splits of the same networks", "--config", "--out")
    command = stage(
        "leaderboard", _leaderboard, "networks ranked, their cost beside their quality", "--config", "--out"
    )
    command.add_argument("--document", type=Path, help="write the page here too, its figure beside it")
    stage("frames", _frames, "the authors' weights and a border painter on their own test frames", "--config", "--out")
    command = stage("paper", _paper, "both papers' tables and figures", "--config", "--checks", "--out")
    command.add_argument("--frames", type=Path, nargs="*", default=[], help="of the stage frames, if it has run")
    stage("checks", _checks, "the papers' printed numbers against themselves", "--published", "--out")
    command = stage("predict", _predict, "segment one shard of a cohort", "cohort", "--config", "--images", "--out")
    command.add_argument("--shard", type=int, required=True)
    command = stage(
        "quantify",
        _quantify,
        "percentages of one shard",
        *("cohort", "--config", "--images", "--masks", "--out"),
    )
    command.add_argument("--shard", type=int, required=True)
    command.add_argument("--references", type=Path, nargs="*", default=[])
    command.add_argument("--calibrations", type=Path, nargs="*", default=[])
    command = stage("reference", _reference, "what the methods find in lesion-free images", "--config", "--out")
    command.add_argument("modality", choices=MODALITIES)
    command.add_argument("datasets", nargs="+", choices=DATASETS, metavar="DATASET")
    command = stage("conformal", _conformal, "how far the methods are off, for intervals", "--config", "--out")
    command.add_argument("modality", choices=MODALITIES)
    command.add_argument("sources", nargs="+", metavar="SOURCE", help="data sets or cohorts with true masks")
    command.add_argument("--cards", type=Path, help="folder of model folders whose cards are to tell the coverage")
    command = stage("collect", _collect, "one table of all shards", "cohort", "--config", "--images", "--out")
    command.add_argument(
        "shards", type=Path, nargs="+", metavar="SHARDS", help="the shards' tables in their order, or the folder of all"
    )
    command = stage("score", _score, "errors against true masks", "cohort", "--config", "--images", "--table", "--out")
    command.add_argument("--masks", type=Path, nargs="+", required=True, help="the shards' folders, or that of all")
    command = stage("report", _report, "one HTML page", "cohort", "--config", "--images", "--table", "--out")
    command.add_argument("--masks", type=Path, nargs="*", default=[], help="the shards' folders, or that of all")
    command.add_argument("--metrics", type=Path, nargs="*", default=[])
    command.add_argument("--patients", type=Path, help="table `patients` of the cohort")
    command.add_argument("--summary", type=Path, help="the cohort described: for intervals and classes")
    command.add_argument("--calibrations", type=Path, nargs="*", default=[], help="how far the methods are off")
    command.add_argument("--heat", action="store_true", help="heat maps of the cases: their networks run once more")
    command = stage("study", _study, "one HTML page about the networks of a study", "--config")
    command.add_argument("--out", type=Path, help="default: studies/STUDY/report.html in the results of the config")


def positive_integer(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"wanted a number of at least 1, found {text}")
    return value


def _cohort(given: argparse.Namespace) -> None:
    from covidpipe.stages import cohort

    cohort.run(
        given.path,
        given.out,
        methods=given.method,
        modality=given.modality,
        intensity=given.intensity,
        segment=given.segment,
        covariates=given.covariates,
        cores=given.cores,
        name=given.name,
    )


def _mapping(given: argparse.Namespace) -> None:
    from covidpipe import paths
    from covidpipe.stages import mapping

    config, cohort = _cohort_of(given)
    images = given.images or paths.images(config, cohort)
    print(f"{given.out}: {mapping.run(config, cohort, images, given.out)} images. It may name patients.")


def _check(given: argparse.Namespace) -> None:
    if not given.path.exists():
        raise CovidpipeError(f"{given.path}: there is no such file or folder. Give a folder, an archive or an image.")
    from covidpipe.stages.ingest import inspect

    rows = inspect(given.path, given.modality)
    if given.json:
        print(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        raise CovidpipeError(f"{given.path}: no file can be seen in it. Give the folder of the images, or a list.")
    for row in rows:
        frame = f"[{row['frame']}]" if row["frame"] else ""
        word = "ok      " if row["accepted"] else "rejected"
        said = f"{row['modality']}, {row['rows']}x{row['columns']}" if row["accepted"] else row["sentence"]
        path = row["path"].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        print(f"{word}  {path}{frame}: {said}")
    print(f"{sum(row['accepted'] for row in rows)} of {len(rows)} images would be quantified.")


def _init(given: argparse.Namespace) -> None:
    from covidpipe.study import init

    init.run(
        given.study,
        images=given.images,
        modality=given.modality,
        methods=given.method,
        machine=given.machine,
        out=given.out,
        force=given.force,
    )


def _doctor(given: argparse.Namespace) -> None:
    from covidpipe.study import doctor

    doctor.run(as_json=given.json)


def _show(given: argparse.Namespace) -> None:
    if given.image is None:
        if given.out is not None or given.json:
            raise UsageError(
                "--out and --json are for one image. Give its image_id, which stands in infection.parquet."
            )
        from covidpipe.stages import cohort

        cohort.show(_load(given))
        return
    from covidpipe.stages import case

    page, told = case.run(_load(given), given.image, given.out, pictures=not given.json)
    if given.json:
        print(json.dumps(told, indent=2))
        return
    for row in told["rows"]:
        percent = "no percentage" if row["infection_percent"] is None else f"{row['infection_percent']:.2f} %"
        print(f"{row['method']}: {percent}  {row['qc_status']}  {', '.join(row['qc_reasons'])}".rstrip())
    print(f"page  {page}")


def _status(given: argparse.Namespace) -> None:
    from covidpipe.cluster import status

    found = status.study(_load(given))
    print(json.dumps(status.as_json(found), indent=2) if given.json else status.page(found))


def _preflight(given: argparse.Namespace) -> None:
    from covidpipe.cluster import preflight

    preflight.run(_load(given), given.kind, out=given.out, note=given.note, answers=given.answers)


def _models(given: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "task": spec.tasks[0],
            "tasks": list(spec.tasks),
            "parameters": spec.trainable,
            "image_shape": list(spec.image_shape),
            "reference": spec.reference,
        }
        for spec in MODELS.values()
    ]
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'MODEL':<20}{'PARAMETERS':>12}  {'INPUT':<11}{'TASKS'}")
    for row in rows:
        shape = "x".join(map(str, row["image_shape"]))
        print(f"{row['name']:<20}{row['parameters']:>12,}  {shape:<11}{', '.join(row['tasks'])}")
        print(f"    {row['reference']}")


def _datasets(given: argparse.Namespace) -> None:
    from covidpipe.config import Config, load
    from covidpipe.datasets.public import declared, missing, overview

    config = Config() if given.config is None else load(given.config)
    if given.missing:
        wanted = missing(config, declared())
        if wanted:
            raise CovidpipeError("these datasets are not there:\n\n" + "\n\n".join(wanted))
        return
    rows = overview(config, declared())
    if given.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        where = f"{row['folder']} ({'found' if row['present'] else 'not there'})" if row["readable"] else "no reader"
        print(f"{row['name']:<16} {row['modality'] or '':<3} {where}")
        tells = f"tells: {', '.join(row['truth'])}; " if row["truth"] else ""
        print(f"{'':<4}{row['text']}\n{'':<4}{tells}licence: {row['licence']}")
        if row["papers"]:
            print(f"{'':<4}{', '.join(row['papers'])}: {', '.join(row['used_for'])}; {row['size']}")
        for origin in row["origins"]:
            print(f"{'':<4}{origin}")


def _fetch(given: argparse.Namespace) -> None:
    from covidpipe.datasets.public import declared
    from covidpipe.errors import choose
    from covidpipe.io.fetch import fetch

    sets = declared()
    wanted = sets[choose(given.name, sets, "public dataset")]
    folder = given.out or Path("downloads") / given.name
    print(f"{given.name}: {wanted.text}\nlicence: {wanted.licence}; {wanted.size}; {', '.join(wanted.origins())}")
    for line in fetch(given.name, wanted, folder):
        print(line)
    if wanted.steps:
        heading = "What is left to do" if wanted.files else "covidpipe cannot download it; the steps"
        print(f"{heading} (covidpipe reads: {wanted.layout}):")
        for number, step in enumerate(wanted.steps, start=1):
            print(f"  {number}. {step}")


def _codebook(given: argparse.Namespace) -> None:
    from covidpipe.schemas import codebook

    rows = codebook(_table_of(given.table))
    if given.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        facts = [row["type"], f"unit: {row['unit']}", f"range: {row['range']}", f"null: {row['null_means']}"]
        print(f"{row['column']} ({'; '.join(facts)})\n    {row['text']}")


def _validate(given: argparse.Namespace) -> None:
    from covidpipe.io.validate import validate

    found = validate(given.file, _table_of(given.table, given.file))
    if given.json:
        told = {"table": found.spec.name, "rows": found.rows, "files": found.files, "schema": found.schema_version}
        print(json.dumps({"file": str(given.file), **told}, indent=2))
        return
    files = f" in {found.files} files" if found.files > 1 else ""
    print(f"{given.file}: {found.rows} rows{files}, as schema {found.schema_version} wants table `{found.spec.name}`.")


def _export(given: argparse.Namespace) -> None:
    from covidpipe.io.export import export

    out, spec = given.out or given.file.with_suffix(f".{given.format}"), _table_of(given.table, given.file)
    rows = export(given.file, spec, given.format, out)
    print(f"{out}: {rows} rows of table `{spec.name}`.")


def _table_of(name: str | None, file: Path | None = None) -> Any:
    """The table called `name`, else the one that `file` says it is, else the main one."""
    from covidpipe.errors import choose
    from covidpipe.io.validate import table_named
    from covidpipe.schemas import INFECTION, TABLES

    if name is not None:
        return TABLES[choose(name, TABLES, "table")]
    return INFECTION if file is None else table_named(file)


def _config(given: argparse.Namespace) -> None:
    from covidpipe.config import commented

    print(commented(), end="")


def _completion(given: argparse.Namespace) -> None:
    import shtab

    print(shtab.complete(_completable(parser()), shell=given.shell))


def _completable(top: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let paths be completed by the files that there are; names that come as a dict are taken for commands: a list."""
    import shtab

    todo = [top]
    while todo:
        for action in todo.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                todo.extend(action.choices.values())
                continue
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            if action.choices is not None:
                action.choices = list(action.choices)
    return top


def _dicom(given: argparse.Namespace) -> None:
    from covidpipe.errors import choose

    config = _load(given)
    cohorts = [choose(given.cohort, config.cohorts, "cohort")] if given.cohort else list(config.cohorts)
    from covidpipe.stages import dicom

    for cohort in cohorts:
        counts = dicom.run(config, cohort, given.out / cohort)
        print(f"{cohort}: " + ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in counts.items()))


def _ship(given: argparse.Namespace) -> None:
    from covidpipe.stages import ship

    ship.run(_load(given), given.out)


def _load(given: argparse.Namespace) -> Any:
    from covidpipe.config import load

    return load(given.config)


def _cohort_of(given: argparse.Namespace) -> tuple[Any, str]:
    from covidpipe.errors import choose

    config = _load(given)
    return config, choose(given.cohort, config.cohorts, "cohort")


def _recipe_of(given: argparse.Namespace) -> tuple[Any, str]:
    from covidpipe.errors import choose

    config = _load(given)
    return config, choose(given.recipe, config.training, "recipe under `training`")


def _phantoms(given: argparse.Namespace) -> None:
    from covidpipe.stages import phantoms

    phantoms.run(given.out, patients=given.patients, size=given.size, slices=given.slices, seed=given.seed)


def _ingest(given: argparse.Namespace) -> None:
    from covidpipe.stages import ingest

    gc.set_threshold(100_000)  # millions of rows, none in a cycle: looking for cycles took a quarter of the time
    ingest.run(_load(given), given.name, given.out)


def _split(given: argparse.Namespace) -> None:
    from covidpipe.errors import choose
    from covidpipe.stages import split

    split.run(
        _load(given),
        choose(given.dataset, DATASETS, "dataset"),
        given.images,
        given.duplicates,
        given.protocol,
        given.out,
    )


def _duplicates(given: argparse.Namespace) -> None:
    names = [given.name] if given.other in (None, given.name) else [given.name, given.other]
    if not len(names) == len(given.images) == len(given.signatures):
        raise UsageError(
            f"{' and '.join(names)}: wanted {len(names)} tables of images and of signatures, came {len(given.images)} "
            f"and {len(given.signatures)}. Give one of each for every source, in their order."
        )
    from covidpipe.stages import duplicates

    sources = [duplicates.Images(*one) for one in zip(names, given.images, given.signatures, strict=True)]
    duplicates.run(sources[0], sources[1] if len(sources) > 1 else None, given.out)


def _apart(given: argparse.Namespace) -> None:
    from covidpipe.errors import choose

    config = _load(given)
    known = config.training if given.kind == "training" else config.cohorts
    choose(given.name, known, "recipe under `training`" if given.kind == "training" else "cohort")
    from covidpipe.stages import apart

    apart.run(config, given.kind, given.name, given.out)


def _leakage(given: argparse.Namespace) -> None:
    from covidpipe.stages import leakage

    leakage.run(_load(given), given.out)


def _leaderboard(given: argparse.Namespace) -> None:
    from covidpipe.stages import leaderboard

    leaderboard.run(_load(given), given.out, given.document)


def _frames(given: argparse.Namespace) -> None:
    from covidpipe.stages import frames

    frames.run(_load(given), given.out)


def _paper(given: argparse.Namespace) -> None:
    from covidpipe.stages import paper

    paper.run(_load(given), given.checks, given.frames[0] if given.frames else None, given.out)


def _checks(given: argparse.Namespace) -> None:
    from covidpipe.stages import checks

    print(checks.run(given.published, given.out))


def _harmonize(given: argparse.Namespace) -> None:
    from covidpipe.stages import harmonize

    harmonize.run(_load(given), given.name, given.images, given.size, given.out, given.workers)


def _wavelet(given: argparse.Namespace) -> None:
    from covidpipe.stages import wavelet

    wavelet.run(_load(given), given.store, given.reading, given.size, given.out)


def _lung_view(given: argparse.Namespace) -> None:
    from covidpipe.stages import lung_view

    lung_view.run(_load(given), given.store, given.size, given.out)


def _train(given: argparse.Namespace) -> None:
    config, recipe = _recipe_of(given)
    from covidpipe.stages import train

    train.run(config, recipe, given.store, given.split, given.images, given.out)


def _evaluate(given: argparse.Namespace) -> None:
    config, recipe = _recipe_of(given)
    from covidpipe.stages import evaluate

    evaluate.run(config, recipe, given.model, given.store, given.split, given.images, given.out)


def _predict(given: argparse.Namespace) -> None:
    config, cohort = _cohort_of(given)
    from covidpipe.stages import predict

    predict.run(config, cohort, given.images, given.shard, given.out)


def _quantify(given: argparse.Namespace) -> None:
    config, cohort = _cohort_of(given)
    from covidpipe.stages import quantify

    quantify.run(
        config, cohort, given.images, given.masks, given.shard, given.out, given.references, given.calibrations
    )


def _reference(given: argparse.Namespace) -> None:
    from covidpipe.stages import reference

    reference.run(_load(given), given.modality, given.datasets, given.out)


def _conformal(given: argparse.Namespace) -> None:
    from covidpipe.stages import conformal

    conformal.run(_load(given), given.modality, given.sources, given.out, given.cards)


def _collect(given: argparse.Namespace) -> None:
    config, cohort = _cohort_of(given)
    from covidpipe.io.shards import shard_folders
    from covidpipe.stages import collect

    shards = shard_folders(given.shards, given.images, config.shard_images)
    tables = [shard / "infection.parquet" if shard.is_dir() else shard for shard in shards]
    collect.run(config, cohort, given.images, tables, given.out)


def _score(given: argparse.Namespace) -> None:
    config, cohort = _cohort_of(given)
    from covidpipe.io.shards import shard_folders
    from covidpipe.stages import score

    masks = shard_folders(given.masks, given.images, config.shard_images)
    score.run(config, cohort, given.images, given.table, masks, given.out)


def _report(given: argparse.Namespace) -> None:
    config, cohort = _cohort_of(given)
    from covidpipe.io.shards import shard_folders
    from covidpipe.stages import report

    masks = shard_folders(given.masks, given.images, config.shard_images)
    report.run(
        config,
        cohort,
        given.images,
        given.table,
        masks,
        given.out,
        given.metrics,
        given.patients,
        given.summary,
        given.calibrations,
        heat=given.heat,
    )


def _study(given: argparse.Namespace) -> None:
    from covidpipe.stages import study

    print(f"page  {study.run(_load(given), given.out)}")


if __name__ == "__main__":
    sys.exit(main())
