"""The checked config, and what several rules share. Questions about a config are answered in covidpipe/workflow.py."""

import os
import sys
from functools import partial
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from covidpipe import paths, workflow as jobs
from covidpipe.cluster import slurm, watch
from covidpipe.cores import private_files
from covidpipe.errors import CovidpipeError
from covidpipe.registry import (
    DATASETS,
    MODALITIES,
    MODELS,
    PROTOCOLS,
    READINGS,
    REGIMES,
    TASKS,
)

# Used with --sdm conda only; COVIDPIPE_ENV=gpu chooses the environment for machines with GPUs.
CONDA = f"../../envs/{os.environ.get('COVIDPIPE_ENV', 'cpu')}.yaml"

if not config:

    configfile: jobs.default_config(sys.argv)


try:
    STUDY = jobs.study(config, workflow.configfiles)
except CovidpipeError as error:
    raise WorkflowError(str(error)) from None

private_files()
RESULTS = Path(STUDY.results)
CONFIG_FILE = str(paths.config_file(STUDY))
LARGEST = slurm.largest()
jobs.use_this_environment(Path(workflow.basedir))
logger.addFilter(partial(watch.show_resources, workflow))


# Used with --sdm apptainer only: built from envs/covidpipe.def.
container: os.environ.get("COVIDPIPE_SIF", str(Path(workflow.basedir) / "covidpipe.sif"))


wildcard_constraints:
    name=jobs.any_of([*STUDY.cohorts, *DATASETS]),
    phantoms=jobs.any_of(STUDY.phantoms),
    dataset=jobs.any_of(DATASETS),
    task=jobs.any_of(TASKS),
    model=jobs.any_of(MODELS),
    regime=jobs.any_of(sorted({name for rows in REGIMES.values() for name in rows})),
    protocol=jobs.any_of(PROTOCOLS),
    reading=jobs.any_of(READINGS),
    other=jobs.any_of([*STUDY.cohorts, *DATASETS]),
    kind="training|cohorts",
    who=jobs.any_of([*STUDY.training, *STUDY.cohorts]),
    cohort_out=jobs.any_of(str(paths.cohort(STUDY, name)) for name in STUDY.cohorts),
    modality=jobs.any_of(MODALITIES),
    fold=r"\d+",
    size=r"\d+",
    shard=r"\d{5}\d*",


def log_of(stage, *parts):
    """Log file of a job, by its wildcards."""
    return str(RESULTS.joinpath("logs", stage, *parts)) + ".log"


def benchmark_of(stage, *parts):
    """Wall time and peak memory of a job, by its wildcards."""
    return str(RESULTS.joinpath("benchmarks", stage, *parts)) + ".tsv"


def grow_with_attempt(base, most=None):
    """A resource that is asked for again, larger, when a job failed for want of it; never more than there is."""

    def grown(wildcards, attempt):
        return base * attempt if most is None else min(base * attempt, most)

    return grown


def once_for_all_shards(answer):
    """A function of wildcards that asks `answer` once for all shards of a cohort: there may be thousands."""
    known = {}

    def answered(wildcards):
        given = {name: word for name, word in wildcards.items() if name != "shard"}
        key = tuple(given.items())
        if key not in known:
            known[key] = answer(given)
        return known[key]

    return answered


def code_of(stage):
    """Fingerprint of a job's code: Snakemake does not see edits of an imported package."""
    return once_for_all_shards(partial(jobs.code, STUDY, stage))


def settings_of(stage):
    """The settings that matter to a job, by value: editing another key of the config reruns nothing here."""
    return once_for_all_shards(partial(jobs.settings, STUDY, stage))


def recipe_name(wildcards):
    return jobs.recipe_name(STUDY, dict(wildcards.items()))


def cohort_name(wildcards):
    return wildcards.get("name") or jobs.cohort_at(STUDY, wildcards.cohort_out)


def images_of_cohort(wildcards):
    return checkpoints.ingest.get(name=cohort_name(wildcards)).output.images


