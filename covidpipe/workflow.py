"""What the Snakemake rules ask: which settings and which code matter to a job, and which files it needs.

Rules pass the answers as ``params``: a job runs again when its own settings or its own code change, and not when
others' do.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidpipe import paths
from covidpipe.config import Config, Recipe, Roles, dump, model_key, parse
from covidpipe.errors import BadConfig
from covidpipe.folds import deciding_roles, in_folds
from covidpipe.provenance import PACKAGE, code_fingerprint
from covidpipe.registry import DATASETS, METHODS, MODALITIES, MODELS, REGIMES
from covidpipe.sealed import seal

RECIPE_KEYS = ("dataset", "task", "model", "regime", "protocol", "fold")


def use_this_environment(root: Path) -> None:
    """Let jobs find this Python's `covidpipe` even where its environment was not activated.

    ``COVIDPIPE_ROOT`` tells the script that fills a conda environment where the lock is.
    """
    here = str(Path(sys.executable).parent)
    found = os.environ.get("PATH", "").split(os.pathsep)
    if here not in found:
        os.environ["PATH"] = os.pathsep.join([here, *found])
    os.environ["COVIDPIPE_ROOT"] = str(root)


def study(raw: Mapping[str, Any], files: Iterable[Path | str]) -> Config:
    """The checked config of a run, merged by Snakemake from `files` and its command line."""
    return parse(dict(raw), ", ".join(os.path.relpath(file) for file in files) or "config")


def write_config(config: Config) -> None:
    """Write the resolved config for the jobs, if it is not already there."""
    from covidpipe.io.files import write_text  # pandas: too slow to import for every planning

    path, text = paths.config_file(config), dump(config)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def any_of(words: Iterable[str]) -> str:
    """A regular expression that matches these words and nothing else.

    >>> any_of(["a.b", "c"])
    'a\\\\.b|c'
    """
    return "|".join(re.escape(word) for word in words) or "(?!)"


def cohort_at(config: Config, folder: str) -> str:
    """Name of the cohort whose tables lie in `folder`."""
    return next(name for name in config.cohorts if str(paths.cohort(config, name)) == folder)


def recipe_name(config: Config, given: Mapping[str, str]) -> str:
    """Name of the recipe whose model lies at these wildcards."""
    key = tuple(str(given[word]) for word in RECIPE_KEYS)
    return next(name for name, recipe in config.training.items() if tuple(map(str, model_key(recipe))) == key)


def phantoms_of(config: Config, name: str) -> str | None:
    """Name of the synthetic patients that the images of `name` are, or None."""
    root = config.source_root(name)
    return next((p for p in config.phantoms if root.is_relative_to(paths.phantoms(config, p))), None)


def default_config(arguments: Iterable[str]) -> str:
    """The config of a run that is given none: that of ``snakemake paper`` or ``leaderboard``, else all defaults.

    Jobs are asked again without the target: what was chosen is handed on to them as ``COVIDPIPE_DEFAULT_CONFIG``.
    """
    chosen = os.environ.get("COVIDPIPE_DEFAULT_CONFIG")
    if chosen is None:
        named = next((word for word in ("paper", "leaderboard") if word in arguments), "config")
        chosen = f"config/{named}.yaml"
        os.environ["COVIDPIPE_DEFAULT_CONFIG"] = chosen
    return chosen


def authors_files(config: Config) -> bool:
    """True if Khan et al.'s frames and weights are there."""
    return (config.source_root("khan2020") / "cov_raseg_authors_weights.npz").exists()


def has_truth(config: Config, cohort: str) -> bool:
    """True if the cohort is a dataset whose infection masks tell the error of its percentages."""
    dataset = config.cohorts[cohort].dataset
    return dataset is not None and "infection_mask" in DATASETS[dataset].truth


def cohort_roles(config: Config, cohort: str) -> dict[str, dict[str, str]]:
    """Modality -> task -> network, for those that the cohort's methods may ask."""
    source = config.cohorts[cohort]
    only = source.modality or (DATASETS[source.dataset].modality if source.dataset else None)
    found: dict[str, dict[str, str]] = {}
    for modality in MODALITIES if only is None else (only,):
        roles = config.models.get(modality, Roles())
        tasks = {task for m in config.cohort_methods(cohort) for task in METHODS[m].asks(modality)}
        found[modality] = {task: wanted for task in sorted(tasks) if (wanted := getattr(roles, task)) is not None}
    return found


def cohort_recipes(config: Config, cohort: str) -> list[str]:
    """Names of the recipes whose networks quantify the cohort."""
    wanted = {name for roles in cohort_roles(config, cohort).values() for name in roles.values()}
    return sorted(name for name in wanted if not name.startswith("shipped:"))


