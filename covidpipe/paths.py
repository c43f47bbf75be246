"""Where everything lies: pure functions of a config, used by the workflow, by the stages and by the CLI.

A name may be a Snakemake wildcard such as ``{name}``: the same functions make the rules' patterns.
"""

from __future__ import annotations

from pathlib import Path

from covidpipe.config import Config, Recipe
from covidpipe.registry import REGIMES


def config_file(config: Config) -> Path:
    """The resolved config that every command of a run is given."""
    return Path(config.results) / "configs" / f"{config.study}.yaml"


def journal(config: Config) -> Path:
    """What the newest run of a study has done so far, for `covidpipe status`."""
    return Path(config.results) / "configs" / f"{config.study}.journal.jsonl"


def images(config: Config, name: str) -> Path:
    """Image table of a cohort or dataset."""
    return Path(config.results) / "ingest" / name / "images.parquet"


def signatures(config: Config, name: str) -> Path:
    """Thumbnails of a dataset's images, by which copies are found."""
    return images(config, name).with_name("signatures.parquet")


def duplicates(config: Config, name: str, other: str) -> Path:
    """Pairs of images of a source and another (or itself) that must not be separated."""
    return Path(config.results) / "duplicates" / name / f"{other}.parquet"


def apart(config: Config, kind: str, name: str) -> Path:
    """Proof that what a network of ``training``, or those of one of the ``cohorts``, are judged on is new to them."""
    return Path(config.results) / "apart" / config.study / kind / f"{name}.json"


def phantoms(config: Config, name: str) -> Path:
    """Folder of the synthetic patients `name`, with ct/ and xr/."""
    return Path(config.results) / "phantoms" / name


def split(config: Config, dataset: str, protocol: str) -> Path:
    """Table of folds."""
    return Path(config.results) / "splits" / dataset / f"{protocol}.parquet"


def harmonized(config: Config, name: str, size: int | str) -> Path:
    """Folder of a harmonized store."""
    return Path(config.results) / "harmonized" / name / str(size)


def wavelet(config: Config, name: str, size: int | str, reading: str) -> Path:
    """Folder of an enhanced store."""
    return Path(config.results) / "wavelet" / name / str(size) / reading


def lung_view(config: Config, name: str, size: int | str) -> Path:
    """Folder of a store of lungs cut out."""
    return Path(config.results) / "lung_view" / name / str(size)


def store(config: Config, recipe: Recipe) -> Path:
    """Folder of the store that `recipe` is trained on: the one that its regime's input is kept in."""
    kind = REGIMES[recipe.task][recipe.regime].input
    if kind == "wavelet":
        return wavelet(config, recipe.dataset, recipe.image_size, recipe.reading)
    if kind == "lung_view":
        return lung_view(config, recipe.dataset, recipe.image_size)
    return harmonized(config, recipe.dataset, recipe.image_size)


def model(config: Config, recipe: Recipe) -> Path:
    """Model folder of a trained network."""
    return Path(config.results) / "models" / _of_recipe(recipe)


def metrics(config: Config, recipe: Recipe) -> Path:
    """Folder of a trained network's test results."""
    return Path(config.results) / "metrics" / _of_recipe(recipe)


def _of_recipe(recipe: Recipe) -> Path:
    return Path(
        recipe.dataset, recipe.task, recipe.model, recipe.regime, recipe.protocol, f"fold-{recipe.fold}"
    )  # what config.model_key tells apart


def reference(config: Config, modality: str) -> Path:
    """What the study's methods find in lesion-free images of a modality."""
    return Path(config.results) / "references" / config.study / f"{modality}.json"


def conformal(config: Config, modality: str) -> Path:
    """How far the study's methods were from the truth, on held-out patients of a modality."""
    return Path(config.results) / "conformal" / config.study / f"{modality}.json"


def cohort(config: Config, name: str) -> Path:
    """Folder of a cohort's tables, shards and report."""
    own = config.cohorts[name].out
    return Path(own) if own is not None else Path(config.results) / "cohorts" / name


def infection(folder: Path, *, large: bool) -> Path:
    """The infection table in a cohort's folder: one file, or a folder of files if it is large."""
    return folder / ("infection" if large else "infection.parquet")


def shard(config: Config, name: str, index: int) -> Path:
    """Folder of one shard of a cohort."""
    return cohort(config, name) / "shards" / shard_name(index)


def shard_name(index: int) -> str:
    """A shard's folder among those of its cohort."""
    return f"{index:05d}"


def study(config: Config) -> Path:
    """The page about all networks of a study."""
    return Path(config.results) / "studies" / config.study / "report.html"


def cohort_metrics(config: Config, name: str) -> Path:
    """Folder of a cohort's errors against its truth."""
    return Path(config.results) / "metrics" / "cohorts" / name