def phantom_folders(wildcards):
    """Synthetic patients that an image table is made of, if this study makes them."""
    made_here = jobs.phantoms_of(STUDY, wildcards.name)
    return (
        []
        if made_here is None
        else [paths.phantoms(STUDY, made_here) / modality for modality in ("ct", "xr")]
    )


def phantom_settings(wildcards):
    made = STUDY.phantoms[wildcards.phantoms]
    return f"--patients {made.patients} --size {made.size} --slices {made.slices} --seed {made.seed}"


def store_of_recipe(wildcards):
    """Index of the store that a network is fed from: its folder is the store."""
    return paths.store(STUDY, STUDY.training[recipe_name(wildcards)]) / "index.parquet"


def references_of_cohort(wildcards):
    return jobs.cohort_references(STUDY, cohort_name(wildcards))


def images_of_reference(wildcards):
    """Image tables of the data sets whose lesion-free images a modality's reference is made of."""
    return [
        paths.images(STUDY, dataset)
        for dataset in jobs.reference_datasets(STUDY, wildcards.modality)
    ]


def models_of_reference(wildcards):
    recipes = jobs.reference_recipes(STUDY, wildcards.modality)
    return [
        paths.model(STUDY, STUDY.training[name]) / "model.keras" for name in recipes
    ]


def splits_of_reference(wildcards):
    """Who belongs together in those data sets, copies under other names found."""
    return [
        paths.split(STUDY, dataset, "grouped")
        for dataset in jobs.reference_datasets(STUDY, wildcards.modality)
    ]


def datasets_of_reference(wildcards):
    return jobs.reference_datasets(STUDY, wildcards.modality)


def all_references():
    return [
        paths.reference(STUDY, modality)
        for modality in STUDY.models
        if jobs.reference_datasets(STUDY, modality)
    ]


def calibrations_of_cohort(wildcards):
    return jobs.cohort_calibrations(STUDY, cohort_name(wildcards))


def sources_of_calibration(wildcards):
    return jobs.calibration_sources(STUDY, wildcards.modality)


def images_of_calibration(wildcards):
    """Image tables of the data sets and cohorts whose true masks tell how far the methods are off."""
    return [paths.images(STUDY, name) for name in sources_of_calibration(wildcards)]


def proofs_of_calibration(wildcards):
    """That cohorts among them are new to the networks, if these are trained here."""
    return [
        paths.apart(STUDY, "cohorts", name)
        for name in sources_of_calibration(wildcards)
        if name in STUDY.cohorts and jobs.taught(STUDY, "cohorts", name)
    ]


def all_calibrations():
    return [
        paths.conformal(STUDY, modality)
        for modality in STUDY.models
        if jobs.calibration_sources(STUDY, modality)
    ]


def covariates_of_cohort(wildcards):
    """The CSV that a cohort's summary is cut by, if there is one."""
    file = STUDY.cohorts[cohort_name(wildcards)].covariates
    return [] if file is None else file


def parent_of_recipe(wildcards):
    """The network whose weights a training starts from, if it does."""
    start = STUDY.training[recipe_name(wildcards)].init_from
    return (
        []
        if start is None
        else [paths.model(STUDY, STUDY.training[start]) / "model.keras"]
    )


def proof_of_recipe(wildcards):
    """That the images a network will be tested on are new to it."""
    return paths.apart(STUDY, "training", recipe_name(wildcards))


def proof_of_cohort(wildcards):
    """That a cohort that is judged is new to the networks trained for it, if any."""
    name = cohort_name(wildcards)
    trained = jobs.taught(STUDY, "cohorts", name)
    return [paths.apart(STUDY, "cohorts", name)] if trained else []


def lists_of_sources(file):
    """`file` of the ingested sources that are compared: one if a source is compared with itself."""

    def files(wildcards):
        names = dict.fromkeys([wildcards.name, wildcards.other])
        return [RESULTS / "ingest" / name / file for name in names]

    return files


