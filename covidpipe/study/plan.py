"""Which rules a study runs, how often, and which needs which: its workflow as a graph, from the config alone.

A picture of stages, not of jobs: a cohort's shards count as one, so that the same config gives the same picture, at
once, before any image is read and after. Snakemake would have to be started for it (seconds, within a job of its own)
and draws what is done with images only once they are ingested. Which files are made and read is asked of `paths` and
`workflow`, as the rules ask; a test holds the graph, rule by rule, against Snakemake's own, and fails for a rule that
has no box.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from covidpipe import paths
from covidpipe import workflow as jobs
from covidpipe.config import Config, Recipe
from covidpipe.registry import REGIMES

Job = tuple[str, str]  # rule, and what it is run on


@dataclass
class Plan:
    """The rules of a study: what each is run on, and the rules whose files it reads."""

    subjects: dict[str, list[str]] = field(default_factory=dict)
    needs: dict[str, set[str]] = field(default_factory=dict)

    def reduced(self) -> set[tuple[str, str]]:
        """Pairs (needed, needing) without those that follow from others: what is drawn."""
        return reduce(self.needs)


def plan(config: Config) -> Plan:
    """All jobs that lead to a study's cohorts, networks and its report, gathered by rule.

    Parameters
    ----------
    config : Config

    Returns
    -------
    Plan

    Examples
    --------
    >>> plan(Config()).subjects
    {}
    """
    inputs = _jobs(config)
    makers = {file: job for job, (made, _) in inputs.items() for file in made}
    reached: set[Job] = set()
    todo: list[Job] = [job for job in inputs if job[0] in ("report", "score", "reference", "conformal", "study")]
    found = Plan()
    while todo:
        job = todo.pop()
        if job in reached:
            continue
        reached.add(job)
        needed = {makers[file] for file in inputs[job][1] if file in makers}  # others are there: weights that ship
        found.needs.setdefault(job[0], set()).update(rule for rule, _ in needed if rule != job[0])
        todo.extend(needed)
    for rule, subject in sorted(reached):
        found.subjects.setdefault(rule, []).append(subject)
    return found


def _jobs(config: Config) -> dict[Job, tuple[list[Path], list[Path]]]:
    """Every job there could be, with the files by which others know it, and those that it reads."""
    made: dict[Job, tuple[list[Path], list[Path]]] = {}

    def add(rule: str, subject: str, output: Path, *inputs: Iterable[Path]) -> None:
        made[rule, subject] = [output], [file for files in inputs for file in files]

    recipes = config.training.values()
    names = {*config.cohorts, *(recipe.dataset for recipe in recipes), *config.intervals.sources}
    for name in config.phantoms:
        add("phantoms", name, paths.phantoms(config, name))
    for name in names:
        source = jobs.phantoms_of(config, name)
        add("ingest", name, paths.images(config, name), [] if source is None else [paths.phantoms(config, source)])
        for other in names:
            images = [paths.images(config, one) for one in (name, other)]
            add("duplicates", f"{name}, {other}", paths.duplicates(config, name, other), images)
    for recipe in recipes:
        listed, own = paths.images(config, recipe.dataset), f"{recipe.dataset}, {recipe.protocol}"
        pairs = paths.duplicates(config, recipe.dataset, recipe.dataset)
        add("split", own, paths.split(config, recipe.dataset, recipe.protocol), [listed, pairs])
        for size in (recipe.image_size, config.harmonize.source_size):
            folder = paths.harmonized(config, recipe.dataset, size)
            add("harmonize", f"{recipe.dataset}, {size} px", folder, [listed])
        kind = REGIMES[recipe.task][recipe.regime].input
        if kind != "harmonized":  # made from a harmonized store, by the rule that the input is called after
            source_store = paths.harmonized(config, recipe.dataset, config.harmonize.source_size)
            reading = f"{recipe.reading}, " if kind == "wavelet" else ""
            words = f"{recipe.dataset}, {reading}{recipe.image_size} px"
            add(kind, words, paths.store(config, recipe), [source_store])
    for name, recipe in config.training.items():
        data = _data(config, recipe)
        start = [] if recipe.init_from is None else [config.training[recipe.init_from]]
        proof = paths.apart(config, "training", name)
        add("apart", name, proof, jobs.apart_files(config, "training", name))
        parents = [paths.model(config, one) / "model.keras" for one in start]
        model = paths.model(config, recipe) / "model.keras"
        add("train_model", name, model, data, parents, [proof])
        add("evaluate_model", name, paths.metrics(config, recipe), [*data, model])
    if config.training:
        add("study", config.study, paths.study(config), (paths.metrics(config, recipe) for recipe in recipes))
    for modality in config.models:
        networks = [
            paths.model(config, config.training[r]) / "model.keras" for r in jobs.reference_recipes(config, modality)
        ]
        sets = jobs.reference_datasets(config, modality)
        splits = [paths.split(config, one, "grouped") for one in sets]
        if sets:
            images_of = [paths.images(config, one) for one in sets]
            add("reference", modality, paths.reference(config, modality), images_of, networks, splits)
        sources = jobs.calibration_sources(config, modality)
        if sources:
            images_of = [paths.images(config, one) for one in sources]
            proofs = [paths.apart(config, "cohorts", one) for one in sources]
            add("conformal", modality, paths.conformal(config, modality), images_of, networks, splits, proofs)
    for cohort in config.cohorts:
        folder, seen = paths.cohort(config, cohort), paths.images(config, cohort)
        new = paths.apart(config, "cohorts", cohort)
        if jobs.taught(config, "cohorts", cohort):
            add("apart", f"cohort {cohort}", new, jobs.apart_files(config, "cohorts", cohort))
        told = [*jobs.cohort_references(config, cohort), *jobs.cohort_calibrations(config, cohort)]
        masks, percentages, table = folder / "masks", folder / "shards", folder / "infection.parquet"
        models = jobs.cohort_models(config, cohort)
        add("predict", cohort, masks, [seen, new], models)
        add("quantify", cohort, percentages, [seen, masks, *told])
        add("collect", cohort, table, [seen, percentages])
        tested = [paths.metrics(config, config.training[r]) for r in jobs.cohort_recipes(config, cohort)]
        if jobs.has_truth(config, cohort):
            tested.append(paths.cohort_metrics(config, cohort))
            add("score", cohort, paths.cohort_metrics(config, cohort), [seen, table, masks])
        add("report", cohort, folder / "report.html", [seen, table, masks], models, tested)
    return made


def _data(config: Config, recipe: Recipe) -> list[Path]:
    """What a network is fed from: store, folds and image table."""
    split = paths.split(config, recipe.dataset, recipe.protocol)
    return [paths.store(config, recipe), split, paths.images(config, recipe.dataset)]


def reduce(needs: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Pairs (needed, needing) of a graph without loops, without those that a longer way implies.

    >>> sorted(reduce({"c": {"a", "b"}, "b": {"a"}, "a": set()}))
    [('a', 'b'), ('b', 'c')]
    """

    def all_before(rule: str) -> set[str]:
        return set().union(*({one} | all_before(one) for one in needs.get(rule, ())))

    return {
        (needed, rule)
        for rule, direct in needs.items()
        for needed in direct
        if not any(needed in all_before(other) for other in direct if other != needed)
    }
