"""One shard of a cohort: images in, lung and infection masks of every method out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from covidpipe.bias import bias_text
from covidpipe.config import Config
from covidpipe.errors import BadInput
from covidpipe.harmonize import Transform
from covidpipe.inference import methods
from covidpipe.inference.engine import LoadedModel, load_model_folder, resolve
from covidpipe.inference.methods import Finding, Grid
from covidpipe.io.files import read_table, write_json
from covidpipe.io.read import read_again
from covidpipe.io.sources import image_root
from covidpipe.io.store import Block, creating
from covidpipe.provenance import device_name, prepare_backend, run_record
from covidpipe.quantify.percentages import refusal
from covidpipe.records import shard_rows
from covidpipe.registry import METHODS
from covidpipe.schemas import IMAGES, MASK_INDEX

log = logging.getLogger(__name__)

BATCH = 32  # images in memory at a time
STORE_SHARD = 256
MASKS = ("lung_mask", "infection_mask")


def run(config: Config, cohort: str, images: Path, shard: int, out: Path) -> None:
    """Write ``masks.zarr``, ``index.parquet`` and ``run.json`` of one shard to the folder `out`.

    There is one entry for each accepted image and method that applies to it. An image that can no longer be read has
    empty masks and the reason ``unreadable``.

    Parameters
    ----------
    config : Config
    cohort : str
    images : Path
        The cohort's ``images.parquet``.
    shard : int
        From 0; rows ``shard * shard_images`` and following.
    out : Path

    Raises
    ------
    CovidpipeError
        A network that the config names is missing or damaged.
    """
    started = time.time()
    prepare_backend(config.seed)
    table = shard_rows(read_table(images, IMAGES), shard, config.shard_images)
    rows = table.filter(table["accepted"]).to_pylist()
    root = image_root(config.source_root(cohort), images.parent / "unpacked")
    wanted = applicable_methods(config, cohort)
    networks = load_networks(config, {row["modality"] for row in rows}, wanted)
    size, _ = methods.common_grid(config)

    index: list[dict[str, Any]] = []
    packed: list[dict[str, np.ndarray]] = []  # one bit a pixel: a whole shard waits here until its index is known
    for start in range(0, len(rows), BATCH):
        for row, found in _findings(rows[start : start + BATCH], root, wanted, networks, config):
            for method, finding in found.items():
                index.append(_index_row(len(index), row, method, finding, size, networks[row["modality"]]))
                packed.append({name: np.packbits(getattr(finding, name)) for name in MASKS})

    arrays = dict.fromkeys(MASKS, (size, size))
    with creating(out, "masks.zarr", index, MASK_INDEX, arrays, len(index), STORE_SHARD) as writer:
        for number in range(writer.shards):
            writer.write(number, _unpack([packed[n] for n in writer.positions(number)], size))
        record = run_record(
            "predict",
            seed=config.seed,
            started=started,
            device=device_name(),
            cohort=cohort,
            shard=shard,
            threshold_bias={
                modality: bias_text(config, modality) for modality in networks if "alom2020" in wanted[modality]
            },
            models={
                modality: {task: network.model_id for task, network in of_task.items()}
                for modality, of_task in networks.items()
            },
        )
        write_json(writer.folder / "run.json", record)
    seconds = time.time() - started
    log.info("%s, shard %d: %d images, %d pairs of masks, %.1f s", cohort, shard, len(rows), len(index), seconds)


def applicable_methods(config: Config, cohort: str) -> dict[str, list[str]]:
    """For each modality, the cohort's methods that the config gives every network for."""
    modalities = {modality for spec in METHODS.values() for modality in spec.roles}
    return {
        modality: [
            method for method in sorted(config.cohort_methods(cohort)) if refusal(config, method, modality) is None
        ]
        for modality in sorted(modalities)
    }


def load_networks(
    config: Config, modalities: set[str], wanted: dict[str, list[str]]
) -> dict[str, dict[str, LoadedModel]]:
    """Networks that `wanted` needs for these modalities: by modality, by task."""
    return {
        modality: {
            task: load_model_folder(path)
            for task, path in resolve(config, modality).items()
            if any(task in METHODS[method].roles[modality] for method in wanted[modality])
        }
        for modality in sorted(modalities)
    }


def _findings(
    rows: list[dict[str, Any]],
    root: Path,
    wanted: dict[str, list[str]],
    networks: dict[str, dict[str, LoadedModel]],
    config: Config,
) -> Iterator[tuple[dict[str, Any], dict[str, Finding]]]:
    """Each row of a batch, in order, with what each method found in it."""
    found: dict[str, dict[str, Finding]] = {}
    for modality in sorted({row["modality"] for row in rows if wanted[row["modality"]]}):
        grids = {methods.common_grid(config)}
        grids |= {methods.source_grid(network.recipe) for network in networks[modality].values()}
        read: list[tuple[str, dict[Grid, np.ndarray]]] = []
        for row in (row for row in rows if row["modality"] == modality):
            with contextlib.suppress(BadInput):  # it was readable at ingest; its row will say that it no longer is
                read.append((row["image_id"], methods.to_grids(read_again(root, row), grids)))
        if read:
            batch = {grid: np.stack([images[grid] for _, images in read]) for grid in grids}
            of_method = methods.find(batch, wanted[modality], networks[modality], config)
            for i, (image_id, _) in enumerate(read):
                found[image_id] = {method: findings[i] for method, findings in of_method.items()}
    size, _ = methods.common_grid(config)
    nothing = Finding(np.zeros((size, size), bool), np.zeros((size, size), bool), reasons=("unreadable",))
    for row in rows:
        yield row, found.get(row["image_id"], dict.fromkeys(wanted[row["modality"]], nothing))


def _index_row(
    n: int, row: dict[str, Any], method: str, finding: Finding, size: int, networks: dict[str, LoadedModel]
) -> dict[str, Any]:
    told = {field.name: getattr(finding, field.name) for field in fields(finding) if field.name not in MASKS}
    used = [networks[task] for task in METHODS[method].roles[row["modality"]]]
    return {
        "n": n,
        "image_id": row["image_id"],
        "method": method,
        **Transform.fit(row["rows"], row["columns"], size).as_dict(),
        **told,
        "split": methods.worst_part(row["source_sha256"], used),
    }


def _unpack(packed: list[dict[str, np.ndarray]], size: int) -> Block:
    return {
        name: np.stack([np.unpackbits(masks[name], count=size * size).reshape(size, size) for masks in packed])
        for name in MASKS
    }