def files_apart(wildcards):
    return jobs.apart_files(STUDY, wildcards.kind, wildcards.who)


def models_of_cohort(wildcards):
    try:
        return jobs.cohort_models(STUDY, cohort_name(wildcards))
    except CovidpipeError as error:
        raise WorkflowError(str(error)) from None


def metrics_of_cohort(wildcards):
    """Summaries that a cohort's report shows: its own error, and the test results of the networks trained for it."""
    name = cohort_name(wildcards)
    folders = [
        paths.metrics(STUDY, STUDY.training[recipe])
        for recipe in jobs.cohort_recipes(STUDY, name)
    ]
    if jobs.has_truth(STUDY, name):
        folders.insert(0, paths.cohort_metrics(STUDY, name))
    return [folder / "summary.parquet" for folder in folders]


def table_of_cohort(wildcards):
    """The file, or the folder of a large table.

    Before the images are ingested a file is planned. Rules that ask for the table have the shards among their input as
    well: they are asked again when it is known how many rows there are.
    """
    name = cohort_name(wildcards)
    return jobs.infection_table(STUDY, name, paths.images(STUDY, name))


def shards_folder(wildcards):
    """One name for all shards: a command line holds no more than some thousands."""
    return paths.shard(STUDY, cohort_name(wildcards), 0).parent


def folders_of(key):
    """Folders of the input files called `key`, for commands that take folders."""

    def folders(wildcards, input):
        return [str(Path(file).parent) for file in input.get(key)]

    return folders


def shard_files(file):
    """`file` of every shard of a cohort; how many there are is known once its images are ingested."""

    def files(wildcards):
        shards = jobs.shards_of(images_of_cohort(wildcards), STUDY.shard_images)
        return [
            paths.shard(STUDY, cohort_name(wildcards), shard.number) / file
            for shard in shards
        ]

    return files


def made_of_shard(wildcards, input):
    """What a shard was made of: its jobs run again when this moves, not when the image table does."""
    return jobs.shard_made(input.images, wildcards.shard)


def published_numbers(paper):
    """The numbers that a paper prints."""
    return Path(STUDY.paper.published) / f"{paper}.csv"


def stores_of_the_threshold():
    """The images that the leaderboard's threshold looks at, of every dataset whose infection is segmented."""
    datasets = {
        recipe.dataset
        for recipe in STUDY.training.values()
        if recipe.task == "segment_infection"
    }
    size = STUDY.harmonize.source_size
    return [
        paths.harmonized(STUDY, name, size) / "index.parquet"
        for name in sorted(datasets)
    ]


def frames_of_the_authors():
    """What Khan et al.'s own weights score on their own frames, where these are there."""
    return (
        [RESULTS / "paper" / "frames" / "frames.parquet"]
        if jobs.authors_files(STUDY)
        else []
    )


def all_models():
    return [
        paths.model(STUDY, recipe) / "model.keras" for recipe in STUDY.training.values()
    ]


def all_metrics():
    return [
        paths.metrics(STUDY, recipe) / "summary.parquet"
        for recipe in STUDY.training.values()
    ]


def study_page():
    """The page about the networks, of a study that trains some."""
    return [paths.study(STUDY)] if STUDY.training else []


def all_proofs():
    return [paths.apart(STUDY, "training", name) for name in STUDY.training]


def all_cohorts():
    folders = [paths.cohort(STUDY, name) for name in STUDY.cohorts]
    scores = [
        paths.cohort_metrics(STUDY, name)
        for name in STUDY.cohorts
        if jobs.has_truth(STUDY, name)
    ]
    return [
        *(folder / "report.html" for folder in folders),
        *(folder / "summary.parquet" for folder in scores),
    ]


def all_tables(wildcards):
    """Each cohort's infection table: its images are ingested before it is known whether it is a file or a folder."""
    return [
        jobs.infection_table(
            STUDY, name, checkpoints.ingest.get(name=name).output.images
        )
        for name in STUDY.cohorts
    ]
