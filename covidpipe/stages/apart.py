"""Proof that what a network is judged on is new to it: no image, copy or patient of its training is among it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from covidpipe import paths
from covidpipe.config import Config
from covidpipe.io.files import read_table, write_json
from covidpipe.provenance import run_record
from covidpipe.registry import PARTS
from covidpipe.schemas import DUPLICATES, IMAGES, SPLIT
from covidpipe.splits import Shared, check_apart, check_together, parts
from covidpipe.workflow import same_images, taught

log = logging.getLogger(__name__)


def run(config: Config, kind: str, name: str, out: Path) -> None:
    """Write how much of what is judged was checked against which training, or raise.

    Parameters
    ----------
    config : Config
        Says where the tables of images, folds and pairs lie.
    kind : {"training", "cohorts"}
    name : str
        A recipe, whose test part is judged, or a cohort, which is judged as a whole.
    out : Path
        JSON.

    Raises
    ------
    PatientLeak
        An image that is judged, a copy of it, or another image of its patient was in the training or validation part
        of a network that judges it, or of one whose weights that network started from. The pair is named.
    """
    started = time.time()
    checked = _of_recipe(config, name) if kind == "training" else _of_cohort(config, name)
    for line in checked:
        log.info("%s: %s", name, ", ".join(f"{key} {value}" for key, value in line.items()))
    write_json(out, run_record("apart", seed=config.seed, started=started, kind=kind, name=name, checked=checked))


def _of_recipe(config: Config, name: str) -> list[dict[str, Any]]:
    recipe, own = config.training[name], Folds(config, name)
    judged = {image_id for image_id, part in own.part.items() if part == "test"}
    checked = []
    for other in taught(config, "training", name):
        seen = own if other == name else Folds(config, other)
        if other == name:
            if recipe.protocol == "grouped":
                check_together(_bound(config, recipe.dataset), own.part.get)
        elif seen.recipe.dataset == recipe.dataset:
            check_apart(_within(own, seen, judged), seen.part.get)
        else:
            check_apart(_across(config, seen, recipe.dataset, own.whole(judged)), seen.worst.get)
        known = {seen.group[i] for i, part in seen.part.items() if part != "test"}
        checked.append(_line(seen, len(judged), sum(own.group[image_id] in known for image_id in judged)))
    return checked


def _of_cohort(config: Config, name: str) -> list[dict[str, Any]]:
    judged = set(_accepted(config, name)["image_id"].to_pylist())
    checked = []
    for other in taught(config, "cohorts", name):
        if same_images(config, config.training[other].dataset, name):
            continue  # what its networks have seen of the very same files is known by file, and score leaves it out
        seen = Folds(config, other)
        check_apart(_across(config, seen, name, judged), seen.worst.get)
        checked.append(_line(seen, len(judged), 0))
    return checked


def _line(seen: Folds, images: int, known: int) -> dict[str, Any]:
    recipe = seen.recipe
    return {
        "recipe": seen.name,
        "dataset": recipe.dataset,
        "protocol": recipe.protocol,
        "judged_images": images,
        # 0 for a grouped split; for a published one, what flatters
        "judged_images_of_known_groups": known,
    }


class Folds:
    """Part and group of each image in the split of a recipe."""

    def __init__(self, config: Config, name: str):
        self.name = name
        self.recipe = config.training[name]
        table = read_table(paths.split(config, self.recipe.dataset, self.recipe.protocol), SPLIT)
        ids = table["image_id"].to_pylist()
        words = parts(table["fold"].to_numpy(), self.recipe.fold, config.folds, self.recipe.validation)
        self.part: dict[str, str] = dict(zip(ids, words.tolist(), strict=True))
        self.group: dict[str, str] = dict(zip(ids, table["group"].to_pylist(), strict=True))

    @property
    def worst(self) -> dict[str, str]:
        """For each image the part of its group that flatters most: a network that saw a patient knows the patient."""
        of_group: dict[str, str] = {}
        for image_id, part in self.part.items():
            group = self.group[image_id]
            of_group[group] = min(part, of_group.get(group, part), key=PARTS.index)
        return {image_id: of_group[group] for image_id, group in self.group.items()}

    def whole(self, images: set[str]) -> set[str]:
        """All images of the groups that some images belong to."""
        groups = {self.group[image_id] for image_id in images}
        return {image_id for image_id, group in self.group.items() if group in groups}


def _within(own: Folds, seen: Folds, judged: set[str]) -> Iterator[Shared]:
    """Judged images that another recipe on the same dataset has seen: themselves, or another of their group."""
    dataset = own.recipe.dataset
    by_group: dict[str, str] = {}
    for image_id, part in seen.part.items():
        if part != "test":
            by_group.setdefault(seen.group[image_id], image_id)
    for image_id in sorted(judged):
        if seen.part.get(image_id, "test") != "test":
            yield Shared(dataset, image_id, dataset, image_id, "same_pixels", None)
        # a published split lets groups cross: that is what it is there to show
        elif own.recipe.protocol == "grouped" and (other := by_group.get(own.group[image_id])) is not None:
            known = own.group[image_id].startswith("patient ")
            yield Shared(dataset, other, dataset, image_id, "same_patient" if known else "near_duplicate", None)


def _across(config: Config, seen: Folds, source: str, judged: set[str]) -> Iterator[Shared]:
    """Images of another source that share patient, pixels or picture with those that a recipe has seen."""
    dataset = seen.recipe.dataset
    theirs, ours = _accepted(config, source), _accepted(config, dataset)
    for column, reason in (("patient_id", "same_patient"), ("pixel_sha256", "same_pixels")):
        learned: dict[str, str] = {}
        for image_id, value in _cells(ours, column):
            if seen.part.get(image_id, "test") != "test":
                learned.setdefault(value, image_id)
        for image_id, value in _cells(theirs, column):
            if image_id in judged and value in learned:
                yield Shared(dataset, learned[value], source, image_id, reason, None)
    for row in read_table(paths.duplicates(config, dataset, source), DUPLICATES).to_pylist():
        if row["other_image_id"] in judged:
            yield Shared(**row)


def _bound(config: Config, dataset: str) -> Iterator[Shared]:
    """Pairs of one dataset that belong together: each image and the first of its patient and pixels, and copies."""
    table = _accepted(config, dataset)
    for column, reason in (("patient_id", "same_patient"), ("pixel_sha256", "same_pixels")):
        first: dict[str, str] = {}
        for image_id, value in _cells(table, column):
            if first.setdefault(value, image_id) != image_id:
                yield Shared(dataset, first[value], dataset, image_id, reason, None)
    for row in read_table(paths.duplicates(config, dataset, dataset), DUPLICATES).to_pylist():
        yield Shared(**row)


def _accepted(config: Config, name: str) -> pa.Table:
    table = read_table(paths.images(config, name), IMAGES).sort_by("image_id")
    return table.filter(table["accepted"])


def _cells(table: pa.Table, column: str) -> Iterator[tuple[str, str]]:
    """image_id and value, where there is a value."""
    for image_id, value in zip(table["image_id"].to_pylist(), table[column].to_pylist(), strict=True):
        if value is not None:
            yield image_id, value