def cohort_models(config: Config, cohort: str) -> list[Path]:
    """Files of the networks that quantify the cohort, trained here or shipped.

    Raises
    ------
    BadConfig
        Weights that the config asks for are not part of this copy of covidpipe.
    """
    files = [paths.model(config, config.training[name]) / "model.keras" for name in cohort_recipes(config, cohort)]
    for modality, roles in cohort_roles(config, cohort).items():
        for task, wanted in roles.items():
            if wanted.startswith("shipped:"):
                file = shipped(wanted) / "model.keras"
                if not file.exists():
                    raise BadConfig(
                        f"models.{modality}.{task}: `{wanted}`: {file} is not there. "
                        "Name a network under `training`, or give null to go without."
                    )
                files.append(file)
    return sorted(set(files))


def reference_datasets(config: Config, modality: str) -> list[str]:
    """Data sets of the networks that a study trains for a modality: where its lesion-free images are looked for."""
    return sorted({config.training[name].dataset for name in reference_recipes(config, modality)})


def reference_recipes(config: Config, modality: str) -> list[str]:
    """Recipes of the networks that a study trains for a modality, and of the same in other folds."""
    roles = [deciding_roles(one, modality) for one in in_folds(config, modality)]
    return sorted({name for of in roles for name in of.values() if name in config.training})


def cohort_references(config: Config, cohort: str) -> list[Path]:
    """What the cohort's methods find in lesion-free images: the study's own file, or the one that is shipped."""
    files = []
    for modality in cohort_roles(config, cohort):
        shipped_file = PACKAGE / "weights" / f"reference-{modality}.json"
        if reference_datasets(config, modality):
            files.append(paths.reference(config, modality))
        elif shipped_file.exists():
            files.append(shipped_file)
    return files


def calibration_sources(config: Config, modality: str) -> list[str]:
    """Data sets and cohorts of a modality whose true masks tell how far a study's methods are off."""
    own = [name for name in reference_datasets(config, modality) if _tells_percentages(name)]
    of_modality = [
        name for name in config.intervals.sources if DATASETS[config.cohorts[name].dataset or ""].modality == modality
    ]
    return [*own, *(name for name in dict.fromkeys(of_modality) if name not in own)]


def _tells_percentages(dataset: str) -> bool:
    return {"lung_mask", "infection_mask"} <= set(DATASETS[dataset].truth)


def cohort_calibrations(config: Config, cohort: str) -> list[Path]:
    """How far the cohort's methods were from the truth: the study's own file, or the one that is shipped."""
    files = []
    for modality in cohort_roles(config, cohort):
        shipped_file = PACKAGE / "weights" / f"conformal-{modality}.json"
        if calibration_sources(config, modality):
            files.append(paths.conformal(config, modality))
        elif not reference_datasets(config, modality) and shipped_file.exists():
            files.append(shipped_file)
    return files


def line(config: Config, recipe: str) -> list[str]:
    """A recipe, the one whose weights it starts from, and so on: all that its network has learned from."""
    names = [recipe]
    while (start := config.training[names[-1]].init_from) is not None:
        names.append(start)
    return names


def taught(config: Config, kind: str, name: str) -> list[str]:
    """Recipes whose images must be new to what is judged: the test part of a recipe, or the images of a cohort.

    A cohort without true masks is not judged.
    """
    if kind == "training":
        return line(config, name)
    if not has_truth(config, name):
        return []
    return sorted({seen for recipe in cohort_recipes(config, name) for seen in line(config, recipe)})


def same_images(config: Config, dataset: str, name: str) -> bool:
    """True if `name` is the very folder of `dataset`: what a network has seen of it is known by image, and left out."""
    return config.source(name).dataset == dataset and config.source_root(name) == config.source_root(dataset)


def apart_files(config: Config, kind: str, name: str) -> list[Path]:
    """What `covidpipe apart` reads."""
    judged = config.training[name].dataset if kind == "training" else name
    files = [paths.images(config, judged)]
    for recipe in (config.training[other] for other in taught(config, kind, name)):
        if kind == "training" or not same_images(config, recipe.dataset, judged):
            files += [
                paths.images(config, recipe.dataset),
                paths.split(config, recipe.dataset, recipe.protocol),
                paths.duplicates(config, recipe.dataset, judged),
            ]
    return list(dict.fromkeys(files))


def shipped(wanted: str) -> Path:
    """Model folder of ``shipped:NAME``."""
    return PACKAGE / "weights" / wanted.removeprefix("shipped:")


@dataclass(frozen=True)
class Shard:
    """One shard of a cohort.

    Parameters
    ----------
    number : int
    images : int
    made : str
        Digest of the rows that it was made of: another one, and it is another shard, whatever its number.
    """

    number: int
    images: int
    made: str = ""


def shards_table(images: str | Path) -> Path:
    """Which images of an image table are in which shard: beside it."""
    return Path(images).with_name("shards.parquet")


