"""The images of a table through the methods: networks loaded once, images read in batches."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.config import Config
from covidpipe.errors import BadInput
from covidpipe.folds import in_folds
from covidpipe.inference import methods
from covidpipe.inference.engine import LoadedModel, load_model_folder, resolve
from covidpipe.inference.methods import Finding, Grid, worst_part
from covidpipe.io.read import read_again
from covidpipe.quantify.percentages import refusal
from covidpipe.registry import METHODS, UNSEEN

BATCH = 32  # images in memory at a time

Networks = Mapping[str, Mapping[str, LoadedModel]]  # by modality and task
Content = tuple[str, str, str]  # see `_content`


def applicable_methods(config: Config, wanted: Iterable[str]) -> dict[str, list[str]]:
    """For each modality, those of the `wanted` methods that the config gives every network for."""
    modalities = {modality for spec in METHODS.values() for modality in spec.roles}
    return {
        modality: [method for method in sorted(wanted) if refusal(config, method, modality) is None]
        for modality in sorted(modalities)
    }


def load_networks(
    config: Config, modalities: Iterable[str], wanted: Mapping[str, Sequence[str]], *, optional: bool = False
) -> Networks:
    """Networks that the `wanted` methods need for these modalities; with `optional`, those that they only ask, too."""

    def asked(modality: str) -> set[str]:
        specs = [METHODS[method] for method in wanted[modality]]
        return {task for spec in specs for task in (spec.asks(modality) if optional else spec.roles[modality])}

    return {
        modality: {
            task: load_model_folder(path, config.engine)
            for task, path in resolve(config, modality).items()
            if task in asked(modality)
        }
        for modality in sorted(modalities)
    }


def in_float32(config: Config) -> Config:
    """The config without bfloat16: what tables are ranked and bounded by is not what `predict` compared with Keras."""
    return config.model_copy(update={"engine": "openvino"}) if config.engine == "openvino_bf16" else config


def networks_of(method: str, modality: str, networks: Networks) -> dict[str, LoadedModel]:
    """The networks that a method asks in images of a modality, by task."""
    return {task: networks[modality][task] for task in METHODS[method].roles[modality]}


@dataclass(frozen=True)
class Team:
    """Networks of a study that work together, and the images that may tell how good they are.

    Parameters
    ----------
    networks : mapping
        As `load_networks` gives them.
    modality : {"ct", "xr"}
    parts : tuple of str
        Parts of the networks' own data sets, whose images count.
    abroad : bool
        Images of data sets that none of them was trained on count too.
    """

    networks: Networks
    modality: str
    parts: tuple[str, ...]
    abroad: bool

    def ids(self, methods: Iterable[str]) -> dict[str, dict[str, str]]:
        """Model ids of each method's networks, by task."""
        return {
            method: {task: one.model_id for task, one in networks_of(method, self.modality, self.networks).items()}
            for method in methods
        }

    def part(self, row: Mapping[str, Any], method: str) -> str | None:
        """The part that an image had in the training of a method's networks; None: they never had it."""
        return worst_part(row["source_sha256"], networks_of(method, self.modality, self.networks).values())

    def is_judged_by(self, row: Mapping[str, Any], dataset: str, method: str) -> bool:
        """Whether an image of a data set counts: no network of the method has learned from it."""
        part = self.part(row, method)
        if part is not None:
            return part in self.parts
        # Of their own data sets it must be known that they did not see the image.
        own = {one.recipe.get("dataset") for one in networks_of(method, self.modality, self.networks).values()}
        return self.abroad and dataset not in own


def teams(config: Config, modality: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[Team]:
    """The networks of a modality; then, one fold after the other, the same ones of each fold that a study trains.

    Of several folds each is judged by its test part: so every patient of their data set counts once, and none by whom
    an epoch or a threshold was chosen. Of one alone, validation patients count as well: test patients may be two.
    """
    folds = in_folds(config, modality)
    parts = UNSEEN if len(folds) == 1 else ("test",)
    for one in folds:
        yield Team(load_networks(one, {modality}, wanted), modality, parts, abroad=one is config)


def findings(
    rows: Sequence[dict[str, Any]],
    root: Path,
    wanted: Mapping[str, Sequence[str]],
    networks: Networks,
    config: Config,
) -> Iterator[tuple[dict[str, Any], dict[str, Finding]]]:
    """Each row in order, with what each method found in its image.

    Images with the same pixels are computed once. An image that can no longer be read, and of which no such copy was
    read before, has empty masks and the reason ``unreadable``.

    Parameters
    ----------
    rows : sequence of dict
        Accepted rows of the image table.
    root : Path
        Folder that their paths are relative to.
    wanted : mapping of modality to methods
    networks : mapping
        As `load_networks` gives them.
    config : Config
    """
    size, _ = methods.common_grid(config)
    nothing = Finding(np.zeros((size, size), bool), np.zeros((size, size), bool), reasons=("unreadable",))
    known: dict[Content, dict[str, Finding]] = {}
    to_come = Counter(_content(row) for row in rows)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        for modality in sorted({row["modality"] for row in batch if wanted[row["modality"]]}):
            some = [row for row in batch if row["modality"] == modality and _content(row) not in known]
            known |= _found(some, root, wanted[modality], networks[modality], config)
        for row in batch:
            content = _content(row)
            yield row, known.get(content, dict.fromkeys(wanted[row["modality"]], nothing))
            to_come[content] -= 1
            if not to_come[content]:
                known.pop(content, None)


def _content(row: Mapping[str, Any]) -> Content:
    """What an image's findings depend on: its pixels, and how they are to be read."""
    return row["pixel_sha256"], row["modality"], row["intensity"]


def _found(
    rows: Iterable[Mapping[str, Any]],
    root: Path,
    wanted: Sequence[str],
    networks: Mapping[str, LoadedModel],
    config: Config,
) -> dict[Content, dict[str, Finding]]:
    """What the methods find in the images of a modality that can be read."""
    grids = methods.grids_of(networks, config)
    read: dict[Content, dict[Grid, np.ndarray]] = {}
    for row in rows:
        if _content(row) not in read:
            with contextlib.suppress(BadInput):  # it was readable at ingest; its row will say that it no longer is
                read[_content(row)] = methods.to_grids(read_again(root, row), grids)
    if not read:
        return {}
    of_method = methods.find(methods.to_batch(list(read.values())), wanted, networks, config)
    return {
        content: {method: of_images[i] for method, of_images in of_method.items()} for i, content in enumerate(read)
    }