def shards_of(images: str | Path, shard_images: int) -> list[Shard]:
    """Shards of an image table, by their numbers; at least one, so that an empty cohort has its table too.

    An image table that stands alone is cut every `shard_images` rows.
    """
    listed = shards_table(images)
    if listed.exists():
        return list(_listed_shards(listed, listed.stat().st_mtime_ns).values())
    import pyarrow.parquet as pq

    seen = pq.read_metadata(images).num_rows
    return [Shard(k, min(shard_images, seen - k * shard_images)) for k in range(max(1, math.ceil(seen / shard_images)))]


@functools.lru_cache(maxsize=16)
def _listed_shards(listed: Path, modified: int) -> dict[int, Shard]:
    """Read once, not for every job of a cohort: there may be thousands."""
    import pyarrow.parquet as pq

    counted = (
        pq.read_table(listed, columns=["shard", "made"]).group_by(["shard", "made"]).aggregate([([], "count_all")])
    )
    found = sorted(zip(*(counted[name].to_pylist() for name in ("shard", "count_all", "made")), strict=True))
    return {number: Shard(number, images, made) for number, images, made in found} or {0: Shard(0, 0)}


def shard_made(images: str | Path, shard: str) -> str:
    """What tells a shard from another one of its number: its jobs run again when this moves."""
    listed = shards_table(images)
    return _listed_shards(listed, listed.stat().st_mtime_ns)[int(shard)].made if listed.exists() else ""


def infection_table(config: Config, cohort: str, images: str | Path) -> Path:
    """The cohort's infection table: a file or, if its image table is there and says that it is large, a folder."""
    import pyarrow.parquet as pq

    seen = pq.read_metadata(images).num_rows if Path(images).exists() else 0
    rows = seen * len(config.cohort_methods(cohort))
    return paths.infection(paths.cohort(config, cohort), large=rows > config.file_rows)


def listing(root: Path) -> str:
    """Hash of the names, sizes and times of the files below `root`: moves when images come, go or change."""
    found: list[tuple[str, int, int]] = []
    if root.exists() and not root.is_dir():
        stat = root.lstat()
        found.append((".", stat.st_size, stat.st_mtime_ns))
    todo = [str(root)] if root.is_dir() else []
    prefix = len(str(root)) + 1
    entered: set[tuple[int, int]] = set()  # folders that link to each other would be walked for ever
    while todo:
        folder = todo.pop()
        with contextlib.suppress(OSError):  # gone, or not ours to read, since it was listed: ingest tells
            stat = Path(folder).stat()
            if (stat.st_dev, stat.st_ino) in entered:
                continue
            entered.add((stat.st_dev, stat.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir():
                            todo.append(entry.path)
                        else:  # asked of the entry, not of a Path: a fifth of the time for a million files
                            stat = entry.stat(follow_symlinks=False)
                            found.append((entry.path[prefix:], stat.st_size, stat.st_mtime_ns))
    found.sort()
    digest = hashlib.sha256()
    for number, file in enumerate(found):
        digest.update(f"{', ' if number else '['}{file!r}".encode())
    digest.update(b"]" if found else b"[]")
    return digest.hexdigest()[:16]


def code(config: Config, stage: str, given: Mapping[str, str]) -> str:
    """Fingerprint of the code that a job runs, with the modules that it finds by name."""
    return code_fingerprint(stage, *sorted(_modules_by_name(config, stage, given)))


def _modules_by_name(config: Config, stage: str, given: Mapping[str, str]) -> set[str]:
    if stage == "ingest":
        dataset = config.source(given["name"]).dataset
        return {DATASETS[dataset].module} if dataset is not None else set()
    if stage in ("train", "evaluate"):
        return {MODELS[given["model"]].module}
    if stage == "leaderboard":
        return {MODELS[recipe.model].module for recipe in config.training.values()}
    if stage == "predict":
        roles = cohort_roles(config, cohort_at(config, given["cohort_out"]))
        return _modules_of(config, [wanted for tasks in roles.values() for wanted in tasks.values()])
    if stage in ("reference", "conformal"):
        return _modules_of(config, deciding_roles(config, given["modality"]).values())
    return set()


def _modules_of(config: Config, networks: Iterable[str]) -> set[str]:
    """Modules of the architectures of trained or shipped networks."""
    models = set()
    for wanted in networks:
        record = shipped(wanted) / "run.json"
        if not wanted.startswith("shipped:"):
            models.add(config.training[wanted].model)
        elif record.exists():
            models.add(json.loads(record.read_text(encoding="utf-8"))["recipe"]["model"])
    return {MODELS[name].module for name in models}


def settings(config: Config, stage: str, given: Mapping[str, str]) -> str:
    """The part of the config that decides what a job writes, as JSON."""
    return json.dumps(_settings(config, stage, given), sort_keys=True)


def _settings(config: Config, stage: str, given: Mapping[str, str]) -> dict[str, Any]:
    plain = config.model_dump(mode="json")
    if stage == "phantoms":
        return plain["phantoms"][given["phantoms"]]
    if stage == "ingest":
        name = given["name"]
        root = config.source_root(name)
        made_here = phantoms_of(config, name) is not None
        return {
            "root": seal(str(root)),
            "source": config.source(name).model_dump(mode="json", exclude={"methods", "out", "covariates"}),
            "limits": plain["limits"],
            "shard_images": config.shard_images,
            "files": None if made_here else listing(root),
        }
    if stage == "duplicates":
        return {}
    if stage == "split":
        return {"folds": config.folds, "seed": config.seed}
    if stage == "apart":
        recipes = taught(config, given["kind"], given["who"])
        return {"folds": config.folds, "recipes": [config.training[name].model_dump(mode="json") for name in recipes]}
    if stage == "leakage":
        return {"training": plain["training"], "folds": config.folds}
    if stage == "leaderboard":
        return {
            key: plain[key]
            for key in ("study", "training", "schedules", "paper", "threshold", "engine", "folds", "seed")
        }
    if stage == "study":
        told = ("study", "training", "schedules", "models", "harmonize", "folds", "seed")
        cohorts = {name: [cohort.dataset, config.cohort_methods(name)] for name, cohort in config.cohorts.items()}
        return {**{key: plain[key] for key in told}, "cohorts": cohorts, "label": config.paper.label}
    if stage == "checks":
        return {}
    if stage == "frames":
        return {"root": str(config.source_root("khan2020")), "seed": config.seed}
    if stage == "paper":
        return {key: plain[key] for key in ("training", "paper", "threshold", "folds", "seed")}
    if stage == "harmonize":
        return {"window_hu": plain["harmonize"]["window_hu"], "root": seal(str(config.source_root(given["name"])))}
    if stage in ("wavelet", "lung_view"):
        return {}
    if stage in ("train", "evaluate"):
        recipe: Recipe = config.training[recipe_name(config, given)]
        schedule = config.schedules[recipe.schedule].model_dump(mode="json", exclude={"text"})
        return {
            "recipe": recipe.model_dump(mode="json", exclude={"schedule"}),
            "schedule": schedule if stage == "train" else None,
            "imagenet": _imagenet(config, recipe) if stage == "train" else None,
            "harmonize": plain["harmonize"],
            "folds": config.folds,
            "seed": config.seed,
        }
    if stage in ("reference", "conformal"):
        modality = given["modality"]
        roles = [deciding_roles(one, modality) for one in in_folds(config, modality)]
        keys = ["segment", "engine", "harmonize", "threshold", "seed"]
        keys += ["intervals"] if stage == "conformal" else []
        return {"roles": roles, **{key: plain[key] for key in keys}}
    cohort = given["name"] if stage == "score" else cohort_at(config, given["cohort_out"])
    common = {"cohort": cohort, "methods": config.cohort_methods(cohort)}
    if stage == "predict":
        return {
            **common,
            "roles": cohort_roles(config, cohort),
            "root": seal(str(config.source_root(cohort))),
            **{key: plain[key] for key in ("segment", "engine", "harmonize", "threshold")},
        }
    if stage == "quantify":
        return {
            **common,
            "roles": cohort_roles(config, cohort),
            "root": seal(str(config.source_root(cohort))),
            "level": config.intervals.level,
            **{key: plain[key] for key in ("tissue", "segment", "harmonize", "threshold")},
        }
    if stage == "report":
        return {
            **common,
            "cases": config.report_cases,
            "min_cell": config.summary.min_cell,
            "roles": cohort_roles(config, cohort),
            **{key: plain[key] for key in ("segment", "harmonize", "threshold")},
            "seed": config.seed,
            "root": seal(str(config.source_root(cohort))),
        }
    if stage == "collect":  # what the crate tells beside this made predict or quantify run again
        return {
            **common,
            "covariates": plain["cohorts"][cohort]["covariates"],
            **{key: plain[key] for key in ("file_rows", "summary", "seed")},
        }
    return common


def _imagenet(config: Config, recipe: Recipe) -> dict[str, Any] | None:
    """Which ImageNet weights a network starts from; where they lie does not matter if their checksum is known."""
    backbone = MODELS[recipe.model].backbone
    if REGIMES[recipe.task][recipe.regime].weights == "random" or backbone is None:
        return None
    wanted = config.pretrained.files[backbone]
    if wanted.checksum is not None:
        return {"checksum": wanted.checksum}
    return {"file": wanted.file, "url": wanted.url, "weights_dir": config.pretrained.weights_dir}
